import { AsyncLocalStorage } from "node:async_hooks";
import type { SymphonyEvent } from "../model/event.ts";

// Which request of the API caused what is logged.

interface Request {
  /** null: it has been answered. */
  id: string | null;
}

const requests = new AsyncLocalStorage<Request>();
const causes = new WeakMap<SymphonyEvent, string>();

/** Until `work` ends, every log record and event that it or what it called makes is of this request. Resolves and rejects as `work` does. */
export async function causedBy<T>(requestId: string, work: () => Promise<T>): Promise<T> {
  // Timers that the work sets keep the object for as long as they run: it says when the request is over.
  const request: Request = { id: requestId };
  try {
    return await requests.run(request, work);
  } finally {
    request.id = null;
  }
}

/** As fields of a log record: the request that is being answered. */
export function currentCause(): { readonly request_id?: string } {
  const id = requests.getStore()?.id;
  return id ? { request_id: id } : {};
}

/** Notes the request that is being answered: the event is delivered later. */
export function noteCause(event: SymphonyEvent): void {
  const id = requests.getStore()?.id;
  if (id) causes.set(event, id);
}

/** As fields of a log record: the request that caused an event of this process. */
export function causeOf(event: SymphonyEvent): { readonly request_id?: string } {
  const id = causes.get(event);
  return id === undefined ? {} : { request_id: id };
}
