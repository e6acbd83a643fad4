// The directory of an issue: created, examined, kept, removed.

import { realpathSync } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { HooksConfig } from "../config/config.ts";
import type { Logger } from "../events/log.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue, IssueName } from "../model/issue.ts";
import { type Work, workInWords } from "../model/work.ts";
import { workspaceKey } from "../repository/key.ts";
import type { Loan, Mirrors } from "../repository/mirrors.ts";
import { syncDirectory } from "../store/durable.ts";
import { dropBaseline, readBaseline, writeBaseline } from "./baseline.ts";
import { deleteTree } from "./deletion.ts";
import { makeFresh, setAside } from "./directory.ts";
import {
  type AwayRun,
  type HookAttempt,
  type HookName,
  type HookOutcome,
  type HookRun,
  runHook,
  scriptOf,
} from "./hooks.ts";
import {
  type Found,
  fault,
  markerOf,
  openGitMarker,
  openRoot,
  pendingMarker,
  requireInside,
  restoredMarker,
  stateDirOf,
} from "./place.ts";
import type { Prepared } from "./prepared.ts";
import { type Removal, type RemovalDeps, Removals, type RemovalTarget } from "./removal.ts";
import { baselineOf } from "./work.ts";

/** One issue's directory. */
export interface Workspace {
  readonly key: string;
  /** Absolute and canonical: record it, because the root may change later. */
  readonly path: string;
  /** True when this call made the directory; only then did `after_create` run. */
  readonly createdNow: boolean;
}

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

export interface WorkspacesOptions extends Pick<RemovalDeps, "copies" | "delivered" | "own"> {
  /** Called each time, so that a reload applies from then on. */
  settings(): { readonly root: string; readonly hooks: HooksConfig };
  /** The environment of hooks: an allow-list without secrets. */
  env(): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called for every hook that fails by itself, also if no caller gets the error. */
  onHookFailed(failure: HookFailure): void;
  onSetAside?(aside: SetAside): void;
  /** Whether an agent is running in the directory at `path`; by default never. */
  isAtWork?(path: string): boolean;
  /** The id of the issue that the history records for the directory at `path`; null, the default: it is not known. */
  recordedOwner?(path: string): string | null;
  /**
   * The directories that the history records for the attempts of an issue, the newest first, without
   * those that another issue has used since; by default none.
   */
  recordedPlaces?(issueId: string): readonly string[];
  /** Fills a new, empty directory before `after_create`, and resolves with what it borrows; by default it stays empty. */
  fill?(fresh: FreshWorkspace): Promise<Loan | null>;
  /** Whether `fill` has a repository for the issue: a workspace without one that is empty is then made anew; by default not. */
  hasRepository?(issue: Issue): boolean;
  /** The mirrors of which `fill` borrows; needed only with it. */
  readonly mirrors?: Pick<Mirrors, "dir" | "repair" | "repairSubmodules" | "release">;
  /** The prepared results that `fill` lays into a workspace; by default there are none. */
  readonly prepared?: Pick<Prepared, "pathsOf" | "release">;
  /** Runs a hook on the host that has the workspace, and what belongs to it there; null: it is on this machine alone. */
  away?(run: AwayRun): Promise<unknown> | null;
  /** Ends every hook at once when the server must stop; by default never. */
  readonly signal?: AbortSignal;
}

/** The issues' directories. Every path is checked again before it is made, used or deleted. */
export interface Workspaces {
  /**
   * Finds or makes the issue's directory, which stays the same when its identifier changes. A directory that was made for another issue is moved out
   * of the way. A new one whose clone or `after_create` fails is deleted again. Rejects with
   * `invalid_issue_identifier`, `workspace_…`, `clone_…`, `git_not_found`, `hook_failed` or
   * `hook_timeout`.
   */
  ensure(issue: Issue, signal: AbortSignal, tell?: (line: string) => void): Promise<Workspace>;
  /** Rejects with `hook_failed` or `hook_timeout`: the attempt must not continue. */
  beforeRun(workspace: Workspace, attempt: HookAttempt, signal: AbortSignal): Promise<void>;
  /** Never rejects; does nothing if the directory is gone. */
  afterRun(workspace: Workspace, attempt: HookAttempt, outcome: HookOutcome): Promise<void>;
  /**
   * Deletes the recorded path or, without one, the issue's place in the current root, unless it
   * holds work that is nowhere else or that cannot be determined: of such work a copy is made and
   * read back first, and only an operator's `force` does without. Without a copy it stays. `before_remove` runs once the removal is decided, and cannot prevent it; what
   * the hook leaves behind is examined again. Rejects with `workspace_…`.
   */
  remove(target: RemovalTarget, operator?: { readonly force: boolean }): Promise<Removal>;
  /** As `remove`, but deletes nothing: resolves with `kept` and what it holds, or `nothing`. */
  inspect(target: RemovalTarget): Promise<Removal>;
  /**
   * Lets `fill` make the directory at `path`, a place of a workspace where nothing may be. Only an
   * operator or an attempt of its issue removes it again. Rejects with `workspace_…`.
   */
  restore(path: string, fill: (path: string) => Promise<void>): Promise<void>;
  /** Completes the deletions that a crash interrupted. Rejects only with `workspace_in_use`. */
  finishRemovals(): Promise<void>;
  /** The current directory of workspaces as its real path; if missing, as configured. */
  root(): string;
  /**
   * The current path of the issue's directory, by its record, else by its identifier; it may not
   * exist. Throws `invalid_issue_identifier`.
   */
  placeOf(issue: IssueName): string;
  /** The path of a new directory for an issue with this identifier; it may not exist. Throws `invalid_issue_identifier`. */
  pathOf(identifier: string): string;
  /** The canonical path to start an agent in. Rejects with `invalid_workspace_cwd`. */
  requireCwd(path: string): Promise<string>;
  /**
   * The directories elsewhere that git reads when it runs in the workspace, after a repair if these
   * have moved. Rejects with `workspace_error` if one is missing.
   */
  borrowedBy(path: string): Promise<readonly string[]>;
  /**
   * Before an agent starts that may write the workspace's `.git`: from now on its refs are no proof that commits are
   * elsewhere. On disk when it resolves.
   */
  openGit(path: string): Promise<void>;
}

export function createWorkspaces(options: WorkspacesOptions): Workspaces {
  return new DirectoryWorkspaces(options);
}

class DirectoryWorkspaces implements Workspaces {
  readonly #options: WorkspacesOptions;
  readonly #leaving: AbortSignal;
  readonly #removals: Removals;

  constructor(options: WorkspacesOptions) {
    this.#options = options;
    this.#leaving = options.signal ?? new AbortController().signal;
    this.#removals = new Removals({
      ...options,
      leaving: this.#leaving,
      root: () => this.root(),
      release: async (loan) => {
        await options.prepared?.release(loan);
        await options.mirrors?.release(loan);
      },
      note: (message, path, issue) => this.#note(message, path, issue),
      beforeRemove: (path, issue) =>
        this.#hook("before_remove", path, { issue, signal: this.#leaving }).catch(
          (error: unknown) => this.#note(`before_remove failed: ${messageOf(error)}`, path, issue),
        ),
    });
  }

  async ensure(
    issue: Issue,
    signal: AbortSignal,
    tell: (line: string) => void = () => {},
  ): Promise<Workspace> {
    const root = await openRoot(this.#options.settings().root);
    const path = await this.#ownPlace(issue, root);
    const key = basename(path);
    await this.#options.own?.(root);
    const found = await requireInside(path, root);
    await rm(restoredMarker(path), { force: true });
    if (found === "directory" && (await this.#isFinished(path, issue))) {
      await this.borrowedBy(path);
      return { key, path, createdNow: false };
    }
    if (found !== "nothing") await this.#moveAside(path, found, issue);
    const earlier = await this.#loanOf(path);
    await makeFresh(path);
    await this.#removals.release(earlier, path);
    let loan: Loan | null = null;
    try {
      const ends = AbortSignal.any([signal, this.#leaving]);
      loan = (await this.#options.fill?.({ issue, path, signal: ends, tell })) ?? null;
      await this.#hook("after_create", path, { issue, signal });
      const mirrors = (loan && this.#options.mirrors?.dir) ?? null;
      const baseline = await baselineOf(path, { issueId: issue.id, loan, mirrors }, ends);
      ends.throwIfAborted();
      await writeBaseline(path, baseline);
    } catch (error) {
      // If this fails too, the marker stays and the next attempt still starts from an empty
      // directory.
      await deleteTree(path).catch(() => this.#note("Could not delete", path, issue));
      await this.#removals.release(loan, path);
      throw error;
    }
    await rm(pendingMarker(path), { force: true });
    return { key, path, createdNow: true };
  }

  async beforeRun({ path }: Workspace, attempt: HookAttempt, signal: AbortSignal): Promise<void> {
    await this.requireCwd(path);
    await this.#hook("before_run", path, { issue: attempt.issue, attempt, signal });
  }

  async afterRun({ path }: Workspace, attempt: HookAttempt, outcome: HookOutcome): Promise<void> {
    const { issue } = attempt;
    try {
      if ((await requireInside(path, this.root())) !== "directory") return;
      await this.#hook("after_run", path, { issue, attempt, outcome, signal: this.#leaving });
    } catch (error) {
      this.#note(`after_run was skipped or failed: ${messageOf(error)}`, path, issue);
    }
  }

  remove(target: RemovalTarget, operator?: { readonly force: boolean }): Promise<Removal> {
    return this.#removals.remove(target, operator);
  }

  inspect(target: RemovalTarget): Promise<Removal> {
    return this.#removals.inspect(target);
  }

  async restore(path: string, fill: (path: string) => Promise<void>): Promise<void> {
    const root = await openRoot(this.#options.settings().root);
    const found = await requireInside(path, root);
    await this.#options.own?.(dirname(path));
    if (found !== "nothing") throw fault(path, { what: "something is in the way" });
    await mkdir(stateDirOf(dirname(path)), { recursive: true, mode: 0o700 });
    await rm(pendingMarker(path), { force: true });
    await dropBaseline(path);
    await writeFile(restoredMarker(path), "");
    await fill(path);
  }

  finishRemovals(): Promise<void> {
    return this.#removals.finish();
  }

  root(): string {
    const root = resolve(this.#options.settings().root);
    try {
      return realpathSync(root);
    } catch {
      return root;
    }
  }

  placeOf({ id, identifier }: IssueName): string {
    const root = this.root();
    const recorded = this.#options.recordedPlaces?.(id) ?? [];
    return recorded.find((path) => dirname(path) === root) ?? join(root, workspaceKey(identifier));
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
    const { mirrors, prepared } = this.#options;
    if (loan === null || mirrors === undefined) return [];
    const own = [await mirrors.repair(path, loan), ...(await mirrors.repairSubmodules(path, loan))];
    return [...own, ...(prepared?.pathsOf(loan) ?? [])];
  }

  async openGit(path: string): Promise<void> {
    const marker = openGitMarker(path);
    await writeFile(marker, "", { flush: true });
    await syncDirectory(dirname(marker));
  }

  async #loanOf(path: string): Promise<Loan | null> {
    return (await readBaseline(path))?.loan ?? null;
  }

  /**
   * The place of the issue's workspace in `root`: the recorded one, unless the directory there was
   * made for another issue.
   */
  async #ownPlace(issue: IssueName, root: string): Promise<string> {
    const named = join(root, workspaceKey(issue.identifier));
    const place = this.placeOf(issue);
    if (place === named || dirname(place) !== root) return named;
    const owner = (await readBaseline(place))?.issueId ?? issue.id;
    return owner === issue.id ? place : named;
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
    const work = await this.#removals.workAt(path, found);
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
  async #isFinished(path: string, issue: Issue): Promise<boolean> {
    const marker = await markerOf(path);
    const baseline = await readBaseline(path);
    if (baseline === null) {
      // From an earlier version, or not readable: the history may know its issue.
      return marker === null && (this.#options.recordedOwner?.(path) ?? issue.id) === issue.id;
    }
    if (baseline.issueId !== issue.id) return false;
    // Made when there was no repository for it.
    const isBare = baseline.loan === null && this.#options.hasRepository?.(issue) === true;
    if (isBare && (await readdir(path)).length === 0) return false;
    // The baseline is written last, so a marker next to it is a leftover.
    if (marker !== null) await rm(pendingMarker(path), { force: true });
    return true;
  }

  async #hook(
    hook: HookName,
    path: string,
    { signal, ...subject }: Pick<HookRun, "issue" | "attempt" | "outcome" | "signal">,
  ): Promise<void> {
    const { hooks } = this.#options.settings();
    const script = scriptOf(hook, hooks);
    const { clock, env, onHookFailed } = this.#options;
    const ends = AbortSignal.any([signal, this.#leaving]);
    const rest = { ...subject, cwd: path, timeoutMs: hooks.timeoutMs, clock, signal: ends };
    try {
      const away = this.#options.away?.({ hook, script, ...rest }) ?? null;
      if (away !== null) await away;
      else if (script !== null) await runHook({ hook, script, ...rest, env: await env() });
    } catch (error) {
      const isFailure = error instanceof SymphonyError && !ends.aborted;
      if (isFailure) onHookFailed({ hook, issue: subject.issue, path, error });
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
