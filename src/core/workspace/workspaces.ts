import { mkdir, realpath, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { HooksConfig } from "../config/config.ts";
import type { Logger } from "../logger.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { deleteTree } from "./delete-tree.ts";
import { type HookName, runHook } from "./hooks.ts";
import { workspaceKey } from "./key.ts";
import { fault, findAt, openRoot, pendingMarker, requirePlace } from "./place.ts";

/** One issue's directory. */
export interface Workspace {
  readonly key: string;
  /** Absolute and canonical: record it, since the root may change later. */
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

export interface FreshWorkspace {
  readonly issue: Issue;
  readonly path: string;
  readonly signal: AbortSignal;
  /** Told how it goes, in lines for people. */
  tell(line: string): void;
}

export interface WorkspacesOptions {
  /** Asked at each call, so that a reload applies to what comes next. */
  settings(): { readonly root: string; readonly hooks: HooksConfig };
  /** What hooks inherit: an allow-list without secrets. */
  env(): Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of every hook that fails by itself, also where nobody else is. */
  onHookFailed(failure: HookFailure): void;
  /** Puts into a new, empty directory what it begins with, before `after_create`; nothing, if left out. */
  fill?(fresh: FreshWorkspace): Promise<void>;
  /** Ends every hook at once, for a host that must leave; never, if left out. */
  readonly signal?: AbortSignal;
}

/** The issues' directories. Every path is checked anew before it is made, run in or deleted. */
export interface Workspaces {
  /**
   * Finds or makes the issue's directory. A fresh one whose clone or `after_create` fails is deleted again. Rejects
   * with `invalid_issue_identifier`, `workspace_…`, `clone_…`, `git_not_found`, `hook_failed` or `hook_timeout`.
   */
  ensure(issue: Issue, signal: AbortSignal, tell?: (line: string) => void): Promise<Workspace>;
  /** Rejects with `hook_failed` or `hook_timeout`: the attempt must not go on. */
  beforeRun(workspace: Workspace, issue: IssueName, signal: AbortSignal): Promise<void>;
  /** Never rejects; without its directory it does nothing. */
  afterRun(workspace: Workspace, issue: IssueName): Promise<void>;
  /**
   * Deletes the recorded path or, without one, the issue's place in today's root. Resolves to false when there
   * is nothing. `before_remove` runs first and stops nothing. Rejects with `workspace_…`.
   */
  remove(target: RemovalTarget): Promise<boolean>;
  /** Where the issue's directory would be today; it need not exist. Throws `invalid_issue_identifier`. */
  pathOf(identifier: string): string;
  /** The canonical path to start an agent in. Rejects with `invalid_workspace_cwd`. */
  requireCwd(path: string): Promise<string>;
}

export interface RemovalTarget {
  readonly path: string | null;
  readonly issue: IssueName | null;
}

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
    const found = await requirePlace(path, root);
    const isPending = (await findAt(pendingMarker(path))) !== "nothing";
    if (found === "directory" && !isPending) return { key, path, createdNow: false };
    if (found !== "nothing") this.#note("Replacing what is no finished workspace", path, issue);
    await makeFresh(path);
    try {
      const ends = AbortSignal.any([signal, this.#leaving]);
      await this.#options.fill?.({ issue, path, signal: ends, tell });
      await this.#hook("after_create", path, { issue, signal });
    } catch (error) {
      // Should this fail too, the marker stays and the next attempt starts afresh all the same.
      await deleteTree(path).catch(() => this.#note("Could not delete", path, issue));
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
      if ((await requirePlace(path, await this.#currentRoot())) !== "directory") return;
      await this.#hook("after_run", path, { issue, signal: this.#leaving });
    } catch (error) {
      this.#note(`after_run was left out or failed: ${messageOf(error)}`, path, issue);
    }
  }

  async remove({ path: recorded, issue }: RemovalTarget): Promise<boolean> {
    const root = await this.#currentRoot();
    const path = recorded ?? (issue && join(root, workspaceKey(issue.identifier)));
    if (path === null) return false;
    const found = await requirePlace(path, root);
    if (found === "nothing") return false;
    if (found === "directory") {
      await this.#hook("before_remove", path, { issue, signal: this.#leaving }).catch(
        (error: unknown) => this.#note(`before_remove failed: ${messageOf(error)}`, path, issue),
      );
      // The hook had the time to put something else there.
      if ((await requirePlace(path, root)) === "nothing") return true;
    }
    await deleteMarked(path);
    return true;
  }

  pathOf(identifier: string): string {
    return join(resolve(this.#options.settings().root), workspaceKey(identifier));
  }

  async requireCwd(path: string): Promise<string> {
    const found = await requirePlace(path, await this.#currentRoot()).catch((cause: unknown) => {
      throw invalidCwd(path, cause);
    });
    if (found !== "directory") throw invalidCwd(path, null);
    return path;
  }

  /** Today's root as its real path; as it is written where there is none yet. */
  async #currentRoot(): Promise<string> {
    const root = resolve(this.#options.settings().root);
    return realpath(root).catch(() => root);
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

/** Leaves an empty directory, marked as not to be relied on yet. */
async function makeFresh(path: string): Promise<void> {
  try {
    await writeFile(pendingMarker(path), "");
    await deleteTree(path);
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    throw fault(path, { what: `the workspace cannot be made: ${messageOf(cause)}`, cause });
  }
}

/** A crash on the way leaves the marker, so that nobody works on in half a workspace. */
async function deleteMarked(path: string): Promise<void> {
  const marker = pendingMarker(path);
  try {
    await mkdir(dirname(marker), { recursive: true, mode: 0o700 });
    await writeFile(marker, "");
    await deleteTree(path);
    await rm(marker, { force: true });
  } catch (cause) {
    throw fault(path, { what: `the workspace cannot be deleted: ${messageOf(cause)}`, cause });
  }
}

function scriptOf(hook: HookName, hooks: HooksConfig): string | null {
  switch (hook) {
    case "after_create":
      return hooks.afterCreate;
    case "before_run":
      return hooks.beforeRun;
    case "after_run":
      return hooks.afterRun;
    case "before_remove":
      return hooks.beforeRemove;
  }
}

function invalidCwd(path: string, cause: unknown): SymphonyError {
  const why = cause === null ? "there is no such directory" : messageOf(cause);
  return new SymphonyError("invalid_workspace_cwd", `no agent may run in ${path}: ${why}`, {
    cause: cause ?? undefined,
    details: { path },
  });
}
