// The way of finished work back to review: what symphony needs of a site with pull requests.

import type { Config } from "../config/config.ts";
import type { DeliveryConfig } from "../config/delivery.ts";
import type { RepositoryConfig } from "../config/git.ts";
import type { Lookup, SignedPost, SignedWebhook } from "../tracker/tracker.ts";

/** A site with pull requests, for one repository. Every method rejects with a ForgeError, and with nothing else. */
export interface Forge {
  /** The kind, such as `github`. */
  readonly kind: string;
  /** Facts that are read at start and before a dry run. */
  look(): Promise<ForgeRepository>;
  /** The credential for a `git push` that starts now; null: the site needs none from here. */
  pushCredential(): Promise<{ readonly user: string; readonly password: string } | null>;
  /** The same for git that reads: it need not be new. */
  readCredential(): Promise<{ readonly user: string; readonly password: string } | null>;
  /**
   * Our pull request: the one whose head is this branch of this repository (not of a fork) and whose body holds the
   * marker. null: there is certainly none. The default branch is never looked up.
   */
  find(order: { readonly branch: string; readonly marker: string }): Promise<PullRequest | null>;
  /** Opens it once: if an earlier request had opened it although its answer was lost, that one is returned. */
  open(order: OpenOrder): Promise<PullRequest>;
  /** Sets what is given and leaves the rest; safe to repeat. */
  edit(number: number, change: PullRequestChange): Promise<PullRequest>;
  /** Everything about one pull request; `unchanged`: the same as the previous observation of this instance. */
  observe(number: number): Promise<Observation | "unchanged">;
  /** Posts once: a comment of ours that holds `marker` is returned instead. The marker is put before a body without it. */
  comment(number: number, order: CommentOrder): Promise<Posted>;
  /** The same below a remark on a line; to another remark the reply is a comment. `remark` is a `Remark.id`. */
  reply(number: number, order: CommentOrder & { readonly remark: string }): Promise<Posted>;
  /** Runs a failed or cancelled check again, once for each attempt. Refused if nothing can run it again. */
  rerun(number: number, check: Check): Promise<void>;
  /** Merges exactly `head`. A merge whose answer was lost is found and reported as merged. */
  merge(number: number, order: MergeOrder): Promise<Merged>;
  /** Whether this person may write to the repository, at most five minutes old; null: it cannot be determined now. */
  mayWrite(login: string): Promise<boolean | null>;
  /** The repository's id at the site, which stays through a rename; read once. */
  id(): Promise<string>;
  /** Ends the running requests. */
  close(): void;
}

export interface OpenOrder {
  readonly branch: string;
  readonly base: string;
  readonly title: string;
  readonly body: string;
  readonly draft: boolean;
}

export interface PullRequestChange {
  readonly title?: string;
  readonly body?: string;
  readonly draft?: boolean;
  readonly state?: "open" | "closed";
}

export interface CommentOrder {
  readonly body: string;
  readonly marker: string;
}

export interface Posted {
  /** In the form of `Remark.id`. */
  readonly id: string;
  readonly url: string;
}

export interface MergeOrder {
  /** The commit that was judged; with another head nothing is merged. */
  readonly head: string;
  readonly method: "merge" | "squash" | "rebase";
  /** First line of the commit's message; omitted: the site's default. */
  readonly title?: string;
}

/** `final`: the same order would be refused again whatever else happens, as when the head has moved. */
export type Merged =
  | { readonly outcome: "merged"; readonly sha: string }
  | { readonly outcome: "refused"; readonly reason: string; readonly final: boolean };

export interface ForgeRepository {
  readonly id: string;
  /** `owner/name` as it is now, also after a rename. */
  readonly name: string;
  /** The same by the address that is configured: another one after a rename or a transfer. */
  readonly configured: string;
  readonly defaultBranch: string;
  readonly archived: boolean;
  /** null: the site does not say. */
  readonly canPush: boolean | null;
  /** Who we are there; null: the credential belongs to no user. */
  readonly login: string | null;
  /** Whether pull requests can be drafts; null: only an attempt can tell. */
  readonly drafts: boolean | null;
}

export interface PullRequest {
  readonly number: number;
  readonly url: string;
  readonly state: "open" | "merged" | "closed";
  readonly draft: boolean;
  readonly title: string;
  readonly body: string;
  /** The head's branch. */
  readonly branch: string;
  /** The head's commit. */
  readonly head: string;
  /** The branch it is to be merged into. */
  readonly base: string;
  /** The commit on the base; null unless merged. */
  readonly mergeSha: string | null;
  /** Who closed or merged it; null: open, or not known. */
  readonly closedBy: string | null;
  /** Whether it merges without conflict. */
  readonly mergeable: "yes" | "no" | "unknown";
  /** The site's own word for it, to be shown. */
  readonly mergeState: string | null;
  /** null: the account is gone. */
  readonly author: string | null;
  /** ms since the epoch; sites count in seconds. */
  readonly updatedAt: number;
}

export interface Observation {
  /** When it was made, ms since the epoch. */
  readonly at: number;
  readonly pullRequest: PullRequest;
  /** Tip of the base branch; null: the branch is gone. */
  readonly baseHead: string | null;
  /** Comments, review bodies and line comments, the oldest first. */
  readonly remarks: readonly Remark[];
  /** Every submitted review whose author still exists, the oldest first. */
  readonly reviews: readonly Review[];
  /** The newest of each name and source on this head: one name may come from two events, and all of them count. */
  readonly checks: readonly Check[];
  /** Names that must succeed before a merge; null: cannot be determined. */
  readonly requiredChecks: readonly string[] | null;
  /** Names of failed checks that also fail on the tip of the base. */
  readonly baseRed: readonly string[];
}

/** Something that was written about a pull request. Its text is untrusted. */
export interface Remark {
  /** `issue_comment:12`, `review:12` or `review_comment:12`. */
  readonly id: string;
  readonly kind: "comment" | "review" | "line";
  /** null: the account is gone; such an author has no rights. */
  readonly author: string | null;
  readonly bot: boolean;
  /** Written by the account that symphony uses. */
  readonly own: boolean;
  readonly body: string;
  readonly path: string | null;
  /** null also for a line that is gone. */
  readonly line: number | null;
  /** Equal for the line comments of one thread. */
  readonly thread: string | null;
  /** null: not a line comment, or not known. */
  readonly resolved: boolean | null;
  /** The line it is about has changed since. */
  readonly outdated: boolean;
  /** Of a review; null for one that was dismissed. */
  readonly verdict: "approved" | "changes_requested" | "commented" | null;
  /** ms since the epoch. */
  readonly at: number;
  /** ms since the epoch. A review's text can be edited without a change here: compare `body` too. */
  readonly editedAt: number;
  readonly url: string;
}

export interface Review {
  readonly author: string;
  /** Written by the account that symphony uses. */
  readonly own: boolean;
  readonly verdict: "approved" | "changes_requested" | "commented" | "dismissed";
  /** The commit it was made for; empty: no longer known. */
  readonly head: string;
  /** ms since the epoch. */
  readonly at: number;
}

export interface Check {
  readonly name: string;
  readonly state:
    | "waiting"
    | "running"
    | "success"
    | "failure"
    | "cancelled"
    | "skipped"
    /** Somebody has to allow it or to act on it. */
    | "action_required";
  readonly head: string;
  /** 1 for the first. */
  readonly attempt: number;
  /** For `rerun`, and meaningless otherwise; null: it cannot be run again. */
  readonly runId: string | null;
  readonly url: string | null;
  /** Of a failed one: its annotations and the end of its log, at most 4 KB, untrusted; null: none. */
  readonly excerpt: string | null;
}

/** What a site posts: only a hint to read pull requests at once. */
export interface ForgeWebhook extends SignedWebhook {
  /** Looked up at each call; null when there is none. */
  secret(settings: DeliveryConfig["github"], lookup: Lookup): string | null;
  /** The signature of the raw body; null: the delivery has none, or another. */
  verify(post: SignedPost, secret: string): string | null;
  /** Throws `invalid_request` for what the site does not send. */
  read(post: SignedPost): ForgeAnnouncement;
  /** The configured repositories whose address is this one at the site. Throws `invalid_config`. */
  rulesOf(
    repository: string,
    config: Pick<Config, "delivery" | "git">,
    lookup: Lookup,
  ): readonly RepositoryConfig[];
  /** What the site would send for a changed pull request, by its address, or a changed issue, by its id for the site's tracker; null: about none. */
  sample(about: { readonly pullRequest: string | null } | { readonly issueId: string } | null): {
    readonly headers: Readonly<Record<string, string>>;
    readonly body: unknown;
  };
}

export interface ForgeAnnouncement {
  /** The same when the site sends it again. */
  readonly id: string;
  readonly type: string;
  readonly action: string | null;
  /** An issue that may have changed, by its id for the site's own tracker, and a new comment on it; null: none. */
  readonly issue: { readonly id: string; readonly commentId: string | null } | null;
  /** The issue whose item of a project may have changed, and the project, by ids that the tracker resolves; null: none. */
  readonly itemOf: { readonly node: string; readonly project: string | null } | null;
  /** What may have changed; null: nothing that symphony reads. */
  readonly about: {
    readonly repository: string;
    /** As `Forge.id`. */
    readonly repositoryId: string | null;
    /** Of the pull request; null: any of the repository. */
    readonly number: number | null;
  } | null;
}

/** Who of the authors and reviewers may write; each is asked once. */
export async function rightsOf(
  { remarks, reviews }: Observation,
  forge: Forge,
): Promise<ReadonlyMap<string, boolean | null>> {
  const people = new Set([
    ...remarks.flatMap(({ author, own, bot }) => (author && !own && !bot ? [author] : [])),
    ...reviews.flatMap(({ author, own }) => (own ? [] : [author])),
  ]);
  const rights = new Map<string, boolean | null>();
  for (const login of people) {
    rights.set(login.toLowerCase(), await forge.mayWrite(login).catch(() => null));
  }
  return rights;
}
