import { exitCodes } from "./exit-codes.ts";

const { existsSync } = process.getBuiltinModule("node:fs");

const shell = "/bin/sh";
const patienceMs = 500;
const stopping = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** `timeout` signals its program and then the program's group; a person does not press a key twice as fast. */
export const sameWithinMs = 200;

/**
 * Aborts at the first SIGINT, SIGTERM or SIGHUP; a second one leaves at once, and takes every agent along.
 *
 * One that came through the launcher of `bin/symphony.js` has the number 0. A signal to the whole group, such as that of
 * Ctrl-C, comes both ways, so of each signal the more frequent way counts. A terminal that goes away says so several times.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const received = stopping.map((signal) => {
    const ways = { direct: { count: 0, at: -Infinity }, passedOn: { count: 0, at: -Infinity } };
    process.on(signal, (_: NodeJS.Signals, number?: number) => {
      const way = ways[number === 0 ? "passedOn" : "direct"];
      const now = performance.now();
      if (now - way.at > sameWithinMs) way.count += 1;
      way.at = now;
      heed();
    });
    const { direct, passedOn } = ways;
    return () => Math.min(Math.max(direct.count, passedOn.count), signal === "SIGHUP" ? 1 : 2);
  });
  const heed = () => {
    const count = received.reduce((sum, times) => sum + times(), 0);
    if (count > 1) leave(exitCodes.interrupted);
    controller.abort();
  };
  return controller.signal;
}

/** Resolves once `signal` is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/**
 * Ends this process at once, after its exit handlers. Node's own exit waits for every look-up of a name that is under way, half
 * a minute where no name server answers: so the process is replaced by one that has nothing but the exit code.
 */
function leave(code: number): never {
  process.emit("exit", code);
  if (process.execve && existsSync(shell)) process.execve(shell, ["sh", "-c", `exit ${code}`], {});
  process.exit(code);
}

/**
 * For when all is closed: what still keeps the process then, such as a look-up of a name, is not waited for. The exit code is
 * `process.exitCode`, as it is by then.
 */
export function leaveSoon(): void {
  setTimeout(() => leave(Number(process.exitCode ?? 0)), patienceMs).unref();
}
