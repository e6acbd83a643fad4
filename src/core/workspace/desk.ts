import { lstat, opendir, readdir, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { RepositoryConfig } from "../config/git-section.ts";
import { SymphonyError } from "../model/errors.ts";
import type { IssueStatus } from "../model/status.ts";
import { isDirty, type Work, workInWords } from "../model/work.ts";
import { statusOf } from "../orchestrator/snapshot.ts";
import type { State } from "../orchestrator/state.ts";
import type { EventSink, History } from "../store/store.ts";
import { DiskUse } from "./disk-use.ts";
import { findWorkspace } from "./find-workspace.ts";
import { gitHead } from "./git.ts";
import { GitDesk } from "./git-desk.ts";
import type { Kept, KeptWorkspaces } from "./kept.ts";
import { isWorkspaceKey, workspaceKey } from "./key.ts";
import { type KnownIssue, ownersOf, userOf } from "./owner.ts";
import { findAt } from "./place.ts";
import type { WorkDiff } from "./work-diff.ts";
import type { Workspaces } from "./workspaces.ts";

interface DeskParts {
  root(): string;
  /** Those that new workspaces are cloned from; none, if left out. */
  repositories?(): readonly RepositoryConfig[];
  state(): State;
  readonly workspaces: Workspaces;
  readonly kept: KeptWorkspaces;
  readonly history: History;
  readonly bus: EventSink;
  readonly clock: Clock;
}

/** One directory of the root, as an operator sees it. */
export interface WorkspaceFacts {
  readonly key: string;
  readonly path: string;
  /** null where no issue is known for it. */
  readonly issueIdentifier: string | null;
  readonly status: IssueStatus | null;
  readonly inUse: boolean;
  /** null until it has been measured. */
  readonly diskBytes: number | null;
  readonly branch: string | null;
  /** Whether it holds work that is nowhere else; null where that is not known. */
  readonly dirty: boolean | null;
  /** What that is, as last looked at; null before. */
  readonly work: readonly Work[] | null;
  /** Its issue has ended, and it stays for what it holds. */
  readonly kept: Kept | null;
  readonly createdAt: number;
  readonly lastUsedAt: number;
}

export interface WorkspaceListing {
  readonly root: string;
  readonly workspaces: readonly WorkspaceFacts[];
  /** Of all that have been measured. */
  readonly totalBytes: number;
  readonly total: number;
}

const atOnce = 16;
/** So long a list waits for figures that nobody has measured yet. */
const patienceMs = 500;

/** The workspaces as a whole: what there is, what it takes, and how a person removes one. */
export class WorkspaceDesk {
  readonly #parts: DeskParts;
  readonly #disk: DiskUse;
  /** The repositories in the workspaces. */
  readonly git: GitDesk;
  /** Those that stay after their issue has ended. */
  readonly kept: KeptWorkspaces;

  constructor(parts: DeskParts) {
    this.#parts = parts;
    this.kept = parts.kept;
    this.#disk = new DiskUse(parts.clock);
    this.git = new GitDesk({
      clock: parts.clock,
      paths: async () => {
        const root = await this.#root();
        return (await keysIn(root)).map((key) => join(root, key));
      },
      ownerOf: (key) => this.#owner(key, ownersOf(parts.state())),
      history: parts.history,
      repositories: () => parts.repositories?.() ?? [],
    });
  }

  /** In the order of their keys. No tree is walked for it: disk use is as last measured. */
  async list(limit: number, offset: number): Promise<WorkspaceListing> {
    const root = await this.#root();
    const keys = await keysIn(root);
    const paths = keys.map((key) => join(root, key));
    const page = keys.slice(offset, offset + limit);
    this.#disk.follow(paths);
    this.git.follow(paths);
    await this.#forgetGone();
    const wait = [];
    if (page.some((key) => this.#disk.of(join(root, key)) === null)) wait.push(this.#disk);
    if (page.some((key) => this.git.remembered(join(root, key)) === null)) wait.push(this.git);
    await Promise.all(wait.map((one) => one.settledWithin(patienceMs)));
    const owners = ownersOf(this.#parts.state());
    const rows: (WorkspaceFacts | null)[] = [];
    for (let at = 0; at < page.length; at += atOnce) {
      const batch = page.slice(at, at + atOnce);
      rows.push(...(await Promise.all(batch.map((key) => this.#facts(root, key, owners)))));
    }
    return {
      root,
      workspaces: rows.filter((row) => row !== null),
      totalBytes: paths.reduce((sum, path) => sum + (this.#disk.of(path) ?? 0), 0),
      total: keys.length,
    };
  }

  /** Bytes of all workspaces as last measured; nothing is looked at for it. */
  get measuredBytes(): number {
    return this.#disk.totalBytes;
  }

  /** Has every workspace measured in the background where its figure is old. Resolves before that is over. */
  async measure(): Promise<void> {
    const root = await this.#root();
    this.#disk.follow((await keysIn(root)).map((key) => join(root, key)));
  }

  /**
   * Runs `before_remove` and deletes the workspace. Rejects with `workspace_not_found`, `workspace_in_use`, without
   * `force` with `workspace_dirty` for one that may hold work that is nowhere else, and with `workspace_…` of the disk.
   */
  async remove(key: string, { force }: { readonly force: boolean }): Promise<void> {
    const { workspaces, bus, state, kept } = this.#parts;
    const path = join(await this.#root(), key);
    if (!isWorkspaceKey(key) || (await findAt(path)) !== "directory") throw notFound(key);
    // In one turn with the call: from then on no attempt gets this directory.
    this.#requireIdle(key);
    const issue = this.#owner(key, ownersOf(state()));
    const removal = await workspaces.remove({ path, issue }, { force });
    if (removal.outcome === "nothing") throw notFound(key);
    if (removal.outcome === "kept") throw dirty(key, path, removal.work);
    kept.forget(path);
    bus.publish({
      type: "workspace.removed",
      issueId: issue?.id ?? null,
      issueIdentifier: issue?.identifier ?? null,
      message: `workspace ${key} removed by an operator`,
      data: { key, by: "operator" },
    });
  }

  /**
   * The work in the workspace of `issue`, compared with where it started, wherever the workspace is by now. Rejects with
   * `workspace_not_found` and `no_repository`.
   */
  async diffOf(issue: Pick<KnownIssue, "id" | "identifier">): Promise<WorkDiff> {
    const root = await this.#root();
    const recorded = this.#parts.history.latestAttempt(issue.id)?.workspacePath;
    const key = workspaceKey(issue.identifier);
    const places = [this.kept.of(issue.id)?.path, recorded, join(root, key)];
    const path = await findWorkspace(issue.id, places, root);
    if (path !== null) return this.git.diff(path);
    throw notFound(key);
  }

  /** The same of a workspace by its key, whoever's it is. */
  async diffIn(key: string): Promise<WorkDiff> {
    const path = join(await this.#root(), key);
    if (!isWorkspaceKey(key) || (await findAt(path)) !== "directory") throw notFound(key);
    return this.git.diff(path);
  }

  /** Ends measuring. */
  async close(): Promise<void> {
    await Promise.all([this.#disk.close(), this.git.close()]);
  }

  async #facts(
    root: string,
    key: string,
    owners: ReadonlyMap<string, KnownIssue>,
  ): Promise<WorkspaceFacts | null> {
    const path = join(root, key);
    const found = await lstat(path).catch(() => null);
    if (!found?.isDirectory()) return null;
    const [head, empty] = await Promise.all([gitHead(path), isEmpty(path)]);
    const { history, state } = this.#parts;
    const owner = this.#owner(key, owners);
    const latest = owner === null ? null : history.latestAttempt(owner.id);
    const work = this.git.remembered(path);
    return {
      key,
      path,
      issueIdentifier: owner?.identifier ?? null,
      status: owner?.issue ? statusOf(state(), owner.issue) : null,
      inUse: userOf(state(), key) !== null,
      diskBytes: this.#disk.of(path),
      branch: head?.branch ?? null,
      dirty: work === null ? (empty ? false : null) : isDirty(work),
      work,
      kept: this.kept.at(path),
      // Not every file system keeps the time of birth.
      createdAt: found.birthtimeMs || found.ctimeMs,
      lastUsedAt: latest?.endedAt ?? latest?.startedAt ?? found.mtimeMs,
    };
  }

  /** By memory, else by the history, for keys that are identifiers. */
  #owner(key: string, owners: ReadonlyMap<string, KnownIssue>): KnownIssue | null {
    const known = owners.get(key);
    if (known) return known;
    const { history } = this.#parts;
    const id = history.issueIdOf(key);
    const latest = id === null ? null : history.latestAttempt(id);
    if (latest?.workspaceKey !== key) return null;
    return { id: latest.issueId, identifier: latest.issueIdentifier, issue: null };
  }

  /** What a person deleted by hand is kept no more. */
  async #forgetGone(): Promise<void> {
    for (const { path } of this.kept.list()) {
      const found = await lstat(path).catch(() => null);
      if (found === null) this.kept.forget(path);
    }
  }

  #requireIdle(key: string): void {
    const user = userOf(this.#parts.state(), key);
    if (user === null) return;
    throw new SymphonyError("workspace_in_use", `an agent is at work in ${key}`, {
      hint: `symphony abort ${user.identifier}`,
    });
  }

  /** Today's root as its real path; as it is written where there is none yet. */
  async #root(): Promise<string> {
    const root = resolve(this.#parts.root());
    return realpath(root).catch(() => root);
  }
}

/** Links and files are no workspaces, whatever their names are. */
async function keysIn(root: string): Promise<string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && isWorkspaceKey(entry.name))
    .map(({ name }) => name)
    .sort();
}

/** One that cannot be read counts as full. */
async function isEmpty(path: string): Promise<boolean> {
  try {
    await using dir = await opendir(path);
    return (await dir.read()) === null;
  } catch {
    return false;
  }
}

function notFound(key: string): SymphonyError {
  return new SymphonyError("workspace_not_found", `there is no workspace ${key}`, {
    hint: "symphony workspaces list",
  });
}

function dirty(key: string, path: string, work: readonly Work[]): SymphonyError {
  const message = `${key} holds work that is nowhere else and would be lost: ${workInWords(work)}`;
  return new SymphonyError("workspace_dirty", message, {
    details: { path, holds: work },
    hint: `symphony workspaces remove ${key} --force`,
  });
}
