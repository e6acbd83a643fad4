import { basename } from "node:path";
import type { Clock } from "../clock.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { SymphonyError } from "../model/errors.ts";
import { isDirty, type Work } from "../model/work.ts";
import { withoutCredentials } from "../repository/checkout.ts";
import { branchFor, nameable, type Routed, repositoryFor } from "../repository/routing.ts";
import { type GitSurvey, survey } from "../repository/survey.ts";
import type { History } from "../store/store.ts";
import { diffOf, diffSince, firstHeadOf, type WorkDiff } from "./diff.ts";
import { Measured } from "./measured.ts";
import type { KnownIssue } from "./owner.ts";
import { beyondPushed, workIn } from "./work.ts";

interface RepositoriesDeps {
  readonly clock: Clock;
  readonly history: Pick<History, "attemptsOf">;
  /** All workspaces. */
  paths(): Promise<readonly string[]>;
  ownerOf(path: string): KnownIssue | null;
  /** The commit that the remote has of the issue's branch, as the remote itself said; null: none. */
  pushedOf(issueId: string): string | null;
  /** The repositories that new workspaces are cloned from. */
  repositories(): readonly RepositoryConfig[];
  /** Removes secrets from what names a branch. */
  redact(text: string): string;
}

/** The state of a branch in one checkout. */
export interface GitBranch extends Pick<GitSurvey, "branch" | "head" | "ahead" | "behind"> {
  readonly path: string;
  readonly issueIdentifier: string | null;
  /** Whether it holds work that is nowhere else; null if that cannot be determined. */
  readonly dirty: boolean | null;
}

interface Checkout extends GitSurvey {
  readonly path: string;
  readonly work: readonly Work[];
}

export interface GitRepository extends Pick<GitSurvey, "defaultBranch" | "remotes"> {
  readonly name: string;
  readonly url: string | null;
  /** Its path on disk; null when several checkouts have their own copy. */
  readonly path: string | null;
  readonly branches: readonly GitBranch[];
}

export interface GitContext {
  /** First those of the configuration, in its order; they may be without a workspace. */
  readonly repositories: readonly GitRepository[];
  /** In the order in which they are tried. */
  readonly rules: readonly RepositoryConfig[];
  /** False while some workspace has not been examined yet. */
  readonly complete: boolean;
}

/** The result of the last examination of a workspace. */
interface Seen {
  /** null if there is no repository. */
  readonly survey: GitSurvey | null;
  readonly work: readonly Work[];
}

/** How long a request waits for workspaces that have not been examined yet. */
const maxWaitMs = 500;
const maxAttempts = 500;

/** The repositories in the workspaces. Examined in the background; their content is not trusted. */
export class Repositories {
  readonly #deps: RepositoriesDeps;
  readonly #seen: Measured<Seen>;
  readonly #leaving = new AbortController();
  #diff: Promise<unknown> = Promise.resolve();

  constructor(deps: RepositoriesDeps) {
    this.#deps = deps;
    this.#seen = new Measured(deps.clock, async (path, signal) => ({
      survey: await survey(path, this.#firstHead(path), signal),
      work: await workIn(path, signal),
    }));
  }

  /** Examines those of `paths` that are due. Returns at once. */
  follow(paths: readonly string[]): void {
    this.#seen.follow(paths);
  }

  /** Resolves when every workspace has been examined, or after `ms`. */
  settledWithin(ms: number): Promise<void> {
    return this.#seen.settledWithin(ms);
  }

  /** The work in the workspace that is nowhere else, as last examined; null before that. */
  remembered(path: string): readonly Work[] | null {
    const seen = this.#seen.of(path);
    return seen === null ? null : this.#workOf(path, seen);
  }

  /** What was pushed after the examination counts too. */
  #workOf(path: string, { survey: at, work }: Seen): readonly Work[] {
    const owner = this.#deps.ownerOf(path);
    return owner === null ? work : beyondPushed(work, at, this.#deps.pushedOf(owner.id));
  }

  /** The repositories by name, as last examined: git is not run. */
  async context(): Promise<GitContext> {
    const paths = await this.#deps.paths();
    this.#seen.follow(paths);
    if (paths.some((path) => !this.#seen.has(path))) {
      await this.#seen.settledWithin(maxWaitMs);
    }
    const groups = new Map<string, Checkout[]>();
    for (const path of paths) {
      const found = this.#seen.of(path);
      if (!found?.survey) continue;
      const key = urlOf(found.survey) ?? found.survey.store;
      const checkout = { ...found.survey, path, work: this.#workOf(path, found) };
      groups.set(key, [...(groups.get(key) ?? []), checkout]);
    }
    const rules = this.#deps.repositories();
    const configured = rules.map((rule) => {
      const url = urlOfRule(rule);
      const group = url === null ? undefined : groups.get(url);
      if (url !== null) groups.delete(url);
      return group ? { ...this.#repository(group), name: rule.name } : awaited(rule, url);
    });
    const others = [...groups.values()].map((group) => this.#repository(group));
    return {
      repositories: [...configured, ...others],
      rules,
      complete: paths.every((path) => this.#seen.has(path)),
    };
  }

  /** A new workspace's repository, and its branch as far as the base is known; null: none. */
  routeOf(issue: Routed): { readonly repository: string; readonly branch: string } | null {
    const rule = repositoryFor(issue, this.#deps.repositories());
    if (rule === null) return null;
    return {
      repository: rule.name,
      branch: branchFor(rule, nameable(issue, this.#deps.redact), rule.baseBranch),
    };
  }

  /**
   * The work in the workspace at `path` compared with its base, one diff at a time. Rejects with
   * `no_repository`.
   */
  diff(path: string): Promise<WorkDiff> {
    return this.#inTurn((signal) => diffOf(path, this.#firstHead(path), signal));
  }

  /** As `diff`, compared with the files of the commit `since`. */
  diffSince(path: string, since: string): Promise<WorkDiff> {
    return this.#inTurn((signal) => diffSince(path, since, signal));
  }

  #inTurn(read: (signal: AbortSignal) => Promise<WorkDiff>): Promise<WorkDiff> {
    const next = this.#diff.then(() => read(this.#leaving.signal));
    this.#diff = next.catch(() => {});
    return next;
  }

  /** Cancels the examinations. */
  async close(): Promise<void> {
    this.#leaving.abort();
    await this.#seen.close();
    await this.#diff;
  }

  #repository(group: readonly Checkout[]): GitRepository {
    const [found] = group;
    if (found === undefined)
      throw new SymphonyError("internal_error", "a repository without a checkout");
    const url = urlOf(found);
    const stores = new Set(group.map(({ store }) => store));
    const place = found.store.endsWith("/.git") ? found.store.slice(0, -5) : found.store;
    return {
      name: basename(url ?? found.path).replace(/\.git$/, "") || found.path,
      url,
      defaultBranch: found.defaultBranch,
      path: stores.size === 1 ? place : null,
      remotes: found.remotes,
      branches: group.map(({ branch, head, ahead, behind, path, work }) => ({
        branch,
        head,
        ahead,
        behind,
        path,
        issueIdentifier: this.#deps.ownerOf(path)?.identifier ?? null,
        dirty: isDirty(work),
      })),
    };
  }

  /** The commit that the first attempt found, used if no remote tells what the work is based on. */
  #firstHead(path: string): string | null {
    const owner = this.#deps.ownerOf(path);
    if (owner === null) return null;
    const { attempts } = this.#deps.history.attemptsOf(owner.id, maxAttempts, 0);
    return firstHeadOf(attempts, path);
  }
}

function urlOfRule({ address }: RepositoryConfig): string | null {
  return withoutCredentials(address.address);
}

/** A configured repository that no workspace contains yet. */
function awaited({ name, baseBranch }: RepositoryConfig, url: string | null): GitRepository {
  const remotes = [{ name: "origin", url }];
  return { name, url, defaultBranch: baseBranch, path: null, remotes, branches: [] };
}

function urlOf({ remotes }: GitSurvey): string | null {
  return (remotes.find(({ name }) => name === "origin") ?? remotes[0])?.url ?? null;
}
