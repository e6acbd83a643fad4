import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { symphonyFile } from "../makers/program.ts";

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Buffer;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Running {
  readonly child: ChildProcess;
  /** Resolves with all of stdout so far, as soon as it contains `text`. */
  until(text: string): Promise<string>;
  readonly ended: Promise<Ended>;
}

/** A directory outside of any project; also the home of the processes started with it. */
export function emptyDir(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "symphony-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs the real command line until it exits, with an environment that contains none of our variables. */
export function symphony(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return startSymphony(args, options).ended;
}

export function startSymphony(args: readonly string[], options: RunOptions = {}): Running {
  const home = options.cwd ?? tmpdir();
  const child = spawn(process.execPath, [symphonyFile, ...args], {
    cwd: home,
    env: {
      PATH: process.env["PATH"],
      HOME: home,
      XDG_CACHE_HOME: join(tmpdir(), "symphony-test-cache"),
      ...options.env,
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  // A command that does not read its input may exit before the input is written.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (chunk: string) => {
      output[name] += chunk;
    });
  }
  return {
    child,
    async until(text) {
      const signal = AbortSignal.timeout(10_000);
      while (!output.stdout.includes(text)) await once(child.stdout, "data", { signal });
      return output.stdout;
    },
    ended: once(child, "close").then(([code]) => ({ code, ...output })),
  };
}
