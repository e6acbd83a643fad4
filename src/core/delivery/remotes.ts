import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { SymphonyError } from "../model/errors.ts";
import { gitDirOf } from "../repository/checkout.ts";
import type { Credential } from "../repository/credential.ts";
import { type Contents, fetchLfs, pushLfs } from "../repository/lfs.ts";
import { LfsStore } from "../repository/lfs-store.ts";
import { newContents } from "../repository/lfs-work.ts";
import type { FetchOrder } from "../repository/mirror-call.ts";
import { type Loan, type Mirrors, mirrorName } from "../repository/mirrors.ts";
import { pushCommit, type Refusal, requireOwnObjects } from "../repository/push.ts";
import { plainName } from "../text/text.ts";
import { readBaseline } from "../workspace/baseline.ts";
import { type DeliveredWork, diffBetween, type WorkDiff } from "../workspace/diff.ts";
import type { Newest, PushAnswer, PushPort } from "./delivered.ts";
import type { Forge } from "./forge.ts";
import { openForge, siteCredential } from "./kinds.ts";
import { trialPush } from "./reachable.ts";
import type { MirrorWish } from "./updates.ts";

export interface RemotesDeps {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly mirrors: Mirrors;
  /** The cookie of the processes. */
  readonly runId: string;
  config(): Config;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  /** Called with each credential before it is used, so that it is redacted. */
  learn(secret: string): void;
  /** As `Workspaces.borrowedBy`. */
  borrowedBy(path: string): Promise<readonly string[]>;
}

const timeoutMs = 120_000;
/**
 * Where a repository keeps it, in GitHub's order:
 * https://docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests/creating-a-pull-request-template-for-your-repository
 */
const framePaths = [".github/", "", "docs/"].flatMap((place) =>
  [".md", ".txt"].map((end) => `${place}pull_request_template${end}`),
);

/** The configured repositories and their sites, with the credentials that symphony has for them. */
export class Remotes {
  readonly #deps: RemotesDeps;
  /** By repository; made for one configuration. */
  readonly #forges = new Map<string, { readonly forge: Forge | null; readonly of: unknown }>();
  readonly #leaving = new AbortController();

  constructor(deps: RemotesDeps) {
    this.#deps = deps;
  }

  /** null: its address is not one of the site. Throws `invalid_config`. */
  forgeFor(rule: RepositoryConfig): Forge | null {
    const { clock, config } = this.#deps;
    const { delivery } = config();
    const known = this.#forges.get(rule.name);
    if (known?.of === delivery) return known.forge;
    known?.forge?.close();
    const reach = { clock, lookup: (name: string) => this.#value(name) };
    const forge = openForge(delivery, rule.address, reach);
    this.#forges.set(rule.name, { forge, of: delivery });
    return forge;
  }

  readonly push: PushPort = async (order): Promise<PushAnswer> => {
    const { repository, path, commit, branch, expected, signal } = order;
    const { borrowedBy, config } = this.#deps;
    const credential = order.credential ?? this.#credentialOf(repository);
    const borrowed = await borrowedBy(path);
    const limit = Math.max(timeoutMs, config().git.timeoutMs);
    const reach = { ...this.#reach(repository, signal), credential, timeoutMs: limit };
    const contents = await this.contentsOf(repository, path);
    if (contents !== null) {
      const { store, mirror } = contents;
      const gitDir = await gitDirOf(path);
      if (gitDir !== null) await requireOwnObjects(gitDir, borrowed);
      const { there, missing } = await newContents({ path, commit, mirror, store, signal });
      const refusal =
        missing[0] === undefined ? await pushLfs(reach, store, there) : notHere(missing[0]);
      if (refusal !== null) return { outcome: "refused", ...refusal };
    }
    return pushCommit({ ...reach, borrowed, path, commit, branch, expected });
  };

  /** As `trialPush`. */
  async tryPush(rule: RepositoryConfig): Promise<Refusal | null> {
    const { env, runId, lookup, learn } = this.#deps;
    const { signal } = this.#leaving;
    try {
      return await trialPush(rule, this.forgeFor(rule), {
        ...{ env, runId: `${runId}/trial-${randomUUID()}`, timeoutMs, signal },
        lookup: (name) => lookup(name),
        learn: (secret) => learn(secret),
      });
    } catch (error) {
      if (signal.aborted) return null;
      throw error;
    }
  }

  /** The contents of git LFS that the workspace has, and their mirror; null: it has pointers only. */
  async contentsOf(
    rule: RepositoryConfig,
    path: string,
  ): Promise<(Contents & { readonly mirror: string }) | null> {
    const { mirrors, config } = this.#deps;
    const loan = (await readBaseline(path))?.loan ?? null;
    if (loan?.lfs !== true) return null;
    const mirror = mirrors.lent(loan).path;
    const store = new LfsStore(mirror, await gitDirOf(path));
    const limit = Math.max(timeoutMs, config().git.timeoutMs);
    return {
      store,
      mirror,
      ensure: async (pointers) => fetchLfs(await this.#fetch(rule, limit), store, pointers),
    };
  }

  /** Asked of the freshly fetched mirror, never of refs that an agent can write; null: not known now. */
  isContained(rule: RepositoryConfig, commit: string, base: string): Promise<boolean | null> {
    return this.#read(rule, (order) => this.#deps.mirrors.isContained(order, commit, base));
  }

  /** As `isContained`, for the content: a merge would change nothing. */
  isIncluded(rule: RepositoryConfig, commit: string, base: string): Promise<boolean | null> {
    return this.#read(rule, async (order) => {
      const mirror = await this.#deps.mirrors.refresh(order);
      return mirror.includes(commit, base);
    });
  }

  /** Who wrote the newest commit of a branch; null: it cannot be read, or there is none. */
  newestOf(rule: RepositoryConfig, branch: string): Promise<Newest | null> {
    return this.#read(rule, async (order) => {
      const mirror = await this.#deps.mirrors.refresh(order);
      return mirror.newestOf(branch);
    });
  }

  /** The newest commit of a branch; null: it cannot be read, or there is none. */
  headOf(rule: RepositoryConfig, branch: string): Promise<string | null> {
    return this.#read(rule, async (order) => {
      const mirror = await this.#deps.mirrors.ensure(order);
      return mirror.commitOf(branch);
    });
  }

  /** The frame that the base branch has for the text of pull requests; null: none, or not known now. */
  pullRequestFrame(rule: RepositoryConfig, base: string): Promise<string | null> {
    return this.#read(rule, async (order) => {
      const mirror = await this.#deps.mirrors.ensure(order);
      return mirror.textOf(base, framePaths);
    });
  }

  defaultBranch(rule: RepositoryConfig): Promise<string | null> {
    return this.#read(rule, async (order) => {
      const mirror = await this.#deps.mirrors.ensure(order);
      return (await mirror.refs()).head;
    });
  }

  /** What `read` finds in the mirror; null when that fails. */
  async #read<T>(
    rule: RepositoryConfig,
    read: (order: FetchOrder) => Promise<T>,
  ): Promise<T | null> {
    try {
      return await read(await this.#fetch(rule));
    } catch {
      return null;
    }
  }

  async keep(rule: RepositoryConfig, branch: string, commit: string): Promise<Loan> {
    const { mirrors } = this.#deps;
    const mirror = await mirrors.refresh(await this.#fetch(rule));
    return mirrors.keep(mirror, [
      { name: `refs/remotes/origin/${branch}`, id: commit, peeled: null },
    ]);
  }

  release(loan: Loan): Promise<void> {
    return this.#deps.mirrors.release(loan);
  }

  /**
   * Fetches the mirror of a workspace that is gone, as after a restore of the data directory without it. Never rejects: it stays
   * gone where no configured repository is its own, or none can be read.
   */
  async remake({ mirror: name, keep }: Loan): Promise<void> {
    const { mirrors, config } = this.#deps;
    const { repositories, timeoutMs: limit } = config().git;
    const rule = repositories.find((one) => mirrorName(one) === name);
    if (rule === undefined || (await mirrors.lent({ mirror: name }).exists())) return;
    await this.#read(rule, async () => {
      const mirror = await mirrors.ensure(await this.#fetch(rule, limit));
      // The clone kept it for the workspace: git must not tidy it away.
      await mirror.keep(keep, (await mirror.refs()).all, this.#deps.clock.wall());
    });
  }

  /** What a delivered branch changes, also when its workspace is gone. Rejects with `no_repository`. */
  async diff(rule: RepositoryConfig, work: DeliveredWork): Promise<WorkDiff> {
    const { mirrors } = this.#deps;
    const order = await this.#fetch(rule);
    const mirror = await mirrors.ensure(order).catch((cause: unknown) => {
      const message = `the work is on ${work.branch} of ${rule.name}, which cannot be read now`;
      throw new SymphonyError("no_repository", message, { cause });
    });
    return diffBetween(mirror.path, work);
  }

  /** As `UpdatePorts.mirror`. */
  async mirror(rule: RepositoryConfig, { fresh, whole }: MirrorWish): Promise<string> {
    const order = await this.#fetch(rule);
    const { mirrors } = this.#deps;
    const isKnown = !fresh && !whole;
    const mirror = isKnown ? await mirrors.ensure(order) : await mirrors.refresh(order, { whole });
    return mirror.path;
  }

  close(): void {
    this.#leaving.abort();
    for (const { forge } of this.#forges.values()) forge?.close();
  }

  /** What git reads with where the address names no credential; null: nothing. Never rejects. */
  async siteCredential(rule: RepositoryConfig): Promise<Credential | null> {
    const credential = await siteCredential(rule.address, () => this.forgeFor(rule));
    if (credential !== null) this.#deps.learn(credential.password);
    return credential;
  }

  async #fetch(rule: RepositoryConfig, limitMs = timeoutMs): Promise<FetchOrder> {
    const signal = AbortSignal.any([this.#leaving.signal, AbortSignal.timeout(limitMs)]);
    const credential = this.#credentialOf(rule) ?? (await this.siteCredential(rule));
    return { ...this.#reach(rule, signal), credential, timeoutMs: limitMs, depth: rule.depth };
  }

  #reach({ address }: RepositoryConfig, signal: AbortSignal) {
    const { clock, env, runId } = this.#deps;
    return { address, clock, env, signal, runId: `${runId}/remote-${randomUUID()}` };
  }

  /** The credential of the address; null: it names none. */
  #credentialOf({ address: { login } }: RepositoryConfig): Credential | null {
    if (login === null) return null;
    const password = this.#value(login.secret)?.trim() ?? "";
    return { user: login.user, password };
  }

  #value(name: string): string | undefined {
    const value = this.#deps.lookup(name);
    if (value !== undefined && value.trim() !== "") this.#deps.learn(value.trim());
    return value;
  }
}

function notHere(path: string): Refusal {
  const reason = `the content of ${plainName(path)} is not here (git LFS)`;
  return { category: "other", final: true, reason };
}
