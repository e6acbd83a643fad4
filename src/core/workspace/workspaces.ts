// The directory of an issue: created, examined, kept, removed.

import { realpathSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { HooksConfig } from "../config/config.ts";
import type { Logger } from "../events/log.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { type Work, workInWords } from "../model/work.ts";
import { workspaceKey } from "../repository/key.ts";
import type { Loan, Mirrors } from "../repository/mirrors.ts";
import { readBaseline, writeBaseline } from "./baseline.ts";
import { deleteWhole, makeFresh, momentIn, setAside } from "./directory.ts";
import { type HookName, runHook, scriptOf } from "./hooks.ts";
import {
  beingMade,
  deleteTree,
  type Found,
  fault,
  markerOf,
  openRoot,
  pendingMarker,
  removedDir,
  requireInside,
} from "./place.ts";
import { baselineOf, workIn, workInFile } from "./work.ts";

/** One issue's directory. */
export interface Workspace {
  readonly key: string;
  /** Absolute and canonical: record it, because the root may change later. */
  readonly path: string;
  /** True when this call made the directory; only then did `after_create` run. */
  readonly createdNow: boolean;
}

export type IssueName = Pick<Issue, "id" | "identifier">;

export interface HookFailure {
  readonly hook: HookName;
  readonly issue: IssueName | null;
  readonly path: string;
  /** `hook_failed` or `hook_timeout`; `details.output` is the end of the output. */
  readonly error: SymphonyError;
}

/** Something that was in the way of a new workspace and holds work: it was moved, not deleted. */
export interface SetAside {
  /** The issue that gets a new workspace. */
  readonly issue: IssueName;
  /** The issue that it was made for; null if that is not known. */
  readonly owner: string | null;
  /** Its current path. */
  readonly path: string;
  readonly work: readonly Work[];
}

export interface FreshWorkspace {
  readonly issue: Issue;
  readonly path: string;
  readonly signal: AbortSignal;
  /** Called with progress, as lines for operators. */
  tell(line: string): void;
}

export interface WorkspacesOptions {
  /** Called each time, so that a reload applies from then on. */
  settings(): { readonly root: string; readonly hooks: HooksConfig };
  /** The environment of hooks: an allow-list without secrets. */
  env(): Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called for every hook that fails by itself, also if no caller gets the error. */
  onHookFailed(failure: HookFailure): void;
  onSetAside?(aside: SetAside): void;
  /** Whether an agent is running in the directory at `path`; by default never. */
  isAtWork?(path: string): boolean;
  /**
   * The id of the issue that the history records for the directory at `path`; null if not known,
   * which is the default.
   */
  recordedOwner?(path: string): string | null;
  /**
   * Called with a root before anything in it is made, moved or deleted. Rejects with
   * `workspace_in_use` if another server has it.
   */
  own?(root: string): Promise<void>;
  /**
   * Fills a new, empty directory before `after_create`, and resolves with what it borrows; by
   * default it stays empty.
   */
  fill?(fresh: FreshWorkspace): Promise<Loan | null>;
  /** The mirrors of which `fill` borrows; needed only with it. */
  readonly mirrors?: Pick<Mirrors, "repair" | "release">;
  /** Ends every hook at once when the server must stop; by default never. */
  readonly signal?: AbortSignal;
}

/** The issues' directories. Every path is checked again before it is made, used or deleted. */
export interface Workspaces {
  /**
   * Finds or makes the issue's directory. A directory that was made for another issue is moved out
   * of the way. A new one whose clone or `after_create` fails is deleted again. Rejects with
   * `invalid_issue_identifier`, `workspace_…`, `clone_…`, `git_not_found`, `hook_failed` or
   * `hook_timeout`.
   */
  ensure(issue: Issue, signal: AbortSignal, tell?: (line: string) => void): Promise<Workspace>;
  /** Rejects with `hook_failed` or `hook_timeout`: the attempt must not continue. */
  beforeRun(workspace: Workspace, issue: IssueName, signal: AbortSignal): Promise<void>;
  /** Never rejects; does nothing if the directory is gone. */
  afterRun(workspace: Workspace, issue: IssueName): Promise<void>;
  /**
   * Deletes the recorded path or, without one, the issue's place in the current root, unless it
   * holds work that is nowhere else or that cannot be determined: only an operator's `force`
   * overrides that. `before_remove` runs once the removal is decided, and cannot prevent it; what
   * the hook leaves behind is examined again. Rejects with `workspace_…`.
   */
  remove(target: RemovalTarget, operator?: { readonly force: boolean }): Promise<Removal>;
  /** As `remove`, but deletes nothing: resolves with `kept` and what it holds, or `nothing`. */
  inspect(target: RemovalTarget): Promise<Removal>;
  /** Completes the deletions that a crash interrupted. Rejects only with `workspace_in_use`. */
  finishRemovals(): Promise<void>;
  /** The current directory of workspaces as its real path; if missing, as configured. */
  root(): string;
  /** The current path of an issue's directory; it may not exist. Throws `invalid_issue_identifier`. */
  pathOf(identifier: string): string;
  /** The canonical path to start an agent in. Rejects with `invalid_workspace_cwd`. */
  requireCwd(path: string): Promise<string>;
  /**
   * The directories elsewhere that git reads when it runs in the workspace, after a repair if these
   * have moved. Rejects with `workspace_error` if one is missing.
   */
  borrowedBy(path: string): Promise<readonly string[]>;
}

export interface RemovalTarget {
  readonly path: string | null;
  /** The issue of the workspace: one that was made for another issue is not changed. */
  readonly issue: IssueName | null;
}

export type Removal =
  | { readonly outcome: "nothing" }
  | { readonly outcome: "removed"; readonly path: string }
  | { readonly outcome: "kept"; readonly path: string; readonly work: readonly Work[] };

const nothing: Removal = { outcome: "nothing" };
const changedMeanwhile: readonly Work[] = [
  { kind: "unknown", reason: "it changed while it was examined" },
];

export function createWorkspaces(options: WorkspacesOptions): Workspaces {
  return new DirectoryWorkspaces(options);
}

class DirectoryWorkspaces implements Workspaces {
  readonly #options: WorkspacesOptions;
  readonly #leaving: AbortSignal;

  constructor(options: WorkspacesOptions) {
    this.#options = options;
    this.#leaving = options.signal ?? new AbortController().signal;
  }

  async ensure(
    issue: Issue,
    signal: AbortSignal,
    tell: (line: string) => void = () => {},
  ): Promise<Workspace> {
    const key = workspaceKey(issue.identifier);
    const root = await openRoot(this.#options.settings().root);
    const path = join(root, key);
    await this.#options.own?.(root);
    const found = await requireInside(path, root);
    if (found === "directory" && (await this.#isFinished(path, issue.id))) {
      await this.borrowedBy(path);
      return { key, path, createdNow: false };
    }
    if (found !== "nothing") await this.#moveAside(path, found, issue);
    const earlier = await this.#loanOf(path);
    await makeFresh(path);
    await this.#release(earlier, path);
    let loan: Loan | null = null;
    try {
      const ends = AbortSignal.any([signal, this.#leaving]);
      loan = (await this.#options.fill?.({ issue, path, signal: ends, tell })) ?? null;
      await this.#hook("after_create", path, { issue, signal });
      const baseline = await baselineOf(path, { issueId: issue.id, loan }, ends);
      ends.throwIfAborted();
      await writeBaseline(path, baseline);
    } catch (error) {
      // If this fails too, the marker stays and the next attempt still starts from an empty
      // directory.
      await deleteTree(path).catch(() => this.#note("Could not delete", path, issue));
      await this.#release(loan, path);
      throw error;
    }
    await rm(pendingMarker(path), { force: true });
    return { key, path, createdNow: true };
  }

  async beforeRun(workspace: Workspace, issue: IssueName, signal: AbortSignal): Promise<void> {
    await this.requireCwd(workspace.path);
    await this.#hook("before_run", workspace.path, { issue, signal });
  }

  async afterRun({ path }: Workspace, issue: IssueName): Promise<void> {
    try {
      if ((await requireInside(path, this.root())) !== "directory") return;
      await this.#hook("after_run", path, { issue, signal: this.#leaving });
    } catch (error) {
      this.#note(`after_run was skipped or failed: ${messageOf(error)}`, path, issue);
    }
  }

  async remove(target: RemovalTarget, operator?: { readonly force: boolean }): Promise<Removal> {
    const place = await this.#placeOf(target, operator !== undefined);
    if (place === null) return nothing;
    const { path, root, found } = place;
    const { issue } = target;
    await this.#options.own?.(dirname(path));
    const force = operator?.force === true;
    let examinedAt: number | null = null;
    const work = force ? [] : await this.#workAt(path, found);
    if (work.length > 0) return { outcome: "kept", path, work };
    if (found === "directory") {
      await this.#hook("before_remove", path, { issue, signal: this.#leaving }).catch(
        (error: unknown) => this.#note(`before_remove failed: ${messageOf(error)}`, path, issue),
      );
      // The hook, or another process that may write here, may have added something.
      const now = await requireInside(path, root);
      if (!force) examinedAt = await momentIn(dirname(path));
      const late = force || now === "nothing" ? [] : await this.#workAt(path, now);
      if (late.length > 0) return { outcome: "kept", path, work: late };
    }
    const loan = await this.#loanOf(path);
    const isDeleted = await deleteWhole(path, examinedAt);
    if (isDeleted) await this.#release(loan, path);
    if (isDeleted) return { outcome: "removed", path };
    return { outcome: "kept", path, work: changedMeanwhile };
  }

  async inspect(target: RemovalTarget): Promise<Removal> {
    const place = await this.#placeOf(target, false);
    if (place === null) return nothing;
    const work = await this.#workAt(place.path, place.found);
    return work.length === 0 ? nothing : { outcome: "kept", path: place.path, work };
  }

  async finishRemovals(): Promise<void> {
    const root = this.root();
    const dir = removedDir(root);
    const names = await readdir(dir).catch(() => []);
    if (names.length > 0) await this.#options.own?.(root);
    for (const name of names) {
      const path = join(dir, name);
      await deleteTree(path).catch(() => this.#note("Could not delete", path, null));
    }
  }

  root(): string {
    const root = resolve(this.#options.settings().root);
    try {
      return realpathSync(root);
    } catch {
      return root;
    }
  }

  pathOf(identifier: string): string {
    return join(this.root(), workspaceKey(identifier));
  }

  async requireCwd(path: string): Promise<string> {
    const found = await requireInside(path, this.root()).catch((cause: unknown) => {
      throw invalidCwd(path, cause);
    });
    if (found !== "directory") throw invalidCwd(path, null);
    return path;
  }

  async borrowedBy(path: string): Promise<readonly string[]> {
    const loan = await this.#loanOf(path);
    const { mirrors } = this.#options;
    return loan === null || mirrors === undefined ? [] : [await mirrors.repair(path, loan)];
  }

  async #loanOf(path: string): Promise<Loan | null> {
    return (await readBaseline(path))?.loan ?? null;
  }

  /** What stays kept after a failure only uses space. */
  async #release(loan: Loan | null, path: string): Promise<void> {
    if (loan === null) return;
    await this.#options.mirrors
      ?.release(loan)
      .catch(() => this.#note("Could not release what it borrowed", path, null));
  }

  /** The place of the target; null if nothing is there, or if it was made for another issue. */
  async #placeOf({ path: recorded, issue }: RemovalTarget, isByOperator: boolean) {
    const root = this.root();
    const path = recorded ?? (issue && join(root, workspaceKey(issue.identifier)));
    if (path === null) return null;
    const found = await requireInside(path, root);
    if (found === "nothing") return null;
    // In the current root an operator names the directory itself. Elsewhere the issue must match:
    // another project may use the root now.
    if (issue !== null && !(isByOperator && dirname(path) === root)) {
      const baseline = await readBaseline(path);
      if (baseline !== null && baseline.issueId !== issue.id) return null;
    }
    return { path, root, found };
  }

  /** The work that would be lost with it. Rejects when the server stops before that is known. */
  async #workAt(path: string, found: Found): Promise<readonly Work[]> {
    if (found !== "directory") return workInFile(path);
    // No agent has used it yet.
    const isHalfMade = (await markerOf(path)) === beingMade && (await readBaseline(path)) === null;
    const work = isHalfMade ? [] : await workIn(path, this.#leaving);
    if (!this.#leaving.aborted) return work;
    throw fault(path, { what: "the workspace is kept: the server stopped before it was examined" });
  }

  /** Makes room for a new workspace: moves a directory that may hold work, replaces any other. */
  async #moveAside(path: string, found: Found, issue: IssueName): Promise<void> {
    const recorded = this.#options.recordedOwner?.(path) ?? null;
    const owner = (await readBaseline(path))?.issueId ?? recorded;
    if (this.#options.isAtWork?.(path)) {
      throw new SymphonyError(
        "workspace_in_use",
        `an agent of another issue is running in ${path}`,
      );
    }
    const work = await this.#workAt(path, found);
    if (work.length === 0) {
      const isForeign = owner !== null && owner !== issue.id;
      const what = isForeign
        ? "another issue's workspace without work"
        : "something that is not a finished workspace";
      this.#note(`Replacing ${what}`, path, issue);
      return;
    }
    const to = await setAside(path, found);
    this.#note(`Set aside what was in the way: it holds ${workInWords(work)}`, to, issue);
    this.#options.onSetAside?.({ issue, owner, path: to, work });
  }

  /** Whether an agent may have worked in it for this issue: then it is reused. */
  async #isFinished(path: string, issueId: string): Promise<boolean> {
    const marker = await markerOf(path);
    const baseline = await readBaseline(path);
    if (baseline === null) {
      // From an earlier version, or not readable: the history may know its issue.
      return marker === null && (this.#options.recordedOwner?.(path) ?? issueId) === issueId;
    }
    if (baseline.issueId !== issueId) return false;
    // The baseline is written last, so a marker next to it is a leftover.
    if (marker !== null) await rm(pendingMarker(path), { force: true });
    return true;
  }

  async #hook(
    hook: HookName,
    path: string,
    { issue, signal }: { issue: IssueName | null; signal: AbortSignal },
  ): Promise<void> {
    const { hooks } = this.#options.settings();
    const script = scriptOf(hook, hooks);
    if (script === null) return;
    const { clock, env, onHookFailed } = this.#options;
    const ends = AbortSignal.any([signal, this.#leaving]);
    const rest = { issue, env: env(), timeoutMs: hooks.timeoutMs, clock, signal: ends };
    try {
      await runHook({ hook, script, cwd: path, ...rest });
    } catch (error) {
      const isFailure = error instanceof SymphonyError && !ends.aborted;
      if (isFailure) onHookFailed({ hook, issue, path, error });
      throw error;
    }
  }

  #note(message: string, path: string, issue: IssueName | null): void {
    const name = issue && { issue_id: issue.id, issue_identifier: issue.identifier };
    this.#options.log.warn(message, { ...name, workspace: path });
  }
}

function invalidCwd(path: string, cause: unknown): SymphonyError {
  const why = cause === null ? "there is no such directory" : messageOf(cause);
  return new SymphonyError("invalid_workspace_cwd", `no agent may run in ${path}: ${why}`, {
    cause: cause ?? undefined,
    details: { path },
  });
}
