import { join } from "node:path";
import type { HostsDeps, OutlivingHosts } from "../agent/agent.ts";
import type { AgentKind } from "../agent/kinds.ts";
import type { Clock } from "../clock.ts";
import { type Config, settingsOfKind } from "../config/config.ts";
import type { Bus } from "../events/bus.ts";
import type { Attempt } from "../model/attempt.ts";
import type { Prior } from "../orchestrator/decision.ts";
import type { Ended, Running } from "../orchestrator/issues.ts";
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
  /** Ends what an earlier configuration left of agents that no longer outlive the server. */
  readonly config: Config;
  /** Aborted when the start is cancelled. */
  readonly signal: AbortSignal | undefined;
}

/** Agents that outlive the server, and the attempts that they run. */
export interface Recovery {
  /** By kind of agent. */
  readonly hosts: ReadonlyMap<string, OutlivingHosts>;
  readonly leases: Leases;
  /** Ends the agent's work for an attempt that does not continue, and deletes its lease. */
  giveUp(attemptId: string): Promise<void>;
  /**
   * Call before anything is swept or dispatched. Resolves with the attempts that continue; all
   * other work of such agents is ended.
   */
  restore(found: Found): Promise<readonly Running[]>;
  /** Ends agents without an attempt; the others keep running until their time limit. */
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
        const isOn = settingsOfKind(config, kind).some((one) => outliving?.isOn(one) ?? false);
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
        // Keep the thread bound to this process even if the attempt is not resumed.
        holder?.remember(lease.host, lease.threadId);
        if (!holder || !row || !mayContinue(row, lease, record)) {
          await giveUp(attemptId);
          continue;
        }
        holder.hold(lease.host, runIdOf(dataDir, attemptId));
        const failures = record?.retry?.failures ?? 0;
        const [latest] = history.recentEvents(row.issueId, 1);
        const lastEventWall = latest?.at ?? row.startedAt;
        const all = history.tokensSince(row.issueId, record?.allowanceAfter ?? "");
        const spentBefore = Math.max(all - row.tokens.total, 0);
        const clocks = { now: clock.now(), wall: clock.wall() };
        adopted.push(
          adoptedEntry(row, { issue, attempt, failures, lastEventWall, spentBefore }, clocks),
        );
      }
      return adopted;
    },
    async close() {
      for (const one of hosts.values()) await one.close();
    },
  };
}

/** True if its issue was not stopped in the meantime and the history names the same thread. */
function mayContinue(row: Attempt, lease: Lease, record: IssueRecord | undefined): boolean {
  const isOver = record?.offer?.attemptId === row.id;
  const isStopped = isOver || record?.held || record?.failed || record?.dismissed;
  const isWhole = row.workspacePath !== null && row.workspaceKey !== null;
  return row.threadId === lease.threadId && isWhole && !isStopped;
}

interface RecoveryDeps {
  readonly history: History;
  readonly bus: Bus;
  readonly clock: Clock;
  /** The cookie of an attempt's processes, or of those of a `hook` or of the `tracker`'s program. */
  runId(name: string): string;
  /** Attempts that continue because their agent outlived the server. */
  readonly spared?: ReadonlySet<string>;
}

/**
 * Recovers from a crash, before anything is dispatched: kills every process of a hook, of the tracker's program or of an
 * attempt without an end, then marks the attempt as interrupted. Resolves with the number of
 * attempts.
 */
export async function recoverAttempts(deps: RecoveryDeps): Promise<number> {
  const { history, bus, clock } = deps;
  const open = history.openAttempts().filter(({ id }) => !deps.spared?.has(id));
  const left = open.map((attempt) => deps.runId(attempt.id));
  const hook = deps.runId("hook");
  const others = [...left, deps.runId("tracker")];
  await sweepRuns(
    (found) => others.some((runId) => isOfRun(found, runId)) || found.startsWith(hook),
  );
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
 * True if the attempt was cut off by the end of the server, the end of a shared agent or a
 * provider's limit, or if it ended with a question that may have been answered since.
 */
function isResumable({ status, error }: Attempt): boolean {
  return status === "interrupted" || cutOff.has(error?.code ?? "");
}

const cutOff: ReadonlySet<string> = new Set([
  "approval_required",
  "turn_input_required",
  "codex_daemon_lost",
  "provider_limited",
  "provider_refused",
]);

/**
 * True if the connection to the agent or to its provider broke, its worker was lost, or it stopped sending events. If that happens twice in a row
 * on one thread, the thread itself may be the cause, and a new one is begun.
 */
function isBrokenOnce(history: History, last: Attempt): boolean {
  if (!isBroken(last)) return false;
  const [, before] = history.attemptsOf(last.issueId, 2, 0).attempts;
  return !before || before.threadId !== last.threadId || !isBroken(before);
}

function isBroken({ status, error }: Attempt): boolean {
  return status === "stalled" || broken.has(error?.code ?? "");
}

const broken: ReadonlySet<string> = new Set([
  "turn_timeout",
  "port_exit",
  "response_timeout",
  "provider_unavailable",
  "worker_lost",
]);

/** An attempt that a crash of the server ended while it was prepared says nothing of the thread: the one before it does. */
function atWork(history: History, last: Attempt): Attempt {
  const isCut = ({ status, threadId }: Attempt) => status === "interrupted" && threadId === null;
  if (!isCut(last)) return last;
  const { attempts } = history.attemptsOf(last.issueId, maxCut, 0);
  return attempts.find((one) => !isCut(one)) ?? last;
}

/** Crashes in a row while an attempt was prepared, after which a new thread is begun. */
const maxCut = 10;

/** What the history knows about an issue's earlier attempts. */
export function priorOf(history: History, issueId: string, after: string): Prior {
  const last = history.latestAttempt(issueId);
  const ran = last && atWork(history, last);
  const thread =
    ran && ran.threadId !== null
      ? { threadId: ran.threadId, tokens: ran.threadTokens, agent: ran.agent }
      : null;
  const resume = ran && (isResumable(ran) || isBrokenOnce(history, ran)) ? thread : null;
  const idle = last && last.id > after ? last.idle : null;
  const tokens = history.tokensSince(issueId, after);
  return {
    ...{ count: last?.number ?? 0, resume, thread, tokens, idle, last: last && endedOf(last) },
    ...(last?.workerHost != null && { worker: last.workerHost }),
  };
}

/** null: it has not ended. */
export function endedOf({ id, status, endedAt, tokens }: Attempt): Ended | null {
  return endedAt === null ? null : { attemptId: id, outcome: status, endedWall: endedAt, tokens };
}
