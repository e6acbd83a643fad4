import type { Ora } from "ora";
import type { CommandIo } from "./context.ts";
import { appendsOnly, fit, plainLine } from "./output.ts";

type Io = Pick<CommandIo, "stderr" | "env" | "quiet" | "json" | "colour">;

/** What is over sooner is not shown. */
const patienceMs = 200;
/** Four times a second: over ssh each frame is a packet. */
const look = { interval: 250, frames: ["-", "\\", "|", "/"] };
/** Before the agent's first turn. */
const startPhases = [
  "preparing_workspace",
  "building_prompt",
  "launching_agent",
  "initializing_session",
];

/**
 * What takes long now, as one line on stderr that is replaced; lines that are written meanwhile stand above it. Without a terminal
 * there is nothing of it; where a terminal only appends, each thing is a line of its own, once.
 */
export class Spinner implements Disposable {
  readonly #io: Io;
  readonly #now = new Map<string, string>();
  readonly #said = new Set<string>();
  #ora: Ora | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isOver = false;

  constructor(io: Io) {
    this.#io = io;
  }

  set(name: string, text: string): void {
    const { isTTY, columns } = this.#io.stderr;
    // A terminal of unknown size reports 0 columns, with which ora would count lines in an endless loop.
    if (this.#isOver || isTTY !== true || !columns || this.#io.json || this.#io.quiet) return;
    this.#now.set(name, plainLine(text));
    if (appendsOnly(this.#io.env)) return this.#append(name);
    if (this.#ora !== null) this.#ora.text = this.#text;
    else this.#timer ??= setTimeout(() => void this.#show(), patienceMs);
  }

  end(name: string): void {
    this.#now.delete(name);
    this.#said.delete(name);
    if (this.#now.size > 0) {
      if (this.#ora !== null) this.#ora.text = this.#text;
      return;
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#ora?.stop();
    this.#ora = null;
  }

  /** Follows attempts up to the first turn of their agents. */
  event(event: {
    readonly type: string;
    readonly issueIdentifier: string | null;
    readonly data: Readonly<Record<string, unknown>>;
  }): void {
    const { type, issueIdentifier: issue, data } = event;
    if (issue === null || !type.startsWith("attempt.")) return;
    const phase = String(data["phase"]);
    if (type === "attempt.ended" || !startPhases.includes(phase)) this.end(issue);
    else this.set(issue, `${issue}: ${phase.replaceAll("_", " ")}`);
  }

  /** Follows a clone, which is a part of preparing the workspace of its issue. */
  clone(clone: {
    readonly issueIdentifier: string;
    readonly repository: string;
    readonly state: string | null;
  }): void {
    const { issueIdentifier: issue, repository, state } = clone;
    if (state === null) this.end(`${issue} clone`);
    else this.set(`${issue} clone`, `${issue}: ${repository}: ${state}`);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const name of [...this.#now.keys()]) this.end(name);
  }

  /** A clone says more than that a workspace is prepared. */
  get #text(): string {
    const names = [...this.#now.keys()].filter((name) => !this.#now.has(`${name} clone`));
    const all = names.map((name) => this.#now.get(name)).join(", ");
    return fit(all, Math.max(this.#io.stderr.columns - 4, 10));
  }

  #append(name: string): void {
    if (this.#said.has(name)) return;
    this.#said.add(name);
    this.#io.stderr.write(`${this.#now.get(name)} …\n`);
  }

  async #show(): Promise<void> {
    const { default: ora } = await import("ora");
    this.#timer = null;
    // It may be over by now.
    if (this.#now.size === 0 || this.#ora !== null) return;
    this.#ora = ora({
      ...{ text: this.#text, stream: this.#io.stderr, spinner: look },
      // Decided above; ora itself would also look for a variable CI.
      isEnabled: true,
      color: this.#io.colour ? "cyan" : false,
      // The keyboard stays as it is: Ctrl-C is a signal.
      discardStdin: false,
    }).start();
  }
}
