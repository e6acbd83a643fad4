import { setTimeout as wait } from "node:timers/promises";
import type { Tmux } from "../support/worlds/tmux.ts";

/** With the exit code of the last command. */
const prompt = /^reader (\d+)\$$/;
const limitMs = 120_000;
/** A question stands still for this long before it is answered. */
const stillMs = 2_000;

/** Types at a shell as a person would, accepts what is offered, and follows the advice of an error. */
export class Typist {
  readonly #terminal: Tmux;
  readonly #env: Readonly<Record<string, string>>;
  readonly #steps: string[];

  /** `steps` receives every line that is typed and every answer. */
  constructor(terminal: Tmux, env: Readonly<Record<string, string>>, steps: string[]) {
    this.#terminal = terminal;
    this.#env = env;
    this.#steps = steps;
  }

  /** A new shell in `dir`. */
  async begin(dir: string): Promise<void> {
    const env = Object.entries(this.#env).map(([key, value]) => `${key}='${value}'`);
    const shell = `exec env -i TERM=xterm-256color LANG=C.UTF-8 ${env.join(" ")} bash --noprofile --norc`;
    await this.#enter(`cd '${dir}' && ${shell}`);
    await wait(500);
    await this.#enter(`PS1='reader $?$ '`);
    await this.#until("a shell", (last) => prompt.test(last));
  }

  /** Resolves with what was shown once the shell is back. */
  async type(line: string): Promise<string> {
    this.#steps.push(line);
    const shown = await this.#run(line);
    const advice = /^\s*next: (npm install --prefix .*)$/m.exec(shown)?.[1];
    if (advice === undefined) {
      if (!/^reader 0\$$/m.test(shown)) throw new Error(`${line} failed:\n${shown}`);
      return shown;
    }
    this.#steps.push(`${advice}   (as the error said)`);
    await this.#run(advice);
    return this.type(line);
  }

  /** Starts something that stays, until it shows `sign`. */
  async start(line: string, sign: RegExp): Promise<void> {
    this.#steps.push(line);
    await this.#enter(`clear; ${line}`);
    await this.#until(`${sign} after ${line}`, (_, screen) => sign.test(screen));
  }

  /** Waits until what was started shows `sign`; nothing is typed. */
  async sees(sign: RegExp): Promise<void> {
    await this.#until(`${sign}`, (_, screen) => sign.test(screen));
  }

  async #run(line: string): Promise<string> {
    // The previous prompt is shown until the line is taken.
    const before = await this.#terminal.screen();
    await this.#enter(`clear; ${line}`);
    let answered = "";
    return this.#until(`the end of ${line}`, (last, screen, stoodMs) => {
      if (prompt.test(last) && screen !== before) return true;
      if (/^\?|❯/m.test(screen) && stoodMs > stillMs && screen !== answered) {
        answered = screen;
        this.#steps.push(`Enter   (${question(screen)})`);
        void this.#terminal.key("Enter");
      }
      return false;
    });
  }

  async #enter(line: string): Promise<void> {
    await this.#terminal.type(line);
    await this.#terminal.key("Enter");
  }

  async #until(
    what: string,
    isThere: (last: string, screen: string, stoodMs: number) => boolean,
  ): Promise<string> {
    const started = Date.now();
    let screen = "";
    let since = started;
    while (Date.now() - started < limitMs) {
      const now = await this.#terminal.screen();
      if (now !== screen) since = Date.now();
      screen = now;
      const last = screen.split("\n").at(-1)?.trim() ?? "";
      if (isThere(last, screen, Date.now() - since)) return screen;
      await wait(250);
    }
    throw new Error(`${what}: not within ${limitMs} ms; the screen:\n${screen}`);
  }
}

function question(screen: string): string {
  return (/^\? (.*)$/m.exec(screen)?.[1] ?? "a question").slice(0, 60);
}
