import { join } from "node:path";
import { Daemons } from "./agent/codex/shared/daemons.ts";
import { sharedDir } from "./agent/codex/shared/restart-safe.ts";
import { endThread } from "./agent/codex/shared/shared-runtime.ts";
import { type Lease, Leases } from "./attempt/leases.ts";
import type { Clock } from "./clock.ts";
import type { Attempt } from "./model/attempt.ts";
import { adoptedEntry } from "./orchestrator/adopted.ts";
import type { Running } from "./orchestrator/state.ts";
import { runIdOf } from "./run-id.ts";
import type { History, IssueRecord, IssueRecords } from "./store/store.ts";

export interface LastingOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  /** Something an operator should know. */
  onTrouble(message: string): void;
}

interface Found {
  readonly history: History;
  readonly records: IssueRecords;
  /** False ends what an earlier configuration left. */
  readonly isShared: boolean;
  /** Aborted when the start is to be given up. */
  readonly signal: AbortSignal | undefined;
}

/** Agents that outlive the server, and which attempts they work on. */
export interface Lasting {
  readonly daemons: Daemons;
  readonly leases: Leases;
  /** Ends what an agent still does for an attempt that goes on no more, and forgets its lease. */
  giveUp(attemptId: string): Promise<void>;
  /** Before anything is swept or dispatched: what goes on. Whatever else such an agent still does is ended. */
  restore(found: Found): Promise<readonly Running[]>;
  /** Agents that nobody needs are ended, the others live on for their limit. */
  close(): Promise<void>;
}

export function openLasting({ dataDir, clock, onTrouble }: LastingOptions): Lasting {
  const dir = sharedDir(dataDir);
  const markOf = (id: string) => runIdOf(dataDir, `codex-${id}`);
  const daemons = new Daemons({ dir, clock, markOf, onTrouble });
  const leases = new Leases(join(dir, "attempts"));

  async function giveUp(attemptId: string): Promise<void> {
    const lease = leases.of(attemptId);
    if (!lease) return;
    const daemon = daemons.find(lease.host);
    const runId = runIdOf(dataDir, lease.attemptId);
    const { threadId } = lease;
    if (daemon) await endThread(daemon, { threadId, runId }, { daemons, clock, onTrouble });
    await leases.drop(lease.attemptId);
  }

  return {
    daemons,
    leases,
    giveUp,
    async restore({ history, records, isShared, signal }) {
      await leases.restore();
      await daemons.restore(signal);
      if (!isShared) await Promise.all(daemons.all.map((daemon) => daemons.end(daemon)));
      const rows = new Map(history.openAttempts().map((row) => [row.id, row]));
      const adopted: Running[] = [];
      for (const lease of leases.all) {
        signal?.throwIfAborted();
        const { attemptId, issue, attempt } = lease;
        const row = rows.get(attemptId);
        const record = records.all().get(issue.id);
        const daemon = daemons.find(lease.host);
        // Whatever becomes of the attempt, no other agent may write to its thread for a while.
        if (daemon) daemons.remember(lease.threadId, daemon);
        if (!daemon || !row || !goesOn(row, lease, record)) {
          await giveUp(attemptId);
          continue;
        }
        daemon.runs.add(runIdOf(dataDir, attemptId));
        const failures = record?.retry?.failures ?? 0;
        const [heard] = history.recentEvents(row.issueId, 1);
        const heardWall = heard?.at ?? row.startedAt;
        const all = history.tokensSince(row.issueId, record?.allowanceAfter ?? "");
        const spentBefore = Math.max(all - row.tokens.total, 0);
        const clocks = { now: clock.now(), wall: clock.wall() };
        adopted.push(
          adoptedEntry(row, { issue, attempt, failures, heardWall, spentBefore }, clocks),
        );
      }
      return adopted;
    },
    async close() {
      daemons.close();
      await daemons.endUnused();
    },
  };
}

/** Nobody stopped its issue meanwhile, and the history speaks of the same thread. */
function goesOn(row: Attempt, lease: Lease, record: IssueRecord | undefined): boolean {
  const isStopped = record?.held || record?.failed || record?.dismissed;
  const isWhole = row.workspacePath !== null && row.workspaceKey !== null;
  return row.threadId === lease.threadId && isWhole && !isStopped;
}
