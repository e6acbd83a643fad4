import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { eventually } from "./symphony.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Someone who types the command lines of a page, one after the other, in bash and with an empty home. */
export class Reader implements AsyncDisposable {
  /** Where the reader is: `cd` changes it. */
  dir: string;
  readonly home: string;
  readonly bin: string;
  readonly env: Record<string, string>;
  #server: ChildProcess | null = null;
  #log = "";

  constructor(dir: string, env: Readonly<Record<string, string>> = {}) {
    this.bin = join(dir, "bin");
    this.home = join(dir, "home");
    mkdirSync(this.bin);
    mkdirSync(this.home);
    symlinkSync(process.execPath, join(this.bin, "node"));
    symlinkSync(join(root, "bin/symphony.js"), join(this.bin, "symphony"));
    this.dir = dir;
    this.env = {
      ...{ HOME: this.home, PATH: `${this.bin}:/usr/local/bin:/usr/bin:/bin`, LANG: "C.UTF-8" },
      ...{ GIT_AUTHOR_NAME: "Ada", GIT_AUTHOR_EMAIL: "ada@example.org" },
      ...{ GIT_COMMITTER_NAME: "Ada", GIT_COMMITTER_EMAIL: "ada@example.org" },
      // The machine of a test may be busy, and its port 4000 taken.
      ...{ SYMPHONY_HOST__MIN_MEMORY: "0", SYMPHONY_HOST__MAX_LOAD: "0" },
      ...{ SYMPHONY_STORAGE__MIN_FREE: "0", SYMPHONY_SERVER__PORT: "0" },
      ...{ SYMPHONY_POLLING__INTERVAL_MS: "500", SYMPHONY_DELIVERY__POLL_INTERVAL_MS: "1000" },
      // A home that is new has no compiled code, and each command would compile its own.
      XDG_CACHE_HOME: join(tmpdir(), "symphony-test-cache"),
      ...env,
    };
  }

  /** A program of the reader's PATH. */
  install(name: string, script: string): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** Resolves with what it printed; another exit code than `code` ends the test. `input` is its stdin. */
  async type(line: string, code = 0, input = ""): Promise<string> {
    const shell = [
      "-c",
      `${code === 0 ? "set -e\n" : ""}${line}\nstatus=$?\npwd >&3\nexit $status`,
    ];
    const child = spawn("bash", shell, {
      ...{ cwd: this.dir, env: this.env, stdio: ["pipe", "pipe", "pipe", "pipe"] },
    });
    // A command that reads nothing may end first.
    child.stdin?.on("error", () => {}).end(input);
    const [out, err, where] = await Promise.all(
      [child.stdout, child.stderr, child.stdio[3]].map((stream) => textOf(stream)),
    );
    if (child.exitCode === null) await once(child, "exit");
    assert.equal(child.exitCode, code, `${line}\n${out}${err}\n${this.#log}`);
    this.dir = where?.trim() || this.dir;
    return out ?? "";
  }

  /** In a second terminal. */
  async serve(line: string): Promise<void> {
    const child = spawn("bash", ["-c", `exec ${line}`], {
      ...{ cwd: this.dir, env: this.env, stdio: ["ignore", "ignore", "pipe"] },
    });
    this.#server = child;
    child.stderr.setEncoding("utf8").on("data", (part) => {
      this.#log += part;
    });
    await eventually("the server answers", async () => {
      assert.equal(child.exitCode, null, this.#log);
      return existsSync(join(this.dir, ".symphony/runtime.json"));
    });
  }

  /** Ctrl-C in the second terminal. */
  async stop(): Promise<void> {
    if (this.#server === null || this.#server.exitCode !== null) return;
    this.#server.kill("SIGINT");
    await once(this.#server, "exit");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function textOf(stream: unknown): Promise<string> {
  assert.ok(stream instanceof Readable);
  return (await stream.setEncoding("utf8").toArray()).join("");
}
