import { issueIdOf } from "../../github/settings.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type Issue, normalState } from "../../model/issue.ts";
import type { FoundIssue } from "../tracker.ts";
import { tracked } from "./errors.ts";
import type { RepositoryIssues } from "./repository.ts";
import {
  closingReason,
  hasRelations,
  type IssueRow,
  isSamePlace,
  issueOf,
  noRelations,
  type Relations,
  type RowContext,
  stateOf,
} from "./rows.ts";
import type { GithubTrackerSettings } from "./settings.ts";

export interface ReaderDeps {
  readonly settings: GithubTrackerSettings;
  readonly repositories: readonly RepositoryIssues[];
  login(repository: RepositoryIssues): Promise<string | null>;
  readonly onMalformed: (count: number) => void;
}

/** An issue that is known, and what it was made of: the same parts make the same object. */
interface Made {
  readonly row: IssueRow;
  readonly relations: Relations;
  /** Of the repository when its relations were read. */
  readonly version: number;
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
  /** Lists are read one after the other, so that no answer is older than its request. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: ReaderDeps) {
    this.#deps = deps;
  }

  byStates(states: readonly string[]): Promise<readonly Issue[]> {
    const wanted = new Set(states.map(normalState).filter(Boolean));
    if (wanted.size === 0) return Promise.resolve(nothing);
    const answer = this.#turn.then(() => tracked(() => this.#byStates(wanted)));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  byIds(ids: readonly string[]): Promise<readonly Issue[]> {
    return ids.length === 0 ? Promise.resolve(nothing) : tracked(() => this.#byIds(ids));
  }

  whyGone(id: string): string | null {
    return this.#gone.get(id) ?? null;
  }

  /** `app-12`, `app#12`, `acme/app#12`, `#12` where there is one repository, or the address of the issue. */
  find(identifier: string): Promise<FoundIssue | null> {
    return tracked(async () => {
      const named = this.#named(identifier.trim());
      if (named === null) return null;
      const { repository, number } = named;
      const issue = await this.#one(repository, number);
      if (issue === null) return null;
      const { owner, repo } = repository.place;
      const detail = `${owner}/${repo}`;
      return { issue, scope: [{ gate: "repository", pass: true, detail, opens: null }] };
    });
  }

  /** Where an issue is. Rejects with `issue_not_found` for one of another repository. */
  async home(id: string): Promise<{ repository: RepositoryIssues; number: number }> {
    const [, home, number] = idForm.exec(id) ?? [];
    for (const repository of this.#deps.repositories) {
      if (String((await repository.facts()).id) === home)
        return { repository, number: Number(number) };
    }
    throw new SymphonyError("issue_not_found", `${id} is of no repository of the scope`);
  }

  /** Rejects with `issue_not_found`. */
  async require(repository: RepositoryIssues, number: number): Promise<Issue> {
    const issue = await this.#one(repository, number);
    if (issue !== null) return issue;
    throw new SymphonyError("issue_not_found", `${repository.place.prefix}-${number} is gone`);
  }

  /** As `find` names it. Rejects with `invalid_request`. */
  async rowNamed(identifier: string): Promise<IssueRow> {
    const named = this.#named(identifier.trim());
    const row = named === null ? null : await named.repository.one(named.number);
    if (row !== null && !("gone" in row)) return row;
    throw new SymphonyError("invalid_request", `blockedBy: there is no issue ${identifier}`);
  }

  async #byStates(wanted: ReadonlySet<string>): Promise<readonly Issue[]> {
    const isClosed = (state: string) => closingReason(state) !== undefined;
    const closed = [...wanted].some(isClosed);
    const open = [...wanted].some((state) => !isClosed(state));
    const found: Issue[] = [];
    let malformed = 0;
    for (const repository of this.#deps.repositories) {
      const rows = [
        ...(open ? await repository.open() : []),
        ...(closed ? await repository.closed() : []),
      ];
      const context = await this.#context(repository);
      for (const row of rows) {
        // Only those that are asked for are looked at closely: it can cost two requests each.
        const state = stateOf(row, this.#deps.settings.states);
        if (!wanted.has(normalState(state))) continue;
        const issue = await this.#issue(repository, row, context);
        if (issue === null) malformed += 1;
        else found.push(issue);
      }
    }
    if (malformed > 0) this.#deps.onMalformed(malformed);
    if (this.#made.size > 2 * found.length + maxGone) this.#made.clear();
    return this.#sameList([...wanted].sort().join("\n"), found);
  }

  async #byIds(ids: readonly string[]): Promise<readonly Issue[]> {
    const homes = await Promise.all(
      this.#deps.repositories.map(async (one) => [(await one.facts()).id, one] as const),
    );
    const byRepository = new Map(homes.map(([id, one]) => [String(id), one]));
    const read = [...new Set(ids)].map(async (id) => {
      const [, home = "", number] = idForm.exec(id) ?? [];
      const repository = byRepository.get(home);
      if (repository === undefined) {
        this.#leave(id, "of a repository that tracker.provider.repositories does not name");
        return null;
      }
      return this.#one(repository, Number(number));
    });
    return (await Promise.all(read)).filter((issue) => issue !== null);
  }

  async #one(repository: RepositoryIssues, number: number): Promise<Issue | null> {
    const context = await this.#context(repository);
    const id = issueIdOf(context.repository.id, number);
    const row = await repository.one(number);
    if ("gone" in row) {
      this.#made.delete(id);
      this.#leave(id, row.gone);
      return null;
    }
    this.#gone.delete(id);
    const issue = await this.#issue(repository, row, context);
    if (issue !== null) return issue;
    // To omit it would mean that the issue is gone, and would stop its run.
    throw new SymphonyError("tracker_response", "GitHub described an issue without a title");
  }

  async #issue(
    repository: RepositoryIssues,
    row: IssueRow,
    context: RowContext,
  ): Promise<Issue | null> {
    const id = issueIdOf(context.repository.id, row.number);
    const { version } = repository;
    const known = this.#made.get(id);
    const isSame = known?.row === row;
    // A blocker that is closed changes the blocked issue only in the numbers that a later list has of it.
    if (isSame && (!hasRelations(row) || known.version === version)) return known.issue;
    const relations = hasRelations(row) ? await repository.relations(row) : noRelations;
    const isEqualToo = isSame && isEqual(known.relations, relations);
    const issue = isEqualToo ? known.issue : issueOf(row, relations, context);
    this.#made.set(id, { row, relations, version, issue });
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
    return { settings, repository: { ...repository.place, id }, assignee };
  }

  #named(text: string): { readonly repository: RepositoryIssues; readonly number: number } | null {
    const { repositories } = this.#deps;
    const form =
      /^(?:https:\/\/[^/]+\/)?(?:(?:([^/#\s]+)\/)?([^/#\s]+?))??(?:\/issues\/|[#-]|^)(\d{1,9})$/;
    const [, owner, name, digits] = form.exec(text) ?? [];
    if (digits === undefined) return null;
    // A name that two of them have stands for neither.
    const [repository, ...others] = repositories.filter(({ place }) => {
      if (name === undefined) return repositories.length === 1;
      if (owner !== undefined) return isSamePlace({ owner, repo: name }, place);
      return [place.prefix, place.repo].some((one) => one.toLowerCase() === name.toLowerCase());
    });
    if (repository === undefined || others.length > 0) return null;
    return { repository, number: Number(digits) };
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

function isEqual(a: Relations, b: Relations): boolean {
  return isEqualList(a.blockedBy, b.blockedBy) && isEqualList(a.subIssues, b.subIssues);
}

function isEqualList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((one, at) => one === b[at]);
}
