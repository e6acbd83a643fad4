import { join } from "node:path";
import type { HostsDeps, OutlivingHosts } from "../agent/agent.ts";
import type { AgentKind } from "../agent/kinds.ts";
import type { Clock } from "../clock.ts";
import { type Config, settingsOf } from "../config/config.ts";
import type { Bus } from "../events/bus.ts";
import type { Attempt } from "../model/attempt.ts";
import type { Prior } from "../orchestrator/decision.ts";
import type { Running } from "../orchestrator/issues.ts";
import { adoptedEntry } from "../orchestrator/records.ts";
import { sweepRuns } from "../process/program.ts";
import { isOfRun, runIdOf } from "../process/table.ts";
import type { History, IssueRecord, IssueRecords } from "../store/store.ts";
import { type Lease, Leases } from "./leases.ts";

export interface RecoveryOptions extends HostsDeps {
  readonly kinds: readonly AgentKind[];
}

interface Found {
  readonly history: History;
  readonly records: IssueRecords;
  /** Ends what an earlier one left of agents that are not to outlive the server any more. */
  readonly config: Config;
  /** Aborted when the start is to be given up. */
  readonly signal: AbortSignal | undefined;
}

/** Agents that outlive the server, and which attempts they work on. */
export interface Recovery {
  /** By kind of agent. */
  readonly hosts: ReadonlyMap<string, OutlivingHosts>;
  readonly leases: Leases;
  /** Ends what an agent still does for an attempt that goes on no more, and forgets its lease. */
  giveUp(attemptId: string): Promise<void>;
  /** Before anything is swept or dispatched: what goes on. Whatever else such an agent still does is ended. */
  restore(found: Found): Promise<readonly Running[]>;
  /** Agents that nobody needs are ended, the others live on for their limit. */
  close(): Promise<void>;
}

/** In the data directory. The name is from when codex was the only kind of agent that outlives servers. */
const leasesDir = join("codex-shared", "attempts");

export async function openRecovery({ kinds, ...deps }: RecoveryOptions): Promise<Recovery> {
  const { dataDir, clock } = deps;
  const hosts = new Map<string, OutlivingHosts>();
  for (const { kind, outliving } of kinds) {
    if (outliving) hosts.set(kind, await outliving.open(deps));
  }
  const holderOf = ({ host }: Lease) => [...hosts.values()].find((one) => one.has(host)) ?? null;
  const leases = new Leases(join(dataDir, leasesDir));

  async function giveUp(attemptId: string): Promise<void> {
    const lease = leases.of(attemptId);
    if (!lease) return;
    const { host, threadId } = lease;
    const runId = runIdOf(dataDir, lease.attemptId);
    await holderOf(lease)?.endThread(host, { threadId, runId });
    await leases.drop(lease.attemptId);
  }

  return {
    hosts,
    leases,
    giveUp,
    async restore({ history, records, config, signal }) {
      await leases.restore();
      for (const { kind, outliving } of kinds) {
        const isOn = outliving?.isOn(settingsOf(config, kind)) ?? false;
        await hosts.get(kind)?.restore(isOn, signal);
      }
      const rows = new Map(history.openAttempts().map((row) => [row.id, row]));
      const adopted: Running[] = [];
      for (const lease of leases.all) {
        signal?.throwIfAborted();
        const { attemptId, issue, attempt } = lease;
        const row = rows.get(attemptId);
        const record = records.all().get(issue.id);
        const holder = holderOf(lease);
        // Whatever becomes of the attempt, no other agent may write to its thread for a while.
        holder?.remember(lease.host, lease.threadId);
        if (!holder || !row || !goesOn(row, lease, record)) {
          await giveUp(attemptId);
          continue;
        }
        holder.hold(lease.host, runIdOf(dataDir, attemptId));
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
      for (const one of hosts.values()) await one.close();
    },
  };
}

/** Nobody stopped its issue meanwhile, and the history speaks of the same thread. */
function goesOn(row: Attempt, lease: Lease, record: IssueRecord | undefined): boolean {
  const isStopped = record?.held || record?.failed || record?.dismissed;
  const isWhole = row.workspacePath !== null && row.workspaceKey !== null;
  return row.threadId === lease.threadId && isWhole && !isStopped;
}

interface RecoveryDeps {
  readonly history: History;
  readonly bus: Bus;
  readonly clock: Clock;
  /** The cookie of an attempt's processes, or of those of a `hook`. */
  runId(name: string): string;
  /** Attempts that go on: an agent outlived the server. */
  readonly spared?: ReadonlySet<string>;
}

/**
 * What a crash left behind, before anything is dispatched: every process of an attempt without an end, and of a hook, is killed,
 * then the attempt is marked interrupted. Resolves with the number of attempts.
 */
export async function recoverAttempts(parts: RecoveryDeps): Promise<number> {
  const { history, bus, clock } = parts;
  const open = history.openAttempts().filter(({ id }) => !parts.spared?.has(id));
  const left = open.map((attempt) => parts.runId(attempt.id));
  const hook = parts.runId("hook");
  await sweepRuns((found) => left.some((runId) => isOfRun(found, runId)) || found.startsWith(hook));
  for (const attempt of open) {
    const error = { code: "interrupted", message: "the server ended while it ran" };
    history.saveAttempt({ ...attempt, status: "interrupted", endedAt: clock.wall(), error });
    bus.publish({
      type: "attempt.ended",
      issueId: attempt.issueId,
      issueIdentifier: attempt.issueIdentifier,
      attemptId: attempt.id,
      sessionId: attempt.sessionId,
      message: "attempt interrupted: the server ended while it ran",
      data: { outcome: "interrupted", agent: attempt.agent },
    });
  }
  return open.length;
}

/**
 * Cut off by the end of the server or of a shared agent or by a provider's limit, or ended with a question that may
 * be answered by now.
 */
function isResumable({ status, error }: Attempt): boolean {
  return status === "interrupted" || cutOff.has(error?.code ?? "");
}

const cutOff: ReadonlySet<string> = new Set([
  "approval_required",
  "turn_input_required",
  "codex_daemon_lost",
  "provider_limited",
]);

/** What the history says of an issue's earlier attempts. */
export function priorOf(history: History, issueId: string, after: string): Prior {
  const last = history.latestAttempt(issueId);
  const resume =
    last && last.threadId !== null && isResumable(last)
      ? { threadId: last.threadId, tokens: last.threadTokens, agent: last.agent }
      : null;
  const idle = last && last.id > after ? last.idle : null;
  return { count: last?.number ?? 0, resume, tokens: history.tokensSince(issueId, after), idle };
}
