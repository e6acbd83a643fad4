import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import { type Client, createClient } from "../../../src/client/client.ts";
import type { Api } from "../../../src/contract/api.ts";
import type { EventView } from "../../../src/contract/values.ts";
import { symphonyFile } from "../makers/program.ts";

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Around {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Passed to every command line when it is set. */
  readonly dataDir?: string;
  /** The command that starts the program; it must exec the program, so that signals reach it. */
  readonly through?: (command: readonly string[]) => readonly string[];
}

export interface Place extends Around {
  readonly workflowPath: string;
  readonly dataDir: string;
  /** Where this process sees the data directory, if that is elsewhere. */
  readonly dataDirSeen?: string;
}

/** Runs one command line until it exits, as a person in a second terminal would. */
export async function symphony(around: Around, ...args: string[]): Promise<Finished> {
  const data = around.dataDir === undefined ? [] : ["--data-dir", around.dataDir];
  return finished(launch(around, [...args, ...data]));
}

/** A real `symphony serve` process; disposing kills it with everything it started. */
export class Served implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly url: string;
  readonly client: Client<Api>;
  readonly #output: { text: string };

  private constructor(
    child: ChildProcess,
    { url, token }: { url: string; token: string | null },
    output: { text: string },
  ) {
    this.child = child;
    this.url = url;
    this.client = createClient({ baseUrl: url, token });
    this.#output = output;
  }

  /** Resolves when the server answers; rejects with its output when it exits before. */
  static async start(place: Place, ...args: string[]): Promise<Served> {
    const { workflowPath, dataDir } = place;
    const child = launch(place, [
      "serve",
      workflowPath,
      "--port",
      "0",
      "--data-dir",
      dataDir,
      ...args,
    ]);
    const output = { text: "" };
    child.stderr?.setEncoding("utf8").on("data", (part: string) => {
      output.text += part;
    });
    child.stdout?.resume();
    const url = await eventually("the server answers", async () => {
      if (child.exitCode !== null) throw new Stopped(`serve ended early:\n${output.text}`);
      const seen = join(place.dataDirSeen ?? dataDir, "runtime.json");
      const runtime = await readFile(seen, "utf8").catch(() => "{}");
      const { pid, url: found } = JSON.parse(runtime) as { pid?: number; url?: string };
      return pid === child.pid && found ? found : null;
    });
    const token = place.env?.["SYMPHONY_TOKEN"] ?? null;
    return new Served(child, { url, token }, output);
  }

  get log(): string {
    return this.#output.text;
  }

  /** Every event so far that `matches`. */
  async events(issue: string): Promise<readonly z.infer<typeof EventView>[]> {
    const { attempts } = await this.client.issues.attempts({ params: { id: issue } });
    const details = await Promise.all(
      attempts.map(({ id }) =>
        this.client.attempts.detail({ params: { aid: id }, query: { limit: 1000 } }),
      ),
    );
    return details.flatMap(({ events }) => events).sort((a, b) => a.seq - b.seq);
  }

  /** Ends it as a power cut does: without any clean-up. */
  async crash(): Promise<void> {
    this.child.kill("SIGKILL");
    await ended(this.child);
  }

  /** Stops it as a service manager does; resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.child.kill("SIGTERM");
    await ended(this.child);
    return this.child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.stop();
  }
}

/** A condition that can no longer come true. */
class Stopped extends Error {}

/**
 * Polls until there is an answer; a journey through real processes has no clock that a test can move. `what`: for the error,
 * as it is then.
 */
export async function eventually<T>(
  what: string | (() => string),
  ask: () => Promise<T | null | undefined | false>,
  limitMs = 40_000,
): Promise<T> {
  const limit = Date.now() + limitMs;
  let last: unknown = null;
  while (Date.now() < limit) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== undefined && answer !== false) return answer;
    } catch (error) {
      if (error instanceof Stopped) throw error;
      last = error;
    }
    await delay(50);
  }
  const text = typeof what === "string" ? what : what();
  throw new Error(`not in ${limitMs} ms: ${text}`, { cause: last });
}

/** Whether the process runs. One that has ended is there until its parent, or the first process of the machine, asks for it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** A real `symphony` process with piped output, and no input unless `stdin` is piped too. */
export function launch(
  { env: own, cwd, through }: Around,
  args: readonly string[],
  stdin: "ignore" | "pipe" = "ignore",
): ChildProcess {
  const env = { ...process.env, NO_COLOR: "1", ...own };
  const command = [process.execPath, symphonyFile, ...args];
  const [program = "", ...rest] = through?.(command) ?? command;
  return spawn(program, rest, {
    env,
    stdio: [stdin, "pipe", "pipe"],
    ...(cwd !== undefined && { cwd }),
  });
}

/** As `kill -9` ends it; resolves when it has. */
export async function killed(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

/** Resolves when the process has ended. */
export async function finished(child: ChildProcess): Promise<Finished> {
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (part: string) => {
      text[name] += part;
    });
  }
  await once(child, "close");
  return { code: child.exitCode, ...text };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/** A project in a directory of its own, with the server that works on it; its agents write to the directory `shared`. */
export class ServedProject {
  readonly dir: string;
  readonly place: {
    cwd: string;
    workflowPath: string;
    dataDir: string;
    env: Record<string, string>;
  };
  server: Served | null = null;

  protected constructor(dir: string, env: Readonly<Record<string, string>>) {
    this.dir = dir;
    this.place = {
      ...{ cwd: dir, workflowPath: join(dir, "WORKFLOW.md"), dataDir: join(dir, ".symphony") },
      env: { HOME: dir, SYMPHONY_TOKEN: "a-token-of-thirty-two-characters", ...env },
    };
  }

  get client(): Served["client"] {
    assert.ok(this.server, "the server runs");
    return this.server.client;
  }

  async serve(): Promise<Served> {
    this.server = await Served.start(this.place, "--i-understand");
    return this.server;
  }

  async issue(title = "One", ...args: readonly string[]): Promise<void> {
    const made = await symphony(this.place, "issue", "create", "--title", title, ...args);
    assert.equal(made.code, 0, made.stderr);
    await this.client.system.refresh();
  }

  /** The lines of a file that the agents write. */
  shared(name: string): readonly string[] {
    const file = join(this.dir, "shared", name);
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
  }

  /** Agents that wait for the file `go` continue. */
  go(): void {
    writeFileSync(join(this.dir, "shared", "go"), "");
  }

  /** The next agents wait. */
  stop(): void {
    rmSync(join(this.dir, "shared", "go"), { force: true });
  }
}
