import { basename } from "node:path";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Logger } from "../events/log.ts";
import { messageOf } from "../model/errors.ts";
import type { IssueName } from "../model/issue.ts";
import type { State } from "../orchestrator/state.ts";
import type { EventSink, History } from "../store/store.ts";
import type { KeptCopies } from "./copies.ts";
import type { KeptWorkspaces } from "./kept.ts";
import { knownPlaces } from "./known-places.ts";
import type { WorkspaceOverview } from "./overview.ts";
import { userOf } from "./owner.ts";
import type { Workspaces } from "./workspaces.ts";

interface RetentionDeps {
  readonly copies: Pick<KeptCopies, "list" | "remove">;
  readonly workspaces: Pick<Workspaces, "placeOf" | "remove" | "root">;
  readonly kept: Pick<KeptWorkspaces, "forget">;
  readonly history: Pick<History, "latestAttempt" | "workspacePlaces">;
  readonly bus: EventSink;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn">;
  state(): State;
  readonly config: { readonly current: { readonly config: Pick<Config, "workspace"> } };
  readonly overview: Pick<WorkspaceOverview, "bytesOf">;
}

/** What a sweep may remove. */
interface Aged {
  readonly key: string;
  readonly path: string;
  readonly issue: IssueName | null;
  /** When it was made or last used, in ms since the epoch. */
  readonly at: number;
  readonly bytes: number;
  /** For operators. */
  readonly what: string;
  /** False when it has to stay. */
  remove(): Promise<boolean>;
}

/** The first poll has to tell first which issues are still worked on. */
const firstMs = 60_000;
const everyMs = 3_600_000;

/**
 * Removes old copies and idle workspaces as `workspace.retention` says, shortly after the start and
 * then every hour. Returns a function that stops it.
 */
export function followWorkspaceRetention(deps: RetentionDeps): () => void {
  const { clock, log } = deps;
  const stopping = new AbortController();
  let cancel = () => {};
  const run = () => {
    sweep(deps, stopping.signal)
      .catch((error: unknown) => {
        log.warn("old workspaces could not be removed", { reason: messageOf(error) });
      })
      .finally(() => {
        if (!stopping.signal.aborted) cancel = clock.after(everyMs, run);
      });
  };
  cancel = clock.after(firstMs, run);
  return () => {
    stopping.abort();
    cancel();
  };
}

/**
 * One pass: first what is older than `max_age`, then the oldest while all together are larger than
 * `max_total`. A workspace with work that is nowhere else stays, and counts.
 */
export async function sweep(deps: RetentionDeps, signal?: AbortSignal): Promise<void> {
  const { maxAgeMs, maxTotalBytes } = deps.config.current.config.workspace.retention;
  if (maxAgeMs === null && maxTotalBytes === null) return;
  const all = [...(await copiesOf(deps)), ...(await idleWorkspaces(deps))];
  all.sort((a, b) => a.at - b.at);
  const now = deps.clock.wall();
  let total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const one of all) {
    if (signal?.aborted) return;
    const isOld = maxAgeMs !== null && now - one.at > maxAgeMs;
    const isTooMuch = maxTotalBytes !== null && total > maxTotalBytes;
    if (!isOld && !isTooMuch) continue;
    const limit = isOld ? "max_age" : "max_total";
    try {
      if (!(await one.remove())) continue;
    } catch (error) {
      deps.log.warn("not removed", { path: one.path, reason: messageOf(error) });
      continue;
    }
    total -= one.bytes;
    const { key, path, issue, what } = one;
    deps.bus.publish({
      type: "workspace.removed",
      issueId: issue?.id ?? null,
      issueIdentifier: issue?.identifier ?? null,
      message: `${what} removed by workspace.retention.${limit}`,
      data: { key, path, by: "retention", limit, kept: null },
    });
  }
}

async function copiesOf({ copies }: RetentionDeps): Promise<readonly Aged[]> {
  return (await copies.list()).map((copy) => ({
    ...copy,
    what: `kept copy ${copy.key} (${copy.summary})`,
    async remove() {
      await copies.remove(copy);
      return true;
    },
  }));
}

/** The workspaces of recorded issues that no attempt uses and no work is planned for. */
async function idleWorkspaces(deps: RetentionDeps): Promise<readonly Aged[]> {
  const { workspaces, kept, history, overview } = deps;
  const idle: Aged[] = [];
  for (const { key, path, recorded } of await knownPlaces(
    workspaces.root(),
    history.workspacePlaces(),
  )) {
    const latest = recorded === null ? null : history.latestAttempt(recorded.issueId);
    if (latest === null) continue;
    const issue = { id: latest.issueId, identifier: latest.issueIdentifier };
    if (isBusy(deps, issue.id, path)) continue;
    idle.push({
      ...{ key, path, issue },
      at: latest.endedAt ?? latest.startedAt,
      bytes: overview.bytesOf(path) ?? 0,
      what: `idle workspace ${basename(path)} without work`,
      async remove() {
        if (isBusy(deps, issue.id, path)) return false;
        // As an operator without `force`: nothing is copied, and what holds work stays.
        const removal = await workspaces.remove({ path, issue }, { force: false });
        if (removal.outcome === "removed") kept.forget(path);
        return removal.outcome === "removed";
      },
    });
  }
  return idle;
}

/** An issue that will be worked on again keeps its workspace. */
function isBusy({ state, workspaces }: RetentionDeps, issueId: string, path: string): boolean {
  const now = state();
  const claim = now.issues.get(issueId)?.claim ?? "free";
  if (claim !== "free" && claim !== "completed") return true;
  if (now.candidates.some(({ id }) => id === issueId)) return true;
  return userOf(now, path, (issue) => workspaces.placeOf(issue)) !== null;
}
