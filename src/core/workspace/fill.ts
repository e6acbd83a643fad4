import { randomUUID } from "node:crypto";
import { basename } from "node:path";
import type { Clock } from "../clock.ts";
import type { GitConfig, RepositoryConfig } from "../config/git.ts";
import type { Issue } from "../model/issue.ts";
import { cloneInto } from "../repository/clone.ts";
import type { Credential } from "../repository/credential.ts";
import { workspaceKey } from "../repository/key.ts";
import type { Loan, Mirrors } from "../repository/mirrors.ts";
import { nameable, repositoryFor } from "../repository/routing.ts";
import type { Prepared } from "./prepared.ts";
import type { RemovalTarget } from "./removal.ts";
import type { FreshWorkspace, Workspaces } from "./workspaces.ts";

/** The branches that symphony made, and for which issue. */
export interface BranchBook {
  /** Whether a branch of the repository was made for the issue. */
  isOurs(repository: string, branch: string, issueId: string): boolean;
  /** Branches of the repository that belong to other issues. */
  others(repository: string, issueId: string): readonly string[];
  /** The issue's workspace is on this branch from now on. */
  record(branch: Recorded): void;
}

interface Recorded {
  readonly issue: Issue;
  readonly repository: string;
  readonly branch: string;
  /** The branch that it was made from; null: the repository is empty. */
  readonly base: string | null;
  readonly path: string;
}

/** A clone under way, for people who watch. */
export interface CloneState {
  readonly issueIdentifier: string;
  readonly repository: string;
  /** Such as `receiving objects 43%`; null: it is over. */
  readonly state: string | null;
}

interface FillDeps {
  git(): GitConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly mirrors: Mirrors;
  readonly prepared: Pick<Prepared, "lay">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  /** Called with each credential before it is used, so that it is redacted. */
  learn(secret: string): void;
  /** Removes secrets from what names the branch. */
  redact(text: string): string;
  /** As `Remotes.siteCredential`; omitted: there is none. */
  siteCredential?(repository: RepositoryConfig): Promise<Credential | null>;
  /** What is known of branches, so that a clone takes none of another issue. */
  readonly branches: BranchBook;
  /** The cookie of hooks, by which the next start finds the processes that a crash left. */
  readonly runId: string;
  onClone?(clone: CloneState): void;
}

/** Fills a new workspace with the clone of its routing rule; without a rule it stays empty. */
export function fillWorkspace(deps: FillDeps): (fresh: FreshWorkspace) => Promise<Loan | null> {
  return async ({ issue, path, signal, tell }) => {
    const { repositories, timeoutMs } = deps.git();
    const repository = repositoryFor(issue, repositories);
    if (repository === null) {
      if (repositories.length > 0) tell(`no repository matches ${issue.identifier}`);
      return null;
    }
    const { env, clock, mirrors, branches } = deps;
    const lookup = (name: string) => {
      const value = deps.lookup(name);
      if (value !== undefined) deps.learn(value.trim());
      return value;
    };
    const runId = `${deps.runId}/clone-${randomUUID()}`;
    const limits = { timeoutMs, clock, signal };
    const { name } = repository;
    const progress = (state: string | null) =>
      deps.onClone?.({ issueIdentifier: issue.identifier, repository: name, state });
    let base: string | null = null;
    const loan = await cloneInto({
      issue: nameable(issue, deps.redact),
      ...{ repository, path, mirrors, env, lookup, runId, tell, ...limits },
      siteCredential: async () => (await deps.siteCredential?.(repository)) ?? null,
      isOurs: (branch) => branches.isOurs(name, branch, issue.id),
      otherBranches: branches.others(name, issue.id),
      onProgress: progress,
      onBranch(branch, from) {
        base = from;
        branches.record({ issue, repository: name, branch, base, path });
      },
    });
    if (repository.prepare === null || base === null) return loan;
    const mirror = mirrors.lent(loan);
    try {
      const commit = await mirror.commitOf(base);
      if (commit === null) return loan;
      const { address, prepare } = repository;
      const from = { mirror: mirror.path, commit, env, signal };
      const order = { name, address, prepare, from, tell };
      progress("preparing");
      return { ...loan, prepared: await deps.prepared.lay(path, loan.keep, order) };
    } catch (error) {
      await mirrors.release(loan).catch(() => {});
      throw error;
    } finally {
      progress(null);
    }
  };
}

/**
 * Wraps `inner`: a workspace that is being examined or removed is neither removed again nor given
 * to an attempt until that has ended. A removal counts from the moment of the call.
 */
export function keepApart(inner: Workspaces): Workspaces {
  const removals = new Map<string, Promise<unknown>>();
  /** Waits for a removal and ignores its error, which its own caller gets. */
  const over = async (key: string) => {
    await removals.get(key)?.catch(() => {});
  };
  const alone = async <T>(target: RemovalTarget, work: () => Promise<T>): Promise<T> => {
    const key = keyOf(target);
    // Several callers may wait here: the first one to continue makes the others wait again.
    while (removals.has(key)) await over(key);
    const working = work();
    removals.set(key, working);
    try {
      return await working;
    } finally {
      removals.delete(key);
    }
  };
  return {
    async ensure(issue, signal, tell) {
      const keys = [workspaceKey(issue.identifier), basename(inner.placeOf(issue))];
      const busy = () => keys.find((key) => removals.has(key));
      for (let key = busy(); key !== undefined; key = busy()) await over(key);
      return inner.ensure(issue, signal, tell);
    },
    remove: (target, operator) => alone(target, () => inner.remove(target, operator)),
    inspect: (target) => alone(target, () => inner.inspect(target)),
    restore: (path, fill) => alone({ path, issue: null }, () => inner.restore(path, fill)),
    finishRemovals: () => inner.finishRemovals(),
    beforeRun: (workspace, attempt, signal) => inner.beforeRun(workspace, attempt, signal),
    afterRun: (workspace, attempt, outcome) => inner.afterRun(workspace, attempt, outcome),
    root: () => inner.root(),
    placeOf: (issue) => inner.placeOf(issue),
    pathOf: (identifier) => inner.pathOf(identifier),
    requireCwd: (path) => inner.requireCwd(path),
    borrowedBy: (path) => inner.borrowedBy(path),
    openGit: (path) => inner.openGit(path),
  };
}

function keyOf({ path, issue }: RemovalTarget): string {
  if (path !== null) return basename(path);
  return issue === null ? "" : workspaceKey(issue.identifier);
}
