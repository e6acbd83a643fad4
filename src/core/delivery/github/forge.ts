// GitHub and GitHub Enterprise Server as a place where work is reviewed.

import type { Clock } from "../../clock.ts";
import { GithubAccount } from "../../github/account.ts";
import { GithubClient, type GithubClientOptions } from "../../github/client.ts";
import { ForgeError } from "../../model/forge-error.ts";
import type {
  CommentOrder,
  Forge,
  ForgeRepository,
  Merged,
  MergeOrder,
  Observation,
  OpenOrder,
  Posted,
  PullRequest,
  PullRequestChange,
} from "../forge.ts";
import { GithubChecks } from "./checks.ts";
import { commentsOf, digestOf, lineCommentsOf, observe } from "./observe.ts";
import {
  issue,
  type ListedPull,
  listedPull,
  merged,
  posted,
  pull,
  pullRequestOf,
  repository,
  type User,
} from "./shapes.ts";

/** The repository as it was read last. */
interface Facts extends ForgeRepository {
  readonly numericId: number;
  readonly owner: string;
}

const pulls = "/repos/{owner}/{repo}/pulls";
const onePull = `${pulls}/{number}`;
const rightsLastMs = 5 * 60_000;
const maxKnownPeople = 1_000;
const unseenMs = 1_000;

const toDraft = `mutation($id: ID!) {
  convertPullRequestToDraft(input: { pullRequestId: $id }) { clientMutationId }
}`;
const toReady = `mutation($id: ID!) {
  markPullRequestReadyForReview(input: { pullRequestId: $id }) { clientMutationId }
}`;

/** The Forge of one repository. */
export function githubForge(options: GithubClientOptions): Forge {
  return new GithubForge(options);
}

class GithubForge implements Forge {
  readonly kind = "github";
  readonly #client: GithubClient;
  readonly #account: GithubAccount;
  readonly #checks: GithubChecks;
  readonly #clock: Clock;
  readonly #observed = new Map<number, string>();
  readonly #rights = new Map<string, { readonly may: boolean; readonly until: number }>();
  readonly #configured: string;
  #facts: Facts | null = null;

  constructor(options: GithubClientOptions) {
    this.#configured = `${options.repository.owner}/${options.repository.name}`;
    this.#clock = options.clock;
    this.#client = new GithubClient(options);
    this.#account = new GithubAccount(this.#client);
    this.#checks = new GithubChecks(this.#client, () => this.#clock.wall());
  }

  async look(): Promise<ForgeRepository> {
    const { numericId: _numericId, owner: _owner, ...facts } = await this.#look();
    return facts;
  }

  async pushCredential() {
    const { numericId } = this.#facts ?? (await this.#look());
    const password = await this.#client.credentials.fresh(numericId);
    return { user: "x-access-token", password };
  }

  async readCredential() {
    return { user: "x-access-token", password: await this.#client.credentials.token() };
  }

  async find({ branch, marker }: { readonly branch: string; readonly marker: string }) {
    const listed = await this.#listed(branch);
    const found = first(listed.filter(({ body }) => body.includes(marker)));
    return found === null ? null : this.#full(found.number);
  }

  async open(order: OpenOrder): Promise<PullRequest> {
    const { branch: head, base, title, body, draft } = order;
    try {
      const written = { head, base, title, body, draft };
      return pullRequestOf(await this.#client.write(pull, `POST ${pulls}`, written), null);
    } catch (error) {
      const exists =
        error instanceof ForgeError && /pull request already exists/i.test(error.message);
      if (!exists) throw error;
      // Ours, if an earlier answer was lost; a person may have edited it since, but the marks in comments stay.
      const marks = body.match(/<!--[\s\S]*?-->/g) ?? [];
      const isOurs = (found: string) =>
        sameLines(found, body) || (marks.length > 0 && marks.every((mark) => found.includes(mark)));
      const there = await this.#listed(head);
      const found = first(there.filter((one) => isOurs(one.body)));
      if (found !== null) return this.#full(found.number);
      // Not listed at all: the replica that was asked does not have it yet.
      const final = there.some(({ state }) => state === "open");
      const why = final ? "it is not the one of this delivery" : "it is not listed yet";
      throw new ForgeError("refused", `${error.message}; ${why}`, { final });
    }
  }

  async edit(number: number, { draft, ...change }: PullRequestChange): Promise<PullRequest> {
    if (Object.keys(change).length > 0) {
      await this.#client.write(pull, `PATCH ${onePull}`, { number, ...change });
    }
    if (draft !== undefined) {
      const found = await this.#read(number);
      // GitHub has no REST for it.
      const mutation = draft ? toDraft : toReady;
      if (found.draft !== draft) await this.#client.mutate(mutation, { id: found.node_id });
    }
    return this.#full(number);
  }

  async observe(number: number): Promise<Observation | "unchanged"> {
    const login = await this.#account.login();
    const observation = await observe(await this.#full(number), {
      client: this.#client,
      checks: this.#checks,
      wall: () => this.#clock.wall(),
      isOwn: (author) => isSame(author, login),
    });
    const digest = digestOf(observation);
    if (this.#observed.get(number) === digest) return "unchanged";
    this.#observed.set(number, digest);
    return observation;
  }

  async comment(number: number, order: CommentOrder): Promise<Posted> {
    const there = await this.#posted(commentsOf(this.#client, number), order.marker);
    const route = "POST /repos/{owner}/{repo}/issues/{number}/comments";
    const made =
      there ?? (await this.#client.write(posted, route, { number, body: marked(order) }));
    return { id: `issue_comment:${made.id}`, url: made.html_url };
  }

  async reply(
    number: number,
    { remark, ...order }: CommentOrder & { readonly remark: string },
  ): Promise<Posted> {
    const [kind, id] = remark.split(":");
    if (kind !== "review_comment") return this.comment(number, order);
    const lines = await lineCommentsOf(this.#client, number);
    const known = lines.find((line) => line.id === id);
    // It was deleted: there is no thread to answer in.
    if (known === undefined) return this.comment(number, order);
    const there = await this.#posted(Promise.resolve(lines), order.marker);
    if (there !== null) return lineAnswer(there);
    // Where the thread took no reply, an earlier try has answered below all of them.
    const below = await this.#posted(commentsOf(this.#client, number), order.marker);
    if (below !== null) return this.comment(number, order);
    // GitHub takes replies only to the first comment of a thread.
    const root = known.in_reply_to_id ?? id;
    const route = `POST ${onePull}/comments/{comment_id}/replies`;
    const written = { number, comment_id: root, body: marked(order) };
    try {
      return lineAnswer(await this.#client.write(posted, route, written));
    } catch (error) {
      // The thread went meanwhile, or takes no replies: the answer still reaches its people.
      const isThread = error instanceof ForgeError && error.final && error.category !== "forbidden";
      if (isThread) return this.comment(number, order);
      throw error;
    }
  }

  async rerun(_number: number, check: Parameters<Forge["rerun"]>[1]): Promise<void> {
    await this.#checks.rerun(check);
  }

  async merge(number: number, { head, method, title }: MergeOrder): Promise<Merged> {
    const before = await this.#settled(number, head);
    if (before !== null) return before;
    try {
      const { sha } = await this.#client.write(merged, `PUT ${onePull}/merge`, {
        number,
        sha: head,
        merge_method: method,
        ...(title === undefined ? {} : { commit_title: title }),
      });
      return { outcome: "merged", sha };
    } catch (error) {
      if (!(error instanceof ForgeError) || !isRefusal(error)) throw error;
      const after = await this.#settled(number, head);
      return after ?? { outcome: "refused", reason: error.message, final: isLasting(error) };
    }
  }

  async mayWrite(login: string): Promise<boolean | null> {
    const key = login.toLowerCase();
    const known = this.#rights.get(key);
    if (known !== undefined && this.#clock.now() < known.until) return known.may;
    const may = await this.#account.mayWrite(login);
    this.#rights.delete(key);
    if (may === null) return null;
    this.#rights.set(key, { may, until: this.#clock.now() + rightsLastMs });
    const [oldest] = this.#rights.keys();
    if (this.#rights.size > maxKnownPeople && oldest !== undefined) this.#rights.delete(oldest);
    return may;
  }

  async id(): Promise<string> {
    return (this.#facts ?? (await this.#look())).id;
  }

  close(): void {
    this.#client.close();
  }

  async #look(): Promise<Facts> {
    const client = this.#client;
    const read = await client.read(repository, "GET /repos/{owner}/{repo}");
    const [owner = "", repo = ""] = read.full_name.split("/");
    client.place = { owner, repo };
    const given = client.credentials.permissions;
    const push = given === null ? read.permissions?.push : given["contents"] === "write";
    this.#facts = {
      id: String(read.id),
      numericId: read.id,
      owner,
      name: read.full_name,
      configured: this.#configured,
      defaultBranch: read.default_branch,
      archived: read.archived,
      canPush: push ?? null,
      login: await this.#account.login(),
      // Private repositories have drafts only in paid plans, which the API does not name.
      drafts: read.private ? null : true,
    };
    return this.#facts;
  }

  /** From this branch of this repository: forks have branches of the same name, and GitHub ignores `head` without an owner. */
  async #listed(branch: string): Promise<readonly ListedPull[]> {
    const facts = await this.#look();
    if (branch === facts.defaultBranch) return [];
    const listed = await this.#client.list(listedPull, `GET ${pulls}`, {
      head: `${facts.owner}:${branch}`,
      state: "all",
    });
    return listed.filter(({ head }) => head.repo?.id === facts.id && head.ref === branch);
  }

  async #full(number: number): Promise<PullRequest> {
    const read = await this.#read(number);
    const isClosed = read.state === "closed" && !read.merged;
    const route = "GET /repos/{owner}/{repo}/issues/{number}";
    const closer = isClosed ? (await this.#client.read(issue, route, { number })).closed_by : null;
    return pullRequestOf(read, closer);
  }

  /** One that was just opened may not be on the replica that is asked: a 404 is asked again once. */
  async #read(number: number) {
    const route = `GET ${onePull}`;
    try {
      return await this.#client.read(pull, route, { number });
    } catch (error) {
      if (!(error instanceof ForgeError) || error.category !== "not_found") throw error;
      await this.#client.pause(unseenMs);
      return this.#client.read(pull, route, { number });
    }
  }

  /** Our comment with this marker. One by another person quotes it at most. */
  async #posted<T extends { readonly body: string; readonly user: User }>(
    all: Promise<readonly T[]>,
    marker: string,
  ): Promise<T | null> {
    const login = await this.#account.login();
    const isOurs = (one: T) => login === null || isSame(one.user, login);
    return (await all).find((one) => one.body.includes(marker) && isOurs(one)) ?? null;
  }

  /** How a merge of this head has already ended; null: it is open. */
  async #settled(number: number, head: string): Promise<Merged | null> {
    const found = pullRequestOf(await this.#read(number), null);
    if (found.state === "open") return null;
    if (found.state === "merged" && found.head === head && found.mergeSha !== null) {
      return { outcome: "merged", sha: found.mergeSha };
    }
    const what = found.state === "merged" ? `merged at ${found.head}` : "closed";
    return { outcome: "refused", reason: `pull request #${number} is ${what}`, final: true };
  }
}

/** The open one, else the newest. */
function first(found: readonly ListedPull[]): ListedPull | null {
  const isOpen = ({ state }: ListedPull) => Number(state === "open");
  return [...found].sort((a, b) => isOpen(b) - isOpen(a) || b.number - a.number)[0] ?? null;
}

function lineAnswer(made: { readonly id: string; readonly html_url: string }): Posted {
  return { id: `review_comment:${made.id}`, url: made.html_url };
}

function isSame(author: User, login: string | null): boolean {
  return login !== null && author?.login.toLowerCase() === login.toLowerCase();
}

function marked({ body, marker }: CommentOrder): string {
  return body.includes(marker) ? body : `${marker}\n${body}`;
}

/** GitHub may return other line ends than it was given. */
function sameLines(one: string, other: string): boolean {
  const plain = (text: string) => text.replaceAll("\r\n", "\n").trim();
  return plain(one) === plain(other);
}

function isRefusal({ category }: ForgeError): boolean {
  return category === "refused" || category === "forbidden";
}

/**
 * Checks that are missing and a base that has just moved may be different next time. A head that moved (409), a method
 * that the repository does not allow, a merge queue and a missing permission will not.
 */
function isLasting({ message, category }: ForgeError): boolean {
  if (category === "forbidden" || / \(HTTP (409|422)\b/.test(message)) return true;
  return /(merge commits|squash merges|rebase merges) are not allowed|merge queue/i.test(message);
}
