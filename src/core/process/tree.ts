import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { within } from "../clock.ts";
import {
  isOfRun,
  killLimitMs,
  killMatching,
  liveProcesses,
  type ProcessEntry,
  signalProcess,
} from "./table.ts";

/** How a child ended. One that could not be started has a `failure`, and neither status nor signal. */
export interface ProcessExit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly failure: Error | null;
}

/** What belongs to a tree of processes. */
interface Members {
  /** The group of its leader; null: the number may be another's by now. */
  readonly group: number | null;
  /** Whether the leader is still there, so that the number of the group is its own. */
  leads(): boolean;
  /** True for a member wherever it went: it is known by what it carries. */
  isMember(entry: ProcessEntry): boolean;
}

const groupCheckMs = 50;

/**
 * Kills what is left of a tree: its group, then all that carries its mark, until nothing is found any more (Linux). This is
 * how every tree of processes ends.
 */
export async function endTree(
  { group, leads, isMember }: Members,
  limitMs = killLimitMs,
): Promise<void> {
  // After the leader exits its number may be reused; on Linux /proc is checked before anything is signalled.
  const isOurs = leads() || process.platform !== "linux";
  if (group !== null && isOurs) signalProcess(-group, "SIGKILL");
  const inGroup = (entry: ProcessEntry) => group !== null && entry.groupId === group;
  await killMatching((entry) => inGroup(entry) || isMember(entry), limitMs);
}

/**
 * A child that leads a group of its own (`detached`), with everything it starts: found again by the group and by the run
 * cookie `runId` in its environment. It is killed when this process exits before its end.
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

  /** When nobody can write to its pipes any more. Never rejects. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /**
   * Ends the whole tree: SIGTERM to the group and `graceMs` of time, where that is not 0, then SIGKILL, then a sweep for what
   * left the group. Resolves when none is left, in bounded time.
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
      leads: () => this.#leads(),
      isMember: ({ runId }) => isOfRun(runId, this.#runId),
    });
    await within(this.#exited.promise, killLimitMs);
    this.#forgetGroup();
  }

  /** As `end`, for a leader that has exited: without the sweep where nobody is left in its group. */
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
    while (performance.now() < end) {
      if (!(await liveProcesses()).some(({ groupId }) => groupId === pid)) return;
      await delay(groupCheckMs);
    }
  }
}

const liveGroups = new Set<number>();
process.on("exit", () => {
  // The last chance when this process leaves in a hurry; what escaped its group is left to the next start.
  for (const pid of liveGroups) signalProcess(-pid, "SIGKILL");
});

/** The group that `pid` leads is killed when this process exits before the returned function is called. */
function killGroupAtExit(pid: number | undefined): () => void {
  if (pid === undefined) return () => {};
  liveGroups.add(pid);
  return () => liveGroups.delete(pid);
}

/** False only where no process is left in the group. */
function groupExists(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}
