import { messageOf } from "../model/errors.ts";
import type { QueueWorker } from "./engine.ts";

interface TakingDeps {
  open(): QueueWorker;
  /** How many jobs wait in the queue. */
  waiting(): Promise<number>;
  log(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** So many looks in a row find a job that is not taken. */
const stuckLooks = 3;

/** The queue of a worker, which is opened again when it does not move: its engine may have come back under it. */
export class Taking {
  readonly #deps: TakingDeps;
  #taker: QueueWorker;
  #looks = 0;

  constructor(deps: TakingDeps) {
    this.#deps = deps;
    this.#taker = deps.open();
  }

  get isRunning(): boolean {
    return this.#taker.isRunning();
  }

  /** One that has ended by itself is started again. */
  keep(): void {
    if (this.#taker.isRunning()) return;
    this.#taker.run().catch((error: unknown) => {
      this.#deps.log("the queue of the worker has stopped", { reason: messageOf(error) });
    });
  }

  /** To be called with each renewal; `hasRoom`: the worker could run one more. */
  async replaceStuck(hasRoom: boolean): Promise<void> {
    this.#looks = hasRoom && (await this.#deps.waiting()) > 0 ? this.#looks + 1 : 0;
    if (this.#looks < stuckLooks) return;
    this.#looks = 0;
    this.#deps.log("the queue of the worker does not move: it is opened again");
    void this.close();
    this.#taker = this.#deps.open();
    this.keep();
  }

  async close(): Promise<void> {
    await this.#taker.close(true).catch(() => {});
  }
}
