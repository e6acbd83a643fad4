import {
  placeRecord,
  readRecord,
  type ThreadRecord,
  type ThreadRecords,
} from "../agent/records.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Letter } from "./talk.ts";

// The record of a thread goes along with the workspace, so that its next attempt continues it on any worker. The server
// keeps it where an agent on its own machine would: attach finds it there, and so does a server without the fleet.

/** The record of a thread, as it came in a letter. */
export interface SentRecord extends ThreadRecord {
  readonly id: string;
}

/** The record that a letter of type `thread` brings. Throws `workspace_error`. */
export function readThread({ body: { id, name }, data }: Letter): SentRecord {
  if (typeof id === "string" && typeof name === "string" && data !== null)
    return { id, name, data };
  throw new SymphonyError("workspace_error", "the record of a thread cannot be read");
}

/** Puts it to where the agent's program on this machine finds it; false: the thread cannot continue here. */
export async function putRecord(
  records: ThreadRecords | null,
  { id, ...record }: SentRecord,
): Promise<boolean> {
  return records !== null && (await placeRecord(records, id, record));
}

/** What goes along with the start of a session that continues a thread. */
export interface Continued {
  /** The thread to resume; null: none, or its record is not here. */
  readonly threadId: string | null;
  readonly record: ThreadRecord | null;
}

/**
 * The thread that a session on a worker can continue: with its record where the kind has records. Without one a worker may
 * still have what it wrote in a turn that was lost, and would believe in work that is not there.
 */
export async function continuedThread(
  records: ThreadRecords | null,
  threadId: string | null,
): Promise<Continued> {
  if (threadId === null || records === null) return { threadId, record: null };
  const record = await readRecord(records, threadId);
  return { threadId: record && threadId, record };
}
