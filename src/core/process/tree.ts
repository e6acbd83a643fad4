import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { within } from "../clock.ts";
import { systemCodeOf } from "../model/errors.ts";
import {
  isOfRun,
  killLimitMs,
  killMatching,
  liveProcesses,
  type ProcessEntry,
  signalProcess,
} from "./table.ts";

/**
 * How a child ended. A child that could not be started has a `failure`, and neither status nor
 * signal.
 */
export interface ProcessExit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly failure: Error | null;
}

/** Identifies the members of a tree of processes. */
interface Members {
  /** The group of its leader; null when the number may already be reused. */
  readonly group: number | null;
  /** Whether the leader still exists, so that the group number cannot be reused. */
  readonly leads: boolean;
  /** True for a member even when it left the group: it is identified by its environment. */
  isMember(entry: ProcessEntry): boolean;
}

const groupCheckMs = 50;
const drainLimitMs = 1_000;

/**
 * Kills the rest of a tree: its group, then all processes with its mark, until none is found. Every
 * tree of processes is ended by this function.
 */
export async function endTree(
  { group, leads, isMember }: Members,
  limitMs = killLimitMs,
): Promise<void> {
  // After the leader exits its number may be reused; the processes are looked at then.
  if (group !== null && leads) signalProcess(-group, "SIGKILL");
  const inGroup = (entry: ProcessEntry) => group !== null && entry.groupId === group;
  await killMatching((entry) => inGroup(entry) || isMember(entry), limitMs);
}

/**
 * A child that leads its own group (`detached`), with everything that it starts, identified by the
 * group and by the run cookie `runId` in its environment. Killed when this process exits first.
 */
export class ProcessTree {
  readonly #child: ChildProcess;
  readonly #runId: string;
  readonly #exited = Promise.withResolvers<ProcessExit>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #forgetGroup: () => void;

  constructor(child: ChildProcess, runId: string) {
    this.#child = child;
    this.#runId = runId;
    this.#forgetGroup = killGroupAtExit(child.pid);
    child.once("close", () => this.#closed.resolve());
    child.once("exit", (status, signal) => this.#exited.resolve({ status, signal, failure: null }));
    child.once("error", (failure) => {
      this.#exited.resolve({ status: null, signal: null, failure });
      this.#closed.resolve();
    });
  }

  /** The exit of the leader, or why it could not be started. Never rejects. */
  get exited(): Promise<ProcessExit> {
    return this.#exited.promise;
  }

  /**
   * Resolves when no process can write to its pipes any more, or after a second: a process that was
   * not found may hold them. Never rejects.
   */
  drained(): Promise<void> {
    return within(this.#closed.promise, drainLimitMs);
  }

  /**
   * Ends the whole tree: SIGTERM to the group and a wait of `graceMs` unless that is 0, then
   * SIGKILL, then kills processes that left the group. Resolves when no process is left, in bounded
   * time.
   */
  async end(graceMs = 0): Promise<void> {
    const { pid } = this.#child;
    if (pid === undefined) return;
    if (graceMs > 0 && this.#leads()) {
      signalProcess(-pid, "SIGTERM");
      await this.#groupGone(pid, graceMs);
    }
    await endTree({
      group: pid,
      leads: this.#leads(),
      isMember: ({ runId }) => isOfRun(runId, this.#runId),
    });
    await within(this.#exited.promise, killLimitMs);
    this.#forgetGroup();
  }

  /**
   * Like `end`, for a leader that has exited, but searches no other processes when its group is
   * empty.
   */
  async endGroup(): Promise<void> {
    const { pid } = this.#child;
    if (pid !== undefined && (this.#leads() || groupExists(pid))) await this.end();
    else this.#forgetGroup();
  }

  #leads(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async #groupGone(pid: number, limitMs: number): Promise<void> {
    const end = performance.now() + limitMs;
    await within(this.#exited.promise, limitMs);
    // One call of the kernel tells of most that nothing is left; a reading of /proc also knows what has ended but is not collected.
    while (groupExists(pid) && performance.now() < end) {
      if (!(await liveProcesses()).some(({ groupId }) => groupId === pid)) return;
      await delay(groupCheckMs);
    }
  }
}

const liveGroups = new Set<number>();
process.on("exit", () => {
  // Last step when this process exits without cleanup; processes that left their group are killed
  // at the next start.
  for (const pid of liveGroups) signalProcess(-pid, "SIGKILL");
});

/** Kills the group that `pid` leads when this process exits. The returned function cancels this. */
function killGroupAtExit(pid: number | undefined): () => void {
  if (pid === undefined) return () => {};
  liveGroups.add(pid);
  return () => liveGroups.delete(pid);
}

/** False only when no process is left in the group. */
function groupExists(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch (error) {
    return systemCodeOf(error) !== "ESRCH";
  }
}
