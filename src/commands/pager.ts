import type { CommandContext } from "./context.ts";
import { fit } from "./terminal.ts";

/** Cuts a table to the rows of the terminal. Space and b turn the pages, q and Ctrl-C leave. */
export class Pager {
  readonly #context: Pick<CommandContext, "stdin" | "stdout" | "interactive">;
  readonly #closing = new AbortController();
  #page = 0;

  constructor(context: Pick<CommandContext, "stdin" | "stdout" | "interactive">) {
    this.#context = context;
  }

  /** Aborted once the reader has had enough. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** `head`, the heading of `rows` and as many of them as fit, with where we are at the foot. */
  page(head: readonly string[], rows: readonly string[]): string[] {
    // A terminal of unknown size says 0.
    const height = this.#context.stdout.rows || 24;
    const columns = this.#context.stdout.columns || 80;
    const [heading = "", ...body] = rows;
    // One line for the heading, one for the foot, one for the cursor.
    const room = Math.max(height - head.length - 3, 1);
    const pages = Math.max(Math.ceil(body.length / room), 1);
    this.#page = Math.min(Math.max(this.#page, 0), pages - 1);
    const shown = body.slice(this.#page * room, (this.#page + 1) * room);
    const keys = this.#context.interactive ? ", space next, b back, q quit" : "";
    const foot = pages === 1 ? [] : [fit(`page ${this.#page + 1} of ${pages}${keys}`, columns)];
    return [...head, heading, ...shown, ...foot];
  }

  /** Reads keys, calling `redraw` after a turn of the page; the returned function gives the keyboard back. */
  listen(redraw: () => void): () => void {
    const { stdin, interactive } = this.#context;
    if (!interactive) return () => {};
    const onKeys = (keys: Buffer) => {
      for (const key of keys.toString("latin1")) this.#press(key);
      redraw();
    };
    stdin.setRawMode(true);
    stdin.on("data", onKeys);
    return () => {
      stdin.off("data", onKeys);
      stdin.setRawMode(false);
      stdin.pause();
    };
  }

  #press(key: string): void {
    // In raw mode the terminal hands us Ctrl-C as a character instead of raising a signal.
    if (key === "q" || key === "\u0003") this.#closing.abort();
    if (key === " " || key === "n") this.#page += 1;
    if (key === "b" || key === "p") this.#page -= 1;
  }
}
