import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import type { GithubClient } from "../../github/client.ts";
import { ForgeError } from "../../model/forge-error.ts";
import { type IssueRow, isSamePlace, listedRow, oneRow, placeIn, type Relations } from "./rows.ts";
import type { ScopeRepository } from "./settings.ts";

export interface RepositoryDeps {
  readonly place: ScopeRepository;
  readonly client: GithubClient;
  readonly clock: Clock;
  /** Longest time between two complete reads of a list that has several pages. */
  readonly fullPassMs: number;
  readonly onMalformed: (count: number) => void;
}

const facts = z.object({
  id: z.number(),
  full_name: z.string().regex(/^[^/]+\/[^/]+$/),
  has_issues: z.boolean().optional(),
});
type Facts = z.output<typeof facts>;

const issues = "GET /repos/{owner}/{repo}/issues";
const one = `${issues}/{number}`;
/** Changes of the same time may reach a replica one after the other, and GitHub counts in seconds. */
const overlapMs = 60_000;
/** More changes than this many pages cost more than a complete read. */
const maxDeltaPages = 4;
const maxPages = 1_000;
/** What closes while pages are read is looked for from so long before. */
const closingMs = 5_000;
/** Closed issues that have not changed for longer are not read. */
const closedMs = 90 * 24 * 3_600_000;
const dayMs = 24 * 3_600_000;
/** Until a new issue has reached every replica. */
const unseenMs = 1_000;

interface Listed {
  readonly rows: readonly IssueRow[];
  /** With pull requests. */
  readonly all: readonly IssueRow[];
  readonly read: number;
  readonly newest: number;
}

/** Why an issue is not in this repository. */
export interface Gone {
  readonly gone: string;
}

/**
 * The issues of one repository, by lists and never by search, whose index is minutes late. A list of one page is read whole,
 * and costs nothing while it is unchanged (304). Of a longer one the changes are read: the address of that read stays the
 * same until there are some, so that it costs nothing either.
 */
export class RepositoryIssues {
  readonly #deps: RepositoryDeps;
  readonly place: ScopeRepository;
  /** Open issues by their number. */
  #rows = new Map<number, IssueRow>();
  #pages = 0;
  #fullAt = 0;
  #since = 0;
  /** Grows with every change of an open issue. */
  version = 0;
  #facts: Facts | null = null;
  #askedAt = 0;

  constructor(deps: RepositoryDeps) {
    this.#deps = deps;
    this.place = deps.place;
  }

  /** The repository's id, which never changes, and its name as it was when it was asked last. */
  async facts(): Promise<Facts> {
    this.#facts ??= await this.ask();
    return this.#facts;
  }

  /** Its id, if it was asked. */
  get knownId(): number | null {
    return this.#facts?.id ?? null;
  }

  /** Whether this is its name: as configured, or as it was when it was asked last. */
  isAt(place: Pick<ScopeRepository, "owner" | "repo">): boolean {
    const [owner = "", repo = ""] = this.#facts?.full_name.split("/") ?? [];
    return isSamePlace(place, this.place) || isSamePlace(place, { owner, repo });
  }

  /** The open issues now, in the order of their numbers. Rejects with a ForgeError. */
  async open(): Promise<readonly IssueRow[]> {
    const { clock, fullPassMs } = this.#deps;
    const isLong = this.#pages > 1;
    const isDue = (since: number) => clock.now() - since >= fullPassMs;
    if (!isLong || isDue(this.#fullAt) || !(await this.#changes())) await this.#all();
    const [first] = this.#rows.values();
    const at = placeIn(first?.url ?? "");
    // The name may be that of another repository by now.
    if (this.#facts !== null && (isDue(this.#askedAt) || (at && !this.isAt(at)))) await this.ask();
    return [...this.#rows.values()].sort((a, b) => a.number - b.number);
  }

  /** The closed issues that changed in the last 90 days. */
  async closed(): Promise<readonly IssueRow[]> {
    // Whole days, so that the address is the same for a while.
    const since = Math.floor((this.#deps.clock.wall() - closedMs) / dayMs) * dayMs;
    return (await this.#list({ state: "closed", since: iso(since) }, maxPages)).rows;
  }

  /** The parent of an issue of this repository, if it is an open one here that was read; costs no request. */
  parentOf({ parent_issue_url: url }: IssueRow): IssueRow | null {
    const at = placeIn(url ?? "");
    if (at === null || !this.isAt(at)) return null;
    return this.#rows.get(at.number) ?? null;
  }

  /** One issue as it is now, or why there is none here. Rejects when the repository itself cannot be read. */
  async one(number: number): Promise<IssueRow | Gone> {
    const row = await this.#one(number);
    if ("gone" in row) this.#drop(number);
    else return this.#put(row);
    return row;
  }

  /** What the row says is there: its blockers and sub-issues. */
  async relations(row: IssueRow): Promise<Relations> {
    const { number } = row;
    // At most 100 of each, but only an empty second page says that a full one is the last.
    const list = async (path: string) => (await this.#list({ number }, 2, `${one}${path}`)).rows;
    const isBlocked = (row.issue_dependencies_summary?.total_blocked_by ?? 0) > 0;
    const hasSubs = (row.sub_issues_summary?.total ?? 0) > 0;
    return {
      blockedBy: isBlocked ? await list("/dependencies/blocked_by") : [],
      subIssues: hasSubs ? await list("/sub_issues") : [],
    };
  }

  /** The facts as they are now. */
  async ask(): Promise<Facts> {
    const { owner, repo } = this.place;
    this.#askedAt = this.#deps.clock.now();
    const route = "GET /repos/{owner}/{repo}";
    this.#facts = await this.#deps.client.read(facts, route, { owner, repo }).catch((error) => {
      throw this.#named(error);
    });
    return this.#facts;
  }

  /** What one of several repositories refuses names it. */
  #named(error: unknown): unknown {
    if (!(error instanceof ForgeError) || error.status === null) return error;
    const { category, message, status } = error;
    if (category !== "not_found" && category !== "forbidden" && category !== "gone") return error;
    const { owner, repo } = this.place;
    return new ForgeError(category, `${owner}/${repo}: ${message}`, { status });
  }

  /**
   * Of the open issues, in the order of their creation. One that closes while the pages are read moves all later ones ahead, the
   * first of a page onto the page that was read before: then they are read a second time.
   */
  async #all(): Promise<void> {
    const startedAt = this.#deps.clock.now();
    const order = { state: "open", sort: "created", direction: "asc" };
    const open = new Map<number, IssueRow>();
    for (let round = 0; round < 2; round += 1) {
      const { clock, client } = this.#deps;
      const wall = clock.wall();
      const { rows, read, newest } = await this.#list(order, maxPages);
      for (const row of rows) open.set(row.number, row);
      this.#pages = Math.max(Math.ceil(read / 100), 1);
      this.#since = newest;
      const closed =
        this.#pages === 1 ? [] : await this.#closedSince(wall - client.gap.aheadMs - closingMs);
      for (const number of closed ?? []) open.delete(number);
      if (closed?.length === 0) break;
    }
    for (const number of this.#rows.keys()) if (!open.has(number)) this.#drop(number);
    this.#rows = new Map([...open].map(([number, row]) => [number, this.#put(row)]));
    this.#fullAt = startedAt;
  }

  /** The numbers of issues and pull requests that closed since then; null: there are too many. */
  async #closedSince(at: number): Promise<readonly number[] | null> {
    const order = { state: "closed", sort: "updated", direction: "desc", since: iso(at) };
    const found = await this.#someOf(order);
    return found?.all.filter(({ state }) => state === "closed").map(({ number }) => number) ?? null;
  }

  /** False: there are so many that a complete read is cheaper. */
  async #changes(): Promise<boolean> {
    const since = iso(Math.max(this.#since - overlapMs, 0));
    const order = { state: "all", sort: "updated", direction: "desc", since };
    const changes = await this.#someOf(order);
    if (changes === null) return false;
    for (const row of changes.rows) this.#put(row);
    this.#since = Math.max(changes.newest, this.#since);
    return true;
  }

  /** A short list; null: it is longer. */
  #someOf(query: Readonly<Record<string, unknown>>): Promise<Listed | null> {
    return this.#list(query, maxDeltaPages).catch((error: unknown) => {
      if (isCategory(error, "malformed")) return null;
      throw error;
    });
  }

  /** The same object as before if nothing of it has changed. */
  #put(row: IssueRow): IssueRow {
    const known = this.#rows.get(row.number);
    if (row.state === "closed") {
      this.#drop(row.number);
      return row;
    }
    if (known !== undefined && isDeepStrictEqual(known, row)) return known;
    this.#rows.set(row.number, row);
    this.version += 1;
    return row;
  }

  #drop(number: number): void {
    if (this.#rows.delete(number)) this.version += 1;
  }

  /**
   * `rows` without pull requests, and each issue once: pages shift while they are read. `read` and `newest` (ms since the epoch)
   * are of all entries.
   */
  async #list(
    query: Readonly<Record<string, unknown>>,
    pages: number,
    route = issues,
  ): Promise<Listed> {
    const { owner, repo } = this.place;
    const parameters = { owner, repo, ...query, maxPages: pages };
    const read = await this.#deps.client.list(listedRow, route, parameters).catch((error) => {
      throw this.#named(error);
    });
    const known = read.filter((row) => row !== null);
    if (known.length < read.length) this.#deps.onMalformed(read.length - known.length);
    const rows = known.filter((row) => !row.pull_request);
    return {
      rows: [...new Map(rows.map((row) => [row.url, row])).values()],
      all: known,
      read: read.length,
      newest: known.reduce((at, row) => Math.max(at, Date.parse(row.updated_at) || 0), 0),
    };
  }

  async #one(number: number): Promise<IssueRow | Gone> {
    const { client } = this.#deps;
    const { owner, repo } = this.place;
    const read = () => client.read(oneRow, one, { owner, repo, number });
    try {
      const row = await read().catch(async (error: unknown) => {
        if (!isCategory(error, "not_found")) throw error;
        await client.pause(unseenMs);
        return read();
      });
      return (await this.#elsewhere(row)) ?? row;
    } catch (error) {
      if (isCategory(error, "gone")) {
        // Every issue of a repository whose issues are switched off is answered so; they come back with the switch.
        if ((await this.ask()).has_issues === false) throw error;
        return { gone: "deleted" };
      }
      if (!isCategory(error, "not_found")) throw error;
      // A credential that lost its access must not look like issues that are gone.
      await this.ask();
      return { gone: "deleted, or transferred to a repository that cannot be read" };
    }
  }

  /** GitHub answers for a transferred issue with the new one, and so it does in a renamed repository. */
  async #elsewhere(row: IssueRow): Promise<Gone | null> {
    if (row.pull_request) return { gone: "a pull request, not an issue" };
    const at = placeIn(row.url);
    if (at === null || this.isAt(at)) return null;
    await this.ask();
    if (this.isAt(at)) return null;
    return { gone: `transferred to ${at.owner}/${at.repo}#${at.number}` };
  }
}

function isCategory(error: unknown, category: ForgeError["category"]): boolean {
  return error instanceof ForgeError && error.category === category;
}

function iso(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
}

interface Named {
  readonly repository: RepositoryIssues;
  readonly number: number;
}

const form =
  /^(?:https:\/\/[^/]+\/)?(?:(?:([^/#\s]+)\/)?([^/#\s]+?))??(?:\/issues\/|[#-]|^)(\d{1,9})$/;

/** The issue that a person means: `app-12`, `app#12`, `acme/app#12`, `#12` where there is one repository, or its address. */
export function namedIn(repositories: readonly RepositoryIssues[], text: string): Named | null {
  const [, owner, name, digits] = form.exec(text) ?? [];
  if (digits === undefined) return null;
  // A name that two of them have stands for neither.
  const [repository, ...others] = repositories.filter((one) => {
    const { place } = one;
    if (name === undefined) return repositories.length === 1;
    if (owner !== undefined) return one.isAt({ owner, repo: name });
    return [place.prefix, place.repo].some((one) => one.toLowerCase() === name.toLowerCase());
  });
  if (repository === undefined || others.length > 0) return null;
  return { repository, number: Number(digits) };
}
