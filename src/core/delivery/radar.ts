import type { RepositoryConfig } from "../config/git.ts";
import type { Bus } from "../events/bus.ts";
import type { LiveBranch, Overlap } from "../model/delivery.ts";
import { messageOf } from "../model/errors.ts";
import { type ChangedFiles, comparedBranches, type Pair } from "../repository/conflicts.ts";
import type { Delivered, Reach } from "./delivered.ts";
import type { DeliveryStore } from "./store.ts";
import type { UpdatePorts } from "./updates.ts";

/** What the radar reaches beyond deliveries. */
export interface RadarPorts {
  /** As `UpdatePorts.mirror`. */
  mirror: UpdatePorts["mirror"];
  /** As `Bus.subscribe`. */
  subscribe: Bus["subscribe"];
}

interface RadarDeps extends Reach {
  readonly store: DeliveryStore;
  readonly ports: RadarPorts;
  save(delivery: Delivered): void;
}

/** After these the head of a branch, or the set of live branches, may be another one. */
const triggers = [
  "work.committed",
  "branch.pushed",
  "issue.review",
  "issue.completed",
  "pull_request.updated",
  "pull_request.merged",
  "pull_request.closed",
  "config.changed",
] as const;

/** Limits of what is shown and kept; conflicts come first. */
const maxPairs = 1_000;
const maxFiles = 100;
const maxRanges = 20;
const debounceMs = 300;
const retryMs = 60_000;

/** Compares the live branches of each repository whenever a head has moved. */
export class Radar {
  readonly #deps: RadarDeps;
  readonly #leaving = new AbortController();
  /** By repository and base. */
  readonly #changed = new Map<string, ChangedFiles>();
  /** Commits of running attempts, which are not offered yet. */
  readonly #committed = new Map<string, string>();
  #cancel: (() => void) | null = null;
  #unsubscribe: (() => void) | null = null;
  #busy: Promise<void> | null = null;
  #again = false;

  constructor(deps: RadarDeps) {
    this.#deps = deps;
  }

  /** What an earlier server found holds until the first comparison. */
  start(): void {
    const { ports, store, post } = this.#deps;
    const known = store.all().flatMap(({ overlaps }) => overlaps ?? []);
    for (const [repository, overlaps] of Map.groupBy(known, (one) => one.repository))
      post({ type: "radar.updated", repository, overlaps, judged: new Map(), isRestored: true });
    this.#unsubscribe = ports.subscribe({ filter: { types: triggers } }, ({ type, ...event }) => {
      const { commit } = event.data;
      if (type === "work.committed" && event.issueId !== null && typeof commit === "string")
        this.#committed.set(event.issueId, commit);
      this.#plan(debounceMs);
    });
    this.#plan(0);
  }

  async close(): Promise<void> {
    this.#unsubscribe?.();
    this.#cancel?.();
    this.#leaving.abort();
    await this.#busy;
  }

  #plan(delayMs: number): void {
    if (this.#leaving.signal.aborted) return;
    this.#cancel?.();
    this.#cancel = this.#deps.clock.after(delayMs, () => this.#begin());
  }

  #begin(): void {
    this.#cancel = null;
    if (this.#busy !== null) {
      this.#again = true;
      return;
    }
    this.#busy = this.#compareAll().finally(() => {
      this.#busy = null;
      if (this.#again) this.#plan(debounceMs);
      this.#again = false;
    });
  }

  async #compareAll(): Promise<void> {
    const { store, config } = this.#deps;
    const live = store.all().filter((one) => this.#isLive(one));
    const byRepository = Map.groupBy(live, ({ repository }) => repository);
    for (const rule of config().git.repositories) {
      if (this.#leaving.signal.aborted) return;
      const own = byRepository.get(rule.name) ?? [];
      const wasKnown = store
        .all()
        .some(({ repository, overlaps = [] }) => repository === rule.name && overlaps.length > 0);
      if (own.length > 0 || wasKnown) await this.#compare(rule, own);
    }
  }

  /** Never rejects: what cannot be compared stays as it was. */
  async #compare(rule: RepositoryConfig, live: readonly Delivered[]): Promise<void> {
    const { post, log } = this.#deps;
    const judged = new Map(live.flatMap((one) => this.#headOf(one) ?? []));
    let overlaps: readonly Overlap[] | null = null;
    try {
      overlaps = await this.#overlapsIn(rule, live, judged);
    } catch (error) {
      if (this.#leaving.signal.aborted) return;
      log.warn("branches not compared", { repository: rule.name, reason: messageOf(error) });
      this.#plan(retryMs);
    }
    if (this.#leaving.signal.aborted) return;
    if (overlaps !== null) this.#remember(rule.name, overlaps);
    post({ type: "radar.updated", repository: rule.name, overlaps, judged, isRestored: false });
  }

  async #overlapsIn(
    rule: RepositoryConfig,
    live: readonly Delivered[],
    heads: ReadonlyMap<string, string>,
  ): Promise<readonly Overlap[]> {
    const { ports, headOf } = this.#deps;
    const { signal } = this.#leaving;
    const all: Overlap[] = [];
    for (const [base, own] of Map.groupBy(live, (one) => one.base)) {
      if (base === null || own.length < 2) continue;
      const tip = await headOf(rule, base);
      if (!tip) throw new Error(`the base ${base} cannot be read`);
      const mirror = await ports.mirror(rule, { fresh: false, whole: false });
      const branches = own.flatMap((one) => {
        const head = heads.get(one.issueId);
        const path = one.workspacePath;
        return head === undefined ? [] : [{ name: one.issueId, head, path }];
      });
      const key = `${rule.name} ${base}`;
      // Comparisons with an earlier tip are of no use any more.
      const known = this.#changed.get(key) ?? new Map();
      const cache = new Map([...known].filter(([pair]) => pair.startsWith(tip)));
      this.#changed.set(key, cache);
      const pairs = await comparedBranches({ mirror, base: tip, branches, cache, signal });
      const byId = new Map(own.map((one) => [one.issueId, one]));
      all.push(...pairs.flatMap((pair) => overlapOf(rule.name, pair, byId) ?? []));
    }
    // A list that is cut shows what matters.
    const sorted = all.sort((one, other) => Number(other.conflicts) - Number(one.conflicts));
    return sorted.slice(0, maxPairs);
  }

  /** A running attempt may have committed before anything of it is offered. */
  #isLive({ issueId, over, repository, branch, pullRequest }: Delivered): boolean {
    // An issue that was closed leads its branch no further, where no pull request is open.
    const isLeft = pullRequest === null && this.#deps.isEnded(issueId);
    return !over && !isLeft && repository !== null && branch !== null;
  }

  #headOf({ issueId, head }: Delivered): [string, string][] {
    const newest = this.#deps.isRunning(issueId) ? this.#committed.get(issueId) : undefined;
    if (newest === undefined) this.#committed.delete(issueId);
    const id = newest ?? head;
    return id === null ? [] : [[issueId, id]];
  }

  /** Kept with the branch that began later, so that a restart tells nothing twice. */
  #remember(repository: string, overlaps: readonly Overlap[]): void {
    const { store, save } = this.#deps;
    const standing = Map.groupBy(
      overlaps.filter(({ conflicts }) => conflicts),
      ({ second }) => second.issueId,
    );
    for (const one of store.all()) {
      if (one.repository !== repository) continue;
      const next = standing.get(one.issueId) ?? [];
      if (JSON.stringify(next) !== JSON.stringify(one.overlaps ?? []))
        save({ ...one, overlaps: next });
    }
  }
}

/** null: it is not known whether they conflict. */
function overlapOf(
  repository: string,
  { names, overlaps }: Pair,
  byId: ReadonlyMap<string, Delivered>,
): Overlap | null {
  const [one, other] = names.map((name) => byId.get(name));
  if (one === undefined || other === undefined || overlaps === null) return null;
  const [mine, theirs] = [branchOf(one), branchOf(other)];
  const isFirst =
    mine.since < theirs.since || (mine.since === theirs.since && mine.issueId < theirs.issueId);
  return {
    repository,
    first: isFirst ? mine : theirs,
    second: isFirst ? theirs : mine,
    conflicts: overlaps.some(({ kind }) => kind === "conflict"),
    files: overlaps.slice(0, maxFiles).map(({ path, kind, lines }) => {
      const [left, right] = [lines[0].slice(0, maxRanges), lines[1].slice(0, maxRanges)];
      return { path, kind, lines: isFirst ? [left, right] : [right, left] };
    }),
  };
}

function branchOf({
  issueId,
  issueIdentifier,
  branch,
  startedAt,
  offeredAt,
}: Delivered): LiveBranch {
  return { issueId, issueIdentifier, branch: branch ?? "", since: startedAt ?? offeredAt };
}
