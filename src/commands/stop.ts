import { exitCodes } from "./failure.ts";
import { onLostOutput } from "./lost-output.ts";

const { existsSync } = process.getBuiltinModule("node:fs");

const shell = "/bin/sh";
const waitMs = 500;
const stopping = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/**
 * Equal signals within this time are one: `timeout` signals its program and then the program's group, npm passes on a
 * Ctrl-C that the terminal has sent to the whole group, and a person may press the key twice.
 */
export const sameWithinMs = 1_000;

/** Why a command stops: the reason of the signal of `stopSignal`. */
export class StopRequest extends Error {
  override readonly name = "AbortError";
  readonly exitCode: number;

  constructor(exitCode: number, why = "stopped from outside") {
    super(why);
    this.exitCode = exitCode;
  }
}

/** The exit code of a command that has stopped cleanly, or 0 when it was not stopped: 130 after an interrupt (SIGINT). */
export function stopCode({ reason }: AbortSignal): number {
  return reason instanceof StopRequest ? reason.exitCode : exitCodes.done;
}

/**
 * Aborts at the first SIGINT, SIGTERM or SIGHUP, and when stdout is lost; a second signal exits at once and ends every agent.
 *
 * A signal that the launcher in `bin/symphony.js` passed on has the number 0. A signal to the whole group, such as that of
 * Ctrl-C, arrives both ways, so for each signal only the way with more arrivals counts. A closing terminal sends several.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const received = stopping.map((signal) => {
    const ways = { direct: { count: 0, at: -Infinity }, passedOn: { count: 0, at: -Infinity } };
    process.on(signal, (_: NodeJS.Signals, number?: number) => {
      const way = ways[number === 0 ? "passedOn" : "direct"];
      const now = performance.now();
      if (now - way.at <= sameWithinMs) return;
      way.count += 1;
      way.at = now;
      heed(signal === "SIGINT" ? exitCodes.interrupted : exitCodes.done);
    });
    const { direct, passedOn } = ways;
    return () => Math.min(Math.max(direct.count, passedOn.count), signal === "SIGHUP" ? 1 : 2);
  });
  const stop = (exitCode: number) => controller.abort(new StopRequest(exitCode));
  const heed = (exitCode: number) => {
    const count = received.reduce((sum, times) => sum + times(), 0);
    if (count > 1) leave(exitCodes.interrupted);
    stop(exitCode);
  };
  onLostOutput(stop);
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
 * Ends this process at once, after its exit handlers. Node's own exit waits for every DNS lookup in progress, half a minute
 * when no name server answers, so the process is replaced by a shell that only returns the exit code.
 */
function leave(code: number): never {
  process.emit("exit", code);
  if (process.execve && existsSync(shell)) {
    // A further signal must not change the exit code.
    process.execve(shell, ["sh", "-c", `trap "" INT TERM HUP; exit ${code}`], {});
  }
  process.exit(code);
}

/**
 * For when everything is closed: does not wait for what still keeps the process alive, such as a DNS lookup. The exit code
 * is the value of `process.exitCode` at that time.
 */
export function leaveSoon(): void {
  setTimeout(() => leave(Number(process.exitCode ?? 0)), waitMs).unref();
}
