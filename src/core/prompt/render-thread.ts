import { Worker } from "node:worker_threads";
import { type ErrorCode, messageOf, SymphonyError } from "../model/errors.ts";
import { moduleFile } from "../package.ts";

export interface RenderJob {
  readonly template: string;
  /** Plain data: it is copied to the worker thread. */
  readonly variables: Readonly<Record<string, unknown>>;
}

export type RenderAnswer =
  | { readonly text: string }
  | {
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };

const maxRenderMs = 500;
const maxHeapMb = 128;
const defaultIdleMs = 30_000;

/**
 * Renders templates in a worker thread, one at a time, and terminates the thread when a template
 * takes more than 500 ms, so that no template can block the agents or the API. The thread starts
 * with the first template, is used for the following ones, ends after 30 s without one, and keeps
 * no process alive.
 */
export class RenderThread {
  #worker: Promise<Worker> | null = null;
  #last: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;
  readonly #idleMs: number;

  constructor(idleMs = defaultIdleMs) {
    this.#idleMs = idleMs;
  }

  /** Rejects with the template's own error, or `template_render_error` after a termination. */
  render(job: RenderJob): Promise<string> {
    const rendered = this.#last.then(() => this.#render(job));
    this.#last = rendered.catch(() => {});
    return rendered;
  }

  async #render(job: RenderJob): Promise<string> {
    clearTimeout(this.#idle);
    this.#worker ??= started();
    const starting = this.#worker;
    try {
      return textOf(await answerOf(await starting, job));
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
      this.#worker = null;
      throw new SymphonyError("template_render_error", error.message, { cause: error });
    } finally {
      this.#idle = setTimeout(() => this.#rest(), this.#idleMs).unref();
    }
  }

  #rest(): void {
    const worker = this.#worker;
    this.#worker = null;
    worker
      ?.then((thread) => thread.terminate())
      .catch(() => {
        // It never started: there is nothing to terminate.
      });
  }
}

/** The thread has ended, and why. */
class Ended extends Error {}

/** Resolves once the thread is ready: its start does not count against a template's time. */
function started(): Promise<Worker> {
  const worker = new Worker(moduleFile("core/prompt/render-worker"), {
    name: "templates",
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: maxHeapMb },
  });
  const { promise, resolve, reject } = Promise.withResolvers<Worker>();
  worker.once("message", () => {
    worker.unref();
    resolve(worker);
  });
  // Never removed: between two templates there is no other error listener.
  worker.on("error", reject);
  return promise.catch((cause: unknown) => {
    throw new Ended(`the template thread did not start: ${messageOf(cause)}`, { cause });
  });
}

async function answerOf(worker: Worker, job: RenderJob): Promise<RenderAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<RenderAnswer>();
  const failed = (cause: unknown) =>
    reject(new Ended(`the template cannot be used: ${messageOf(cause)}`, { cause }));
  const slow = () => reject(new Ended(`the template took more than ${maxRenderMs} ms`));
  const timer = setTimeout(slow, maxRenderMs);
  worker.once("message", resolve);
  worker.once("error", failed);
  worker.ref();
  try {
    worker.postMessage(job);
    return await promise;
  } catch (error) {
    await worker.terminate();
    throw error instanceof Ended ? error : new Ended(messageOf(error), { cause: error });
  } finally {
    clearTimeout(timer);
    worker.off("message", resolve);
    worker.off("error", failed);
    worker.unref();
  }
}

function textOf(answer: RenderAnswer): string {
  if ("text" in answer) return answer.text;
  throw new SymphonyError(answer.code, answer.message, { details: answer.details });
}
