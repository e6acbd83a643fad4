import { isDeepStrictEqual } from "node:util";
import { issueIdOf } from "../../github/settings.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type Issue, normalState } from "../../model/issue.ts";
import type { FoundIssue, ScopeLine } from "../tracker.ts";
import type { Board, Card } from "./board.ts";
import { tracked } from "./errors.ts";
import { counted, hiddenItem, leftOutOf } from "./left-out.ts";
import { namedIn, type RepositoryIssues } from "./repository.ts";
import {
  closingReason,
  hasRelations,
  type IssueRow,
  issueOf,
  nodeIdsOf,
  noRelations,
  type Relations,
  type RowContext,
  stateOf,
} from "./rows.ts";
import type { GithubTrackerSettings } from "./settings.ts";
import {
  type Failed,
  failedAlone,
  homesOf,
  LastIssues,
  partOf,
  type ReadOfSeveral,
  whole,
} from "./unread.ts";

export interface ReaderDeps {
  readonly settings: GithubTrackerSettings;
  /** Those that are known: `discover` may add some. */
  readonly repositories: readonly RepositoryIssues[];
  /** Learns the repositories of the board, where the configuration names none. */
  readonly discover: () => Promise<void>;
  readonly onLeftOut: (what: string) => void;
  /** null: every issue of the repositories counts. */
  readonly board: Board | null;
  login(repository: RepositoryIssues): Promise<string | null>;
  readonly onMalformed: (count: number) => void;
}

/** An issue that is known, and what it was made of: the same parts make the same object. */
interface Made {
  readonly row: IssueRow;
  readonly relations: Relations;
  readonly parent: IssueRow | null;
  /** Of the repository when its relations were read. */
  readonly version: number;
  readonly card: Card | null;
  /** The version of the board, for the cards of its relations. */
  readonly cards: number;
  readonly issue: Issue | null;
}

const nothing: readonly Issue[] = [];
const maxGone = 1_000;
/** As `issueIdOf` writes it. */
const idForm = /^(\d+)#(\d+)$/;

/** The reads of the tracker. An unchanged issue is the same object, an unchanged list the same array. */
export class GithubReader {
  readonly #deps: ReaderDeps;
  readonly #made = new Map<string, Made>();
  readonly #lists = new Map<string, readonly Issue[]>();
  readonly #gone = new Map<string, string>();
  readonly #last = new LastIssues();
  #saidLeftOut: string | null = null;
  /** Lists are read one after the other, so that no answer is older than its request. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: ReaderDeps) {
    this.#deps = deps;
  }

  async byStates(states: readonly string[]): Promise<readonly Issue[]> {
    return tracked(async () => whole(await this.#listed(states, false)));
  }

  async byIds(ids: readonly string[]): Promise<readonly Issue[]> {
    return ids.length === 0 ? nothing : tracked(async () => whole(await this.#byIds(ids)));
  }

  /** One repository of several that cannot be read fails no other. */
  readonly partial = {
    byStates: (states: readonly string[]) =>
      tracked(async () => {
        const read = await this.#listed(states, true);
        if (read.failed.length === this.#deps.repositories.length) whole(read);
        return partOf(read);
      }),
    byIds: (ids: readonly string[]) => tracked(async () => partOf(await this.#byIds(ids))),
  };

  /** Of an id, or of a name that `find` takes. */
  whyGone(id: string): string | null {
    const named = idForm.test(id) ? null : namedIn(this.#deps.repositories, id);
    const home = named?.repository.knownId ?? null;
    const known = named === null || home === null ? id : issueIdOf(home, named.number);
    return this.#gone.get(known) ?? null;
  }

  /** `app-12`, `app#12`, `acme/app#12`, `#12` where there is one repository, or the address of the issue. */
  find(identifier: string): Promise<FoundIssue | null> {
    return tracked(async () => {
      await this.#deps.discover();
      const named = namedIn(this.#deps.repositories, identifier.trim());
      if (named === null) return null;
      const { repository, number } = named;
      const row = await this.#row(repository, number);
      if (row === null) return null;
      await this.#deps.board?.refresh(nodeIdsOf([row]));
      const issue = await this.#required(repository, row);
      const { owner, repo } = repository.place;
      const detail = `${owner}/${repo}`;
      const own: ScopeLine = { gate: "repository", pass: true, detail, opens: null };
      return { issue, scope: [own, ...this.#boardLine(row)] };
    });
  }

  /** Where an issue is. Rejects with `issue_not_found` for one of another repository. */
  async home(id: string): Promise<{ repository: RepositoryIssues; number: number }> {
    const [, home = "", number] = idForm.exec(id) ?? [];
    const repository = await this.homeOf(home);
    if (repository !== null) return { repository, number: Number(number) };
    throw new SymphonyError("issue_not_found", `${id} is of no repository of the scope`);
  }

  /** The repository of an id; null: there is none. Rejects if it may be one that cannot be asked. */
  async homeOf(id: string): Promise<RepositoryIssues | null> {
    await this.#deps.discover();
    const { byId, failed } = await homesOf(this.#deps.repositories);
    const repository = byId.get(id);
    if (repository !== undefined) return repository;
    if (failed[0] !== undefined) throw failed[0].error;
    return null;
  }

  /** Rejects with `issue_not_found`. */
  async require(repository: RepositoryIssues, number: number): Promise<Issue> {
    const row = await this.#row(repository, number);
    await this.#deps.board?.refresh(row === null ? [] : nodeIdsOf([row]));
    if (row !== null) return this.#required(repository, row);
    throw new SymphonyError("issue_not_found", `${repository.place.prefix}-${number} is gone`);
  }

  /** As `find` names it. Rejects with `invalid_request`. */
  async rowNamed(identifier: string): Promise<IssueRow> {
    await this.#deps.discover();
    const named = namedIn(this.#deps.repositories, identifier.trim());
    const row = named === null ? null : await named.repository.one(named.number);
    if (row !== null && !("gone" in row)) return row;
    throw new SymphonyError("invalid_request", `blockedBy: there is no issue ${identifier}`);
  }

  /** The id of the issue that a webhook of the board names by its node; null: of none of the repositories. */
  async idOfNode(nodeId: string, projectId: string | null): Promise<string | null> {
    const found = await this.#deps.board?.issueOf(nodeId, projectId);
    if (!found) return null;
    await this.#deps.discover();
    const [owner = "", repo = ""] = found.place.split("/");
    const home = this.#deps.repositories.find((one) => one.isAt({ owner, repo }));
    return home ? issueIdOf((await home.facts()).id, found.number) : null;
  }

  #listed(states: readonly string[], keeps: boolean): Promise<ReadOfSeveral> {
    const wanted = new Set(states.map(normalState).filter(Boolean));
    if (wanted.size === 0) return Promise.resolve({ issues: nothing, failed: [], left: [] });
    const answer = this.#turn.then(() => this.#byStates(wanted, keeps));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  /** With `keeps` the issues of a repository that cannot be read are those of the last such read, withheld. */
  async #byStates(wanted: ReadonlySet<string>, keeps: boolean): Promise<ReadOfSeveral> {
    const { board, repositories } = this.#deps;
    await board?.read();
    await this.#deps.discover();
    this.#sayLeftOut();
    const found: Issue[] = [];
    const failed: Failed[] = [];
    for (const repository of repositories) {
      try {
        const issues = await this.#ofOne(repository, wanted);
        if (keeps) this.#last.read(repository, issues);
        found.push(...issues);
      } catch (error) {
        const failure = failedAlone(repository, error);
        failed.push(failure);
        if (keeps) found.push(...this.#last.withheld(failure));
      }
    }
    if (this.#made.size > 2 * found.length + maxGone) this.#made.clear();
    const issues = this.#sameList([...wanted].sort().join("\n"), found);
    const left = failed.flatMap(({ repository }) => repository.knownId ?? []).map((id) => `${id}#`);
    return { issues, failed, left };
  }

  async #ofOne(repository: RepositoryIssues, wanted: ReadonlySet<string>) {
    const { board, settings } = this.#deps;
    const isClosed = (state: string) => closingReason(state) !== undefined;
    const mayBeClosed = (state: string) =>
      isClosed(state) || (board !== null && settings.states.terminal.has(state));
    const open = [...wanted].some((state) => !isClosed(state)) ? await repository.open() : [];
    const closed = [...wanted].some(mayBeClosed) ? await repository.closed() : [];
    const context = await this.#context(repository);
    const found: Issue[] = [];
    let malformed = 0;
    for (const row of [...open, ...closed]) {
      // Only those that are asked for are looked at closely: it can cost two requests each.
      const card = this.#cardOf(row);
      if (board !== null && (card === null || card.isArchived)) continue;
      const state = stateOf(row, settings.states, card);
      if (!wanted.has(normalState(state))) continue;
      const issue = await this.#issue(repository, row, context);
      if (issue === null) malformed += 1;
      else found.push(issue);
    }
    if (malformed > 0) this.#deps.onMalformed(malformed);
    return found;
  }

  /** What the last read of the board left out, such as `2 drafts`; null: nothing. */
  leftOut(): string | null {
    const { board, repositories } = this.#deps;
    return board && leftOutOf(board, repositories);
  }

  #sayLeftOut(): void {
    const what = this.leftOut();
    if (what !== null && what !== this.#saidLeftOut) {
      this.#deps.onLeftOut(`${this.#deps.board?.name}: ${what}`);
    }
    this.#saidLeftOut = what;
  }

  async #byIds(ids: readonly string[]): Promise<ReadOfSeveral> {
    await this.#deps.discover();
    const { byId, failed } = await homesOf(this.#deps.repositories);
    const left: string[] = [];
    const leave = (id: string, failure: Failed) => {
      left.push(id);
      if (!failed.some((one) => one.repository === failure.repository)) failed.push(failure);
    };
    const read = [...new Set(ids)].map(async (id) => {
      const [, home = "", number] = idForm.exec(id) ?? [];
      const repository = byId.get(home);
      if (repository === undefined) {
        // It may be of one whose id is not known yet.
        const [first] = failed;
        if (first !== undefined) leave(id, first);
        else this.#leave(id, "of a repository that tracker.provider.repositories does not name");
        return null;
      }
      try {
        const row = await this.#row(repository, Number(number));
        return row && { id, repository, row };
      } catch (error) {
        leave(id, failedAlone(repository, error));
        return null;
      }
    });
    const found = (await Promise.all(read)).filter((one) => one !== null);
    const { board } = this.#deps;
    await board?.refresh(nodeIdsOf(found.map(({ row }) => row)));
    const issues = found.map(async ({ id, repository, row }) => {
      const [line] = this.#boardLine(row);
      if (line?.pass === false) {
        this.#leave(id, line.detail);
        return null;
      }
      return this.#required(repository, row).catch((error: unknown) => {
        leave(id, failedAlone(repository, error));
        return null;
      });
    });
    const known = (await Promise.all(issues)).filter((issue) => issue !== null);
    return { issues: known, failed: left.length === 0 ? [] : failed, left };
  }

  /** null: it is gone. */
  async #row(repository: RepositoryIssues, number: number): Promise<IssueRow | null> {
    const { id: home } = await repository.facts();
    const id = issueIdOf(home, number);
    const row = await repository.one(number);
    if ("gone" in row) {
      this.#made.delete(id);
      this.#leave(id, row.gone);
      return null;
    }
    this.#gone.delete(id);
    return row;
  }

  async #required(repository: RepositoryIssues, row: IssueRow): Promise<Issue> {
    const issue = await this.#issue(repository, row, await this.#context(repository));
    if (issue !== null) return issue;
    // To omit it would mean that the issue is gone, and would stop its run.
    throw new SymphonyError("tracker_response", "GitHub described an issue without a title");
  }

  #cardOf(row: IssueRow): Card | null {
    return this.#deps.board?.card(row.node_id) ?? null;
  }

  /** Whether it is on the board; empty without one. */
  #boardLine(row: IssueRow): readonly ScopeLine[] {
    const { board } = this.#deps;
    if (board === null) return [];
    const card = this.#cardOf(row);
    const title = board.known?.title ?? board.name;
    const [gate, pass, opens] = ["project", false, null] as const;
    if (card === null) {
      const add = `add it to the project ${title}`;
      const hidden = board.others[hiddenItem];
      const more = hidden === 0 ? "" : `, which has ${counted(hidden, hiddenItem)}`;
      return [{ gate, pass, detail: `not in the project ${title}${more}`, opens: add }];
    }
    if (card.isArchived) {
      const restore = `restore it in the project ${title}`;
      return [{ gate, pass, detail: `archived in the project ${title}`, opens: restore }];
    }
    return [{ gate, pass: true, detail: title, opens }];
  }

  async #issue(
    repository: RepositoryIssues,
    row: IssueRow,
    context: RowContext,
  ): Promise<Issue | null> {
    const id = issueIdOf(context.repository.id, row.number);
    const { version } = repository;
    const known = this.#made.get(id);
    const card = this.#cardOf(row);
    const cards = this.#deps.board?.version ?? 0;
    const related = hasRelations(row);
    const isRead = known?.row === row && (!related || known.version === version);
    // A blocker that is closed changes the blocked issue only in the numbers that a later list has of it.
    const parent = context.parentOf(row);
    if (
      isRead &&
      known.parent === parent &&
      known.card === card &&
      (!related || known.cards === cards)
    )
      return known.issue;
    const read = isRead ? known.relations : null;
    const relations = related ? (read ?? (await repository.relations(row))) : noRelations;
    const made = issueOf(row, relations, context);
    const issue = isDeepStrictEqual(known?.issue, made) ? (known?.issue ?? null) : made;
    this.#made.set(id, { row, relations, parent, version, card, cards, issue });
    return issue;
  }

  async #context(repository: RepositoryIssues): Promise<RowContext> {
    const { settings, login } = this.#deps;
    const { id } = await repository.facts();
    const isMe = settings.assignee?.toLowerCase() === "me";
    const assignee = isMe ? await login(repository) : settings.assignee;
    // Without a name every issue would count.
    if (isMe && assignee === null) {
      const path = "tracker.provider.assignee";
      const message = `${path} is me, but the token belongs to no user`;
      const hint = "write a login instead";
      throw new SymphonyError("invalid_tracker_config", message, { details: { path }, hint });
    }
    const cardOf = (row: IssueRow) => this.#cardOf(row);
    const parentOf = (row: IssueRow) => repository.parentOf(row);
    const own = { ...repository.place, id };
    const isOwn: RowContext["isOwn"] = (place) => repository.isAt(place);
    return { settings, repository: own, isOwn, assignee, parentOf, cardOf };
  }

  #sameList(key: string, found: readonly Issue[]): readonly Issue[] {
    const known = this.#lists.get(key);
    if (known && isEqualList(known, found)) return known;
    this.#lists.set(key, found);
    return found;
  }

  #leave(id: string, why: string): void {
    this.#gone.delete(id);
    this.#gone.set(id, why);
    const [oldest] = this.#gone.keys();
    if (oldest !== undefined && this.#gone.size > maxGone) this.#gone.delete(oldest);
  }
}

function isEqualList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((one, at) => one === b[at]);
}
