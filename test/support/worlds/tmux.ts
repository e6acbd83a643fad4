import { execFile, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { symphonyFile } from "../makers/program.ts";
import { eventually } from "./symphony.ts";

const run = promisify(execFile);

/** Why tests on a terminal are skipped; false: they run. */
export const noTmux = spawnSync("tmux", ["-V"]).status === 0 ? false : "needs tmux";

interface Wish {
  readonly columns?: number;
  readonly rows?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A shell in a real terminal emulator. `symphony` in it is the command of this checkout. */
export class Tmux implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), "symphony-tmux-"));
  readonly #socket = `symphony-${randomUUID()}`;
  readonly #env: Record<string, string>;

  private constructor(env: Readonly<Record<string, string>>) {
    this.#env = {
      PATH: process.env["PATH"] ?? "",
      ...{ HOME: this.dir, LANG: "C.UTF-8", LC_ALL: "C.UTF-8", TERM: "xterm-256color" },
      ...{ PS1: "ready$ ", ENV: "/dev/null" },
      ...env,
    };
  }

  static async start({ columns = 100, rows = 30, env = {} }: Wish = {}): Promise<Tmux> {
    const terminal = new Tmux(env);
    const size = ["-x", String(columns), "-y", String(rows)];
    const shell = ["sh", "-c", `cd "${terminal.dir}"; exec env PS1='ready$ ' sh`];
    await terminal.#tmux("new-session", "-d", ...size, ...shell);
    await terminal.#tmux("set", "-g", "status", "off");
    await terminal.#tmux("set", "-g", "window-size", "manual");
    await terminal.#tmux("pipe-pane", "-o", `cat >> "${terminal.file("raw")}"`);
    await terminal.until("the shell is ready", (screen) => screen.includes("ready$"));
    return terminal;
  }

  file(name: string): string {
    return join(this.dir, name);
  }

  /** Everything that programs wrote to the terminal so far. */
  get raw(): string {
    return readFileSync(this.file("raw"), "utf8");
  }

  /**
   * Runs `symphony` with these words. Its process id is in the file `pid`; when it has ended, its exit code and whether
   * the terminal is as it was are shown as `ended 0, same`.
   */
  async symphony(words: string, before = ""): Promise<void> {
    const start = `echo $$ > pid; exec "${process.execPath}" "${symphonyFile}" ${words}`;
    const after = "code=$?; stty -g > after; cmp -s before after && s=same || s=other";
    await this.type(
      `clear; ${before} stty -g > before; sh -c '${start}'; ${after}; echo "ended $code, $s"`,
    );
    await this.key("Enter");
  }

  get pid(): number {
    return Number(readFileSync(this.file("pid"), "utf8"));
  }

  async type(text: string): Promise<void> {
    await this.#tmux("send-keys", "-l", text);
  }

  /** A key by its tmux name, such as `Enter` or `C-c`. */
  async key(name: string): Promise<void> {
    await this.#tmux("send-keys", name);
  }

  /** Bytes as a terminal sends them. */
  async bytes(text: string): Promise<void> {
    const codes = [...Buffer.from(text)].map((one) => one.toString(16));
    await this.#tmux("send-keys", "-H", ...codes);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux("resize-window", "-x", String(columns), "-y", String(rows));
  }

  /** What the screen shows, without blank lines at its end. */
  async screen(): Promise<string> {
    return (await this.#tmux("capture-pane", "-p")).trimEnd();
  }

  /** The same with everything that was scrolled away. */
  async history(): Promise<string> {
    return (await this.#tmux("capture-pane", "-p", "-S", "-")).trimEnd();
  }

  /** The cells in which `text` begins on the screen, one for each of its `count` rows, from the last one up. */
  async columnsOf(text: string, count: number): Promise<readonly number[]> {
    await this.#tmux("copy-mode");
    const columns: number[] = [];
    for (let index = 0; index < count; index += 1) {
      const again = index === 0 ? ["search-backward-text", text] : ["search-again"];
      await this.#tmux("send-keys", "-X", ...again);
      columns.push(Number(await this.#tmux("display-message", "-p", "#{copy_cursor_x}")));
    }
    await this.#tmux("send-keys", "-X", "cancel");
    return columns;
  }

  /** Resolves with the screen as soon as `isThere`. */
  async until(what: string, isThere: (screen: string) => boolean): Promise<string> {
    let screen = "";
    try {
      return await eventually(what, async () => {
        screen = await this.screen();
        return isThere(screen) ? screen || " " : null;
      });
    } catch (cause) {
      throw new Error(`${what}; the screen:\n${screen}`, { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux("kill-server").catch(() => {});
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  async #tmux(...args: string[]): Promise<string> {
    const all = ["-u", "-L", this.#socket, "-f", "/dev/null", ...args];
    const { stdout } = await run("tmux", all, { env: this.#env, maxBuffer: 64 << 20 });
    return stdout;
  }
}
