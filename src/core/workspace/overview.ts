import { existsSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Clock } from "../clock.ts";
import type { RepositoryConfig } from "../config/git.ts";
import type { Issue, IssueName } from "../model/issue.ts";
import { isDirty } from "../model/work.ts";
import { statusOf } from "../orchestrator/snapshot.ts";
import type { State } from "../orchestrator/state.ts";
import { workspaceKey } from "../repository/key.ts";
import type { EventSink, History } from "../store/store.ts";
import type { KeptCopies, KeptCopy } from "./copies.ts";
import { diffOf, type WorkDiff } from "./diff.ts";
import { findWorkspace } from "./directory.ts";
import { inspect, type WorkspaceFacts } from "./facts.ts";
import type { Kept, KeptWorkspaces } from "./kept.ts";
import { type KnownPlace, knownPlaces } from "./known-places.ts";
import { DiskUse } from "./measured.ts";
import { attachedAt, type KnownIssue, ownersOf, userOf } from "./owner.ts";
import { ambiguous, dirty, inUse, notFound, onlyCopy, removed } from "./refusals.ts";
import { Repositories } from "./repositories.ts";
import type { Workspaces } from "./workspaces.ts";

interface OverviewDeps {
  /** The commit that the remote has of the issue's branch; by default none. */
  pushedOf?(issueId: string): string | null;
  /** The repositories that new workspaces are cloned from; by default none. */
  repositories?(): readonly RepositoryConfig[];
  /** As `RepositoriesDeps` has it. */
  redact(text: string): string;
  state(): State;
  readonly workspaces: Workspaces;
  readonly kept: KeptWorkspaces;
  readonly copies: KeptCopies;
  readonly history: History;
  readonly bus: EventSink;
  readonly clock: Clock;
}

export interface WorkspaceListing {
  readonly root: string;
  readonly workspaces: readonly WorkspaceFacts[];
  /** Of all workspaces that have been measured. */
  readonly totalBytes: number;
  readonly total: number;
  /** The work of workspaces that were removed; newest first. */
  readonly copies: readonly KeptCopy[];
}

interface RemovalWish {
  readonly force: boolean;
  /** Selects one, if several have the key. */
  readonly path?: string | null;
}

const atOnce = 16;
/** How long a list waits for figures that have not been measured yet. */
const maxWaitMs = 500;

/** All workspaces: their list, their disk use, and their removal by an operator. */
export class WorkspaceOverview {
  readonly #deps: OverviewDeps;
  readonly #disk: DiskUse;
  /** The repositories in the workspaces. */
  readonly git: Repositories;
  /** The workspaces that are kept after their issue has ended. */
  readonly kept: KeptWorkspaces;

  constructor(deps: OverviewDeps) {
    this.#deps = deps;
    this.kept = deps.kept;
    this.#disk = new DiskUse(deps.clock);
    this.git = new Repositories({
      clock: deps.clock,
      paths: async () => (await this.#places()).map(({ path }) => path),
      ownerOf: (path) => this.#owner(path, ownersOf(deps.state())),
      history: deps.history,
      pushedOf: (issueId) => deps.pushedOf?.(issueId) ?? null,
      repositories: () => deps.repositories?.() ?? [],
      redact: (text) => deps.redact(text),
    });
  }

  /** Sorted by key, with those of earlier roots. Walks no tree: disk use is as last measured. */
  async list(limit: number, offset: number): Promise<WorkspaceListing> {
    const places = await this.#places();
    const paths = places.map(({ path }) => path);
    const page = paths.slice(offset, offset + limit);
    this.#disk.follow(paths);
    this.git.follow(paths);
    await this.#forgetGone();
    const wait = [];
    if (page.some((path) => this.#disk.of(path) === null)) wait.push(this.#disk);
    if (page.some((path) => this.git.remembered(path) === null)) wait.push(this.git);
    await Promise.all(wait.map((one) => one.settledWithin(maxWaitMs)));
    const owners = ownersOf(this.#deps.state());
    const kept = new Map(this.kept.list().map((one) => [one.path, one]));
    const rows: (WorkspaceFacts | null)[] = [];
    for (let at = 0; at < page.length; at += atOnce) {
      const batch = page.slice(at, at + atOnce);
      const facts = batch.map((path) => this.#facts(path, owners, kept.get(path) ?? null));
      rows.push(...(await Promise.all(facts)));
    }
    return {
      root: this.#deps.workspaces.root(),
      workspaces: rows.filter((row) => row !== null),
      totalBytes: paths.reduce((sum, path) => sum + (this.#disk.of(path) ?? 0), 0),
      total: paths.length,
      copies: await this.#deps.copies.list(),
    };
  }

  /** Bytes of all workspaces as last measured; reads nothing. */
  get measuredBytes(): number {
    return this.#disk.totalBytes;
  }

  /** Bytes of the workspace at `path` as last measured; null: not measured yet. */
  bytesOf(path: string): number | null {
    return this.#disk.of(path);
  }

  /** Starts measuring workspaces with old figures in the background, and does not wait for it. */
  async measure(): Promise<void> {
    this.#disk.follow((await this.#places()).map(({ path }) => path));
  }

  /**
   * Runs `before_remove` and deletes the workspace with this key; `path` selects one if several
   * have it. Without such a workspace, deletes the kept copy with this key. Rejects with `workspace_not_found`, `workspace_ambiguous`, `workspace_in_use`, without
   * `force` with `workspace_dirty` for one that may hold work that is nowhere else, and with
   * `workspace_…` of the disk.
   */
  async remove(key: string, { force, path: chosen = null }: RemovalWish): Promise<void> {
    const { workspaces, bus, state, kept } = this.#deps;
    const copy = chosen === null ? await this.#onlyCopy(key) : null;
    if (copy !== null) return this.#removeCopy(copy, force);
    const path = await this.#require(key, chosen, "symphony workspaces remove");
    // Checked synchronously before the removal begins: from then on no attempt gets this directory.
    this.#requireIdle(path);
    const issue = this.#owner(path, ownersOf(state()));
    const removal = await workspaces.remove({ path, issue }, { force });
    if (removal.outcome === "nothing") throw notFound(key);
    if (removal.outcome === "kept") {
      const isToday = chosen === null && dirname(path) === workspaces.root();
      throw dirty(isToday ? key : path, path, removal.work);
    }
    kept.forget(path);
    bus.publish({
      type: "workspace.removed",
      issueId: issue?.id ?? null,
      issueIdentifier: issue?.identifier ?? null,
      message: `workspace ${chosen ?? key} removed by an operator`,
      data: { key, path, by: "operator", kept: null },
    });
    if (removal.rest !== null) throw removal.rest;
  }

  /**
   * Puts a kept copy back into the place of its workspace, which must be free. The copy stays.
   * Resolves with the path. Rejects with `workspace_not_found`, `workspace_ambiguous`,
   * `workspace_in_use` and `workspace_…` of the disk.
   */
  async restore(key: string): Promise<{ readonly key: string; readonly path: string }> {
    const { workspaces, copies, kept, history } = this.#deps;
    const copy = await copies.find(key, history.issueIdOf(key));
    const { workspace: path, issue } = copy;
    this.#requireIdle(path);
    await workspaces.restore(path, (to) => copies.restore(copy, to));
    if (issue !== null) await kept.report(issue, path);
    return { key: copy.key, path };
  }

  /**
   * The work in the workspace of `issue`, compared with its base, wherever the workspace is now:
   * that of the newest attempt, else another one of the issue. `chosen` selects one by its path.
   * Rejects with `workspace_not_found` and `no_repository`.
   */
  async diffOf(
    issue: Pick<KnownIssue, "id" | "identifier">,
    chosen: string | null = null,
  ): Promise<WorkDiff> {
    if (chosen !== null) return this.diffIn(basename(chosen), chosen);
    const found = await this.#find(issue);
    if (found !== null) return this.git.diff(found);
    const copies = await this.#deps.copies.list();
    const copy = copies.find((one) => one.issue?.id === issue.id);
    if (copy !== undefined) return this.#copyDiff(copy);
    const had = this.#deps.history.latestAttempt(issue.id)?.workspacePath;
    throw had ? removed(issue.identifier) : notFound(workspaceKey(issue.identifier));
  }

  /** Where the workspace of `issue` is now. Rejects with `workspace_not_found`. */
  async pathOf(issue: Pick<KnownIssue, "id" | "identifier">): Promise<string> {
    const key = workspaceKey(issue.identifier);
    const found = await this.#find(issue);
    if (found === null) throw notFound(key);
    return found;
  }

  #find(issue: Pick<KnownIssue, "id" | "identifier">): Promise<string | null> {
    const { history, workspaces } = this.#deps;
    const recorded = history.latestAttempt(issue.id)?.workspacePath;
    const kept = this.kept.list().filter(({ issueId }) => issueId === issue.id);
    const others = [...kept, ...history.workspacePlacesOf(issue.id)].map(({ path }) => path);
    const places = [recorded, workspaces.placeOf(issue), ...others];
    return findWorkspace(issue.id, places, workspaces.root());
  }

  /** Whether there is nothing at the recorded place of a workspace any more. */
  isGone(path: string): boolean {
    return !existsSync(path);
  }

  /** The current or future workspace of an issue; null if its identifier gives no valid path. */
  placeOf(issue: IssueName): { key: string; path: string } | null {
    try {
      const path = this.#deps.workspaces.placeOf(issue);
      return { key: basename(path), path };
    } catch {
      return null;
    }
  }

  /** As `diffOf`, by key and of any issue; also rejects with `workspace_ambiguous`. */
  async diffIn(key: string, chosen: string | null = null): Promise<WorkDiff> {
    const copy = chosen === null ? await this.#onlyCopy(key) : null;
    if (copy !== null) return this.#copyDiff(copy);
    return this.git.diff(await this.#require(key, chosen, "symphony diff"));
  }

  /** Cancels the measurements. */
  async close(): Promise<void> {
    await Promise.all([this.#disk.close(), this.git.close()]);
  }

  /** The kept copy with this key, unless a workspace has it. */
  async #onlyCopy(key: string): Promise<KeptCopy | null> {
    if ((await this.#places()).some((place) => place.key === key)) return null;
    return (await this.#deps.copies.list()).find((copy) => copy.key === key) ?? null;
  }

  /** The copy is opened in a temporary directory, so a damaged one shows here. */
  async #copyDiff(copy: KeptCopy): Promise<WorkDiff> {
    const diff = await this.#deps.copies.within(copy, (path) => diffOf(path, copy.base));
    return { ...diff, path: copy.path };
  }

  async #removeCopy(copy: KeptCopy, force: boolean): Promise<void> {
    const { key, path, issue, summary } = copy;
    if (!force) throw onlyCopy(copy);
    await this.#deps.copies.remove(copy);
    this.#deps.bus.publish({
      type: "workspace.removed",
      issueId: issue?.id ?? null,
      issueIdentifier: issue?.identifier ?? null,
      message: `kept copy ${key} deleted by an operator; it held ${summary}`,
      data: { key, path, by: "operator", kept: null },
    });
  }

  /** All workspaces. */
  #places(): Promise<readonly KnownPlace[]> {
    const { workspaces, history } = this.#deps;
    const recorded = [...this.kept.list(), ...history.workspacePlaces()];
    return knownPlaces(workspaces.root(), recorded);
  }

  /**
   * The one workspace with this key, else of the issue that has or had this identifier; if there are several, the one at `chosen`. It is never a path
   * that only the caller knows.
   */
  async #require(key: string, chosen: string | null, command: string): Promise<string> {
    const places = await this.#places();
    const keyed = places.filter((place) => place.key === key);
    const id = keyed.length > 0 ? null : this.#deps.history.issueIdOf(key);
    const named = id === null ? keyed : places.filter(({ recorded }) => recorded?.issueId === id);
    const paths = named.map(({ path }) => path);
    const meant = chosen === null ? paths : paths.filter((path) => path === chosen);
    const [path, ...more] = meant;
    if (path === undefined) throw notFound(chosen ?? key);
    if (more.length > 0) throw ambiguous(key, meant, command);
    return path;
  }

  async #facts(
    path: string,
    owners: ReadonlyMap<string, KnownIssue>,
    kept: Kept | null,
  ): Promise<WorkspaceFacts | null> {
    const found = await inspect(path);
    if (found === null) return null;
    const { history, state } = this.#deps;
    const owner = this.#owner(path, owners);
    const latest = owner === null ? null : history.latestAttempt(owner.id);
    const work = this.git.remembered(path);
    return {
      key: basename(path),
      path,
      issueIdentifier: owner?.identifier ?? null,
      status: owner?.issue ? statusOf(state(), owner.issue) : null,
      inUse: this.#userOf(path) !== null,
      diskBytes: this.#disk.of(path),
      branch: found.branch,
      dirty: work === null ? (found.isEmpty ? false : null) : isDirty(work),
      work,
      kept,
      createdAt: found.createdAt,
      lastUsedAt: latest?.endedAt ?? latest?.startedAt ?? found.changedAt,
    };
  }

  /** The issue: below an earlier root from the history, else from memory, then the history. */
  #owner(path: string, owners: ReadonlyMap<string, KnownIssue>): KnownIssue | null {
    const { history, workspaces } = this.#deps;
    const key = basename(path);
    if (dirname(path) !== workspaces.root()) {
      const place = history.workspacePlaceAt(path);
      if (place === null) return null;
      const { issueId: id, issueIdentifier: identifier } = place;
      const live = [...owners.values()].find((owner) => owner.id === id);
      return live ?? { id, identifier, issue: null };
    }
    const live = [...owners.values()].find((one) => this.placeOf(one)?.path === path);
    const known = live ?? owners.get(key);
    if (known) return known;
    const id = history.issueIdOf(key);
    const latest = id === null ? null : history.latestAttempt(id);
    if (latest?.workspaceKey !== key) return null;
    return { id: latest.issueId, identifier: latest.issueIdentifier, issue: null };
  }

  /** Drops the workspaces that an operator deleted by hand. */
  async #forgetGone(): Promise<void> {
    for (const { path } of this.kept.list()) {
      const found = await lstat(path).catch(() => null);
      if (found === null) this.kept.forget(path);
    }
  }

  #userOf(path: string): Issue | null {
    const { state, workspaces } = this.#deps;
    return userOf(state(), path, (issue) => workspaces.placeOf(issue));
  }

  #requireIdle(path: string): void {
    // An attempt without a directory may be about to get this one, because the root may change
    // before that.
    const state = this.#deps.state();
    const user = userOf(state, path) ?? this.#userOf(path);
    if (user === null) return;
    throw inUse(basename(path), user.identifier, attachedAt(state, path) !== null);
  }
}
