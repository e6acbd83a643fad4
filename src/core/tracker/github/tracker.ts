// Issues of GitHub: polls that cost nothing while nothing changes, moves, and the agent's tools.

import { z } from "zod";
import { type Clock, ClockGap } from "../../clock.ts";
import type { TrackerConfig } from "../../config/config.ts";
import { GithubAccount } from "../../github/account.ts";
import type { GithubBudget } from "../../github/answers.ts";
import { GithubClient, type GithubClientOptions } from "../../github/client.ts";
import type { Api } from "../../github/rate-limits.ts";
import type { GithubSettings } from "../../github/settings.ts";
import type { Issue, TrackerState } from "../../model/issue.ts";
import { issueTools } from "../issue-tools.ts";
import type { Lookup, PollPace, ScopeNames, Tracker } from "../tracker.ts";
import { Board } from "./board.ts";
import { newestComments, oneComment, timedComments } from "./comments.ts";
import { tracked, written } from "./errors.ts";
import { GithubReader } from "./reader.ts";
import { RepositoryIssues } from "./repository.ts";
import {
  type GithubTrackerSettings,
  githubTrackerSettings,
  type ScopeRepository,
} from "./settings.ts";
import { githubUploads } from "./uploads.ts";
import { GithubWriter } from "./writer.ts";

export interface GithubTrackerOptions
  extends Pick<GithubClientOptions, "timeoutMs" | "writeGapMs" | "onRequest"> {
  readonly config: TrackerConfig;
  readonly lookup: Lookup;
  readonly clock: Clock;
  readonly onMalformed?: (count: number) => void;
  /** Called when a read of the project leaves out other items than the one before. */
  readonly onLeftOut?: (what: string) => void;
  /** Longest time between complete reads of a list that has several pages; 5 minutes. */
  readonly fullPassMs?: number;
}

const defaultFullPassMs = 300_000;
const done = Promise.resolve();
const anyRepository = z.object({ id: z.number() });

/** The tracker for one configuration. Sends no request yet. Throws as `githubTrackerSettings` does. */
export function createGithubTracker(options: GithubTrackerOptions): Tracker {
  const settings = githubTrackerSettings(options.config, options.lookup);
  const connection = new Connection(settings.site, settings, options);
  const { reader, writer, repositories } = connection;
  return {
    kind: "github",
    fetchIssuesByStates: (states) => reader.byStates(states),
    fetchIssuesByIds: (ids) => reader.byIds(ids),
    ...(repositories.length > 1 && { partial: reader.partial }),
    find: (identifier) => reader.find(identifier),
    whyGone: (id) => reader.whyGone(id),
    idOfNode: (nodeId, projectId) => tracked(() => reader.idOfNode(nodeId, projectId)),
    comment: (id) => tracked(() => connection.comment(id)),
    comments: (issue) => tracked(() => connection.comments(issue.id)),
    newComments: ({ id }, since) => tracked(() => connection.newComments(id, since)),
    ownLogin: () => connection.ownLogin(),
    aheadMs: () => connection.gap.aheadMs,
    budgetLeft: () => leftOf(connection),
    scopeNames: ({ labels }) => tracked(() => scopeNames(labels)),
    pollPace: paceOf(connection),
    quota: () => quotaOf(connection),
    address: settings.site.api,
    uploads: githubUploads(settings.site, (issueId) => connection.token(issueId)),
    leftOut: () => reader.leftOut(),
    bindTools: (issue) =>
      toolsFor(issue, writer.states, {
        // The issue's own repository is known since it was read.
        settings: { ...settings, repositories: [...connection.scope] },
        options,
        polls: connection,
      }),
    editor: {
      create: (draft) => written("symphony issue list", () => writer.create(draft)),
      edit: (issue, change) =>
        written(`symphony issue show ${issue.identifier}`, () => writer.edit(issue, change)),
      comment: (issue, body) =>
        written(`symphony issue comments ${issue.identifier}`, () =>
          writer.comment(issue, { key: null, body }),
        ),
    },
    secretEnvNames: settings.site.secretEnvNames,
    workflow: {
      states: (issue) => tracked(() => writer.statesOf(issue)),
      move: (issue, state) => tracked(() => writer.move(issue, state)),
      comment: (issue, comment) => tracked(() => writer.comment(issue, comment)),
      link: (issue, { key, url, title }) =>
        tracked(() =>
          writer.comment(issue, { key, body: `The work is ready for review: [${title}](${url})` }),
        ),
    },
    // GitHub pushes changes only by webhook, and those are received elsewhere.
    watch: () => () => {},
    close: () => connection.close(),
  };

  async function scopeNames(labels: boolean): Promise<ScopeNames> {
    const read = labels || connection.board === null;
    await connection.discover();
    const lists = read ? repositories.map((one) => writer.labelsOf(one)) : [];
    const all = (await Promise.all(lists)).flat();
    const ofBoard = connection.board && (await writer.statesOfBoard());
    const states = (ofBoard ?? writer.statesWith(all)).map(({ name }) => name);
    return { teams: new Map([[null, states]]), labels: labels ? all : null };
  }
}

/** The repositories of a configuration, with one client for each owner: an app has a token for each. */
class Connection {
  readonly repositories: RepositoryIssues[] = [];
  /** Of `repositories`. */
  readonly scope: ScopeRepository[];
  readonly discover: () => Promise<void>;
  readonly reader: GithubReader;
  readonly writer: GithubWriter;
  readonly board: Board | null;
  readonly gap: ClockGap;
  readonly #byOwner: ReadonlyMap<string, { readonly client: GithubClient }>;
  readonly #add: (place: ScopeRepository) => void;
  readonly #accounts = new Map<RepositoryIssues, GithubAccount>();
  readonly #clients = new Map<RepositoryIssues, GithubClient>();

  constructor(
    site: GithubSettings,
    settings: GithubTrackerSettings,
    options: GithubTrackerOptions,
  ) {
    const { clock, fullPassMs = defaultFullPassMs } = options;
    const { onMalformed = () => {}, onLeftOut = () => {} } = options;
    this.scope = [...settings.repositories];
    const gap = new ClockGap(clock);
    this.gap = gap;
    const byOwner = new Map<string, { client: GithubClient; account: GithubAccount }>();
    const clientOf = (owner: string, name: string) => {
      const key = owner.toLowerCase();
      const found = byOwner.get(key);
      if (found) return found;
      const client = new GithubClient({
        ...options,
        ...{ settings: site, clock, gap, repository: { owner, name }, answers: "page of issues" },
      });
      const known = { client, account: new GithubAccount(client) };
      byOwner.set(key, known);
      return known;
    };
    this.#add = (place) => {
      const known = clientOf(place.owner, place.repo);
      const { client } = known;
      const repository = new RepositoryIssues({ place, client, clock, fullPassMs, onMalformed });
      this.#accounts.set(repository, known.account);
      this.#clients.set(repository, client);
      this.repositories.push(repository);
      if (!this.scope.includes(place)) this.scope.push(place);
    };
    for (const place of this.scope) this.#add(place);
    const { board } = settings;
    // An app has a token for an owner, by a repository of it; of another owner's project it is that of the first.
    const [first] = this.repositories;
    const owner =
      board && byOwner.has(board.owner.toLowerCase()) ? board.owner : first?.place.owner;
    this.board =
      board &&
      new Board({
        settings: board,
        client: clientOf(owner ?? board.owner, first?.place.repo ?? "").client,
        now: () => clock.now(),
      });
    this.#byOwner = byOwner;
    const login = (one: RepositoryIssues) => this.#account(one).login();
    const { repositories } = this;
    const isOpen = settings.board !== null && settings.repositories.length === 0;
    const discover = () => (isOpen ? this.#discover(settings.board?.owner ?? "") : done);
    this.discover = discover;
    const shared = {
      ...{ settings: { ...settings, repositories: this.scope }, repositories, login },
      ...{ board: this.board, discover },
    };
    this.reader = new GithubReader({ ...shared, onMalformed, onLeftOut });
    this.writer = new GithubWriter({
      ...{ ...shared, settings, clock, reader: this.reader },
      clientOf: (one) => this.#client(one),
    });
  }

  get clients(): readonly GithubClient[] {
    return [...this.#byOwner.values()].map(({ client }) => client);
  }

  /**
   * The repositories of the board's issues, as it was read last. Those of its owner are called by their name, others by
   * owner and name, so that a new one renames none; one whose issues would have the names of another's is left out.
   */
  async #discover(owner: string): Promise<void> {
    const { board } = this;
    if (board?.places === null) await board.read();
    for (const name of [...(board?.places?.keys() ?? [])].sort()) {
      const [theirs = "", repo = ""] = name.split("/");
      const place = { owner: theirs, repo };
      if (this.repositories.some((one) => one.isAt(place))) continue;
      const isOwn = theirs.toLowerCase() === owner.toLowerCase();
      const prefix = isOwn ? repo : `${theirs}-${repo}`;
      if (this.scope.some((one) => one.prefix.toLowerCase() === prefix.toLowerCase())) continue;
      if (await this.#isRenamed(place)) continue;
      this.#add({ ...place, prefix });
    }
  }

  /** Whether one that is known has this name now. */
  async #isRenamed({ owner, repo }: Pick<ScopeRepository, "owner" | "repo">): Promise<boolean> {
    const [first] = this.repositories;
    if (first === undefined) return false;
    const route = "GET /repos/{owner}/{repo}";
    const { id } = await this.#client(first).read(anyRepository, route, { owner, repo });
    for (const one of this.repositories)
      if ((await one.facts()).id === id) {
        await one.ask();
        return true;
      }
    return false;
  }

  async comment(id: string) {
    await this.discover();
    const [, home, number = ""] = /^(\d+)\/(\d+)$/.exec(id) ?? [];
    const repository = await this.reader.homeOf(home ?? "");
    if (repository === null) return null;
    const of = { id: number, at: repository.place, repositoryId: Number(home) };
    return oneComment(this.#client(repository), this.#account(repository), of);
  }

  async comments(id: string) {
    const { repository, number } = await this.reader.home(id);
    const row = await repository.one(number);
    if ("gone" in row) return { comments: [], truncated: false };
    const of = { row, at: repository.place };
    return newestComments(this.#client(repository), this.#account(repository), of);
  }

  async newComments(id: string, since: number) {
    const { repository, number } = await this.reader.home(id);
    const row = await repository.one(number);
    if ("gone" in row) return [];
    const { id: repositoryId } = await repository.facts();
    const of = { row, at: repository.place, repositoryId, since };
    return timedComments(this.#client(repository), this.#account(repository), of);
  }

  /** For a file of an issue, which does not name its repository. */
  async token(id: string): Promise<string> {
    const { repository } = await this.reader.home(id);
    return this.#client(repository).credentials.token();
  }

  ownLogin(): string | null {
    return [...this.#accounts.values()].find((one) => one.knownLogin !== null)?.knownLogin ?? null;
  }

  close(): void {
    for (const client of this.clients) client.close();
  }

  #client(repository: RepositoryIssues): GithubClient {
    return known(this.#clients, repository);
  }

  #account(repository: RepositoryIssues): GithubAccount {
    return known(this.#accounts, repository);
  }
}

function known<T>(map: ReadonlyMap<RepositoryIssues, T>, repository: RepositoryIssues): T {
  const found = map.get(repository);
  if (found === undefined) throw new Error(`no client for ${repository.place.repo}`);
  return found;
}

interface ToolsOf {
  readonly settings: GithubTrackerSettings;
  readonly options: GithubTrackerOptions;
  /** The connection of the polls, which knows more of the budget than one that has just been made. */
  readonly polls: Connection;
}

/** With the credential of this moment: later changes do not affect a session (T-14). */
function toolsFor(
  issue: Issue,
  states: readonly TrackerState[],
  { settings, options, polls }: ToolsOf,
) {
  const credential = settings.site.credential();
  const site = { ...settings.site, credential: () => credential };
  const bound = new Connection(site, settings, options);
  const { reader, writer } = bound;
  return issueTools(issue, states, async () => ({
    read: async () => (await reader.byIds([issue.id]))[0],
    comments: () => tracked(() => bound.comments(issue.id)),
    async comment(body) {
      await tracked(() => writer.comment(issue, { key: null, body }));
      return options.clock.wall();
    },
    move: (state) => tracked(() => writer.move(issue, state)),
    budgetLeft: () => Math.min(...[bound, polls].map((one) => leftOf(one) ?? 1)),
  }));
}

/** Below this share of an hour's requests, polls become slower. */
const scarceShare = 0.25;
/** Share of what is left that polls may use then. */
const pollShare = 0.5;
const longestPaceMs = 300_000;

/**
 * Slower polls while the headers say that the hour's requests run out; unchanged polls cost none. Every poll of a board costs
 * points, so that they take at most half of what is left of the hour from the beginning.
 */
function paceOf(connection: Connection): (intervalMs: number) => PollPace | null {
  const spentOf = () => ({
    rest: connection.clients.reduce((all, client) => all + client.spent.rest, 0),
    graphql: connection.board?.points ?? 0,
  });
  let before = spentOf();
  return (intervalMs) => {
    const spent = spentOf();
    const paces = apis.flatMap((api) => {
      const cost = spent[api] - before[api];
      const budget = leastOf(connection, api);
      if (budget === null || (api === "graphql" && cost === 0)) return [];
      const isScarce = budget.remaining < budget.limit * scarceShare;
      return isScarce || api === "graphql" ? paced(budget, Math.max(cost, 1), units[api]) : [];
    });
    before = spent;
    const [slowest] = paces.sort((a, b) => b.intervalMs - a.intervalMs);
    return slowest && slowest.intervalMs > intervalMs ? slowest : null;
  };
}

const units = { rest: "requests", graphql: "points" } as const;

function paced({ limit, remaining, resetMs }: GithubBudget, cost: number, unit: string): PollPace {
  const wanted = (resetMs * cost) / Math.max(remaining * pollShare, 1);
  // A large board may cost so much that only a few polls of an hour keep to it.
  const longest = unit === units.graphql ? Math.max(resetMs, longestPaceMs) : longestPaceMs;
  return {
    intervalMs: Math.ceil(Math.min(wanted, longest)),
    reason: `GitHub's budget for this hour: a poll costs ${cost} ${unit}, ${remaining} of ${limit} are left`,
  };
}

/** Of the client that has least. */
function leastOf({ clients }: Connection, api: Api): GithubBudget | null {
  const [least = null] = clients
    .flatMap((client) => client.budget(api) ?? [])
    .sort((a, b) => a.remaining / a.limit - b.remaining / b.limit);
  return least;
}

function leftOf(connection: Connection): number | null {
  const shares = apis
    .flatMap((api) => leastOf(connection, api) ?? [])
    .map(({ limit, remaining }) => remaining / limit);
  return shares.length === 0 ? null : Math.min(...shares);
}

const apis = ["rest", "graphql"] as const;

function quotaOf(connection: Connection): string | null {
  const words = apis.flatMap((api) => {
    const budget = leastOf(connection, api);
    return budget === null ? [] : `${budget.remaining} of ${budget.limit} ${units[api]}`;
  });
  return words.length === 0 ? null : words.join(", ");
}
