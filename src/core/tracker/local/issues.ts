import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { type CommentList, type Issue, type IssueName, normalState } from "../../model/issue.ts";
import { type Database, int, openDatabase } from "../../store/database.ts";
import { makeDataDir } from "../../store/lock.ts";
import { nearestName } from "../../text/nearest.ts";
import { commentList, maxComments, maxNewComments } from "../normalize.ts";
import type { KeyedComment, TimedComment } from "../tracker.ts";
import {
  type IssueEdit,
  issueFromMarkdown,
  type NewComment,
  type NewIssue,
  parseComment,
  parseIssueEdit,
  parseNewIssue,
} from "./input.ts";
import { type LocalOptions, stateNamed } from "./settings.ts";
import { type Comment, IssueTable, issueMigrations } from "./table.ts";

/**
 * The local tracker's issues. Several processes may use one store. A write is on disk when its call returns.
 * Calls throw `invalid_request`, `issue_not_found`, `storage_unavailable` or `storage_corrupt`. Identifiers ignore case.
 */
export interface LocalIssues {
  create(input: NewIssue): Issue;
  edit(identifier: string, change: IssueEdit): Issue;
  comment(identifier: string, comment: NewComment): Comment;
  /** Symphony's own comment, one for each key. */
  writeOwn(identifier: string, comment: KeyedComment): void;
  /** Creates an issue from a Markdown file. */
  importFile(path: string): Issue;
  get(identifier: string): Issue | null;
  /** In order of creation; `states` ignore case; default: all states. */
  list(states?: readonly string[]): readonly Issue[];
  /** In the order of the ids, each once; unknown ids are omitted. */
  byIds(ids: readonly string[]): readonly Issue[];
  /** The newest, oldest first. */
  comments(identifier: string): CommentList;
  /** The newest, oldest first, with their ids. */
  newComments(issue: IssueName): readonly TimedComment[];
  /** Whether a comment holds this text. */
  hasComment(identifier: string, text: string): boolean;
  /** Grows with every write of any process. */
  version(): number;
  close(): void;
}

/** Authors that are no people: agents with the tracker's tool, and symphony itself. */
const ownAuthors: ReadonlySet<string> = new Set(["agent", "symphony"]);

function byOf({ author }: Pick<Comment, "author">): "own" | "person" {
  return ownAuthors.has(author) ? "own" : "person";
}

/** The file in which the local tracker stores its issues. */
export function issuesFile(dataDir: string): string {
  return join(dataDir, "issues.db");
}

/** Opens the store; creates it, and the data directory, if missing. Needs no lock. */
export function openLocalIssues(dataDir: string, options: LocalOptions, clock: Clock): LocalIssues {
  makeDataDir(dataDir);
  const file = issuesFile(dataDir);
  const db = openDatabase(file, { migrations: issueMigrations, synchronous: "FULL" });
  return new IssueStore(db, options, clock);
}

class IssueStore implements LocalIssues {
  readonly #db: Database;
  readonly #table: IssueTable;
  readonly #options: LocalOptions;
  readonly #clock: Clock;

  constructor(db: Database, options: LocalOptions, clock: Clock) {
    this.#db = db;
    this.#table = new IssueTable(db, options);
    this.#options = options;
    this.#clock = clock;
  }

  create(input: NewIssue): Issue {
    const issue = parseNewIssue(input);
    const state = this.#requireState(issue.state ?? this.#options.states[0]?.name ?? "");
    return this.#write(() => {
      const number = this.#nextNumber();
      this.#table.insert({
        number,
        id: `iss_${randomUUID()}`,
        identifier: `${this.#options.prefix}-${number}`,
        title: issue.title,
        description: issue.description ?? null,
        priority: issue.priority ?? null,
        state,
        labels: issue.labels ?? [],
        at: this.#clock.wall(),
      });
      this.#block(number, issue.blockedBy ?? []);
      return this.#table.requireNumber(number);
    });
  }

  edit(identifier: string, input: IssueEdit): Issue {
    const change = parseIssueEdit(input);
    const state = change.state === undefined ? undefined : this.#requireState(change.state);
    return this.#write(() => {
      const number = this.#requireNumber(identifier);
      const issue = this.#table.requireNumber(number);
      this.#table.update({
        number,
        title: change.title ?? issue.title,
        description: change.description === undefined ? issue.description : change.description,
        priority: change.priority === undefined ? issue.priority : change.priority,
        state: state ?? issue.state,
        labels: change.labels ?? issue.labels,
        at: this.#clock.wall(),
      });
      if (change.blockedBy) this.#block(number, change.blockedBy);
      return this.#table.requireNumber(number);
    });
  }

  comment(identifier: string, input: NewComment): Comment {
    const { author, body } = parseComment(input);
    return this.#write(() => {
      const comment = { author, body, at: Math.round(this.#clock.wall()) };
      return this.#table.addComment(this.#requireNumber(identifier), comment);
    });
  }

  writeOwn(identifier: string, { key, body }: KeyedComment): void {
    this.#write(() => {
      const number = this.#requireNumber(identifier);
      if (this.#table.editComment(number, { key, body })) return;
      const at = Math.round(this.#clock.wall());
      this.#table.addComment(number, { author: "symphony", body, at }, key);
    });
  }

  importFile(path: string): Issue {
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (cause) {
      const message = `Cannot read ${path}: ${messageOf(cause)}`;
      throw new SymphonyError("invalid_request", message, { cause });
    }
    return this.create(issueFromMarkdown(text));
  }

  get(identifier: string): Issue | null {
    const number = this.#table.numberOf(identifier);
    return number === null ? null : this.#table.requireNumber(number);
  }

  list(states?: readonly string[]): readonly Issue[] {
    const all = this.#db.snapshot(() => this.#table.all());
    if (!states) return all;
    const wanted = new Set(states.map(normalState));
    return all.filter((issue) => wanted.has(normalState(issue.state)));
  }

  byIds(ids: readonly string[]): readonly Issue[] {
    const unique = [...new Set(ids)];
    return this.#db.snapshot(() => unique.flatMap((id) => this.#table.byId(id) ?? []));
  }

  newComments({ id, identifier }: IssueName): readonly TimedComment[] {
    const found = this.#table.comments(this.#requireNumber(identifier), maxNewComments);
    return found.map(({ at, ...comment }) => ({
      ...comment,
      issueId: id,
      by: byOf(comment),
      createdAt: at,
    }));
  }

  comments(identifier: string): CommentList {
    const found = this.#table.comments(this.#requireNumber(identifier), maxComments + 1);
    const rows = found.map(({ author, body, at }) => ({
      author,
      by: byOf({ author }),
      body,
      createdAt: at,
    }));
    return commentList(rows, false);
  }

  hasComment(identifier: string, text: string): boolean {
    return this.#table.hasComment(this.#requireNumber(identifier), text);
  }

  version(): number {
    const sql = "SELECT version FROM tracker";
    return this.#db.get((row) => int(row, "version"), sql) ?? 0;
  }

  close(): void {
    this.#db.close();
  }

  #write<T>(work: () => T): T {
    return this.#db.transaction(() => {
      this.#db.run("UPDATE tracker SET version = version + 1");
      return work();
    });
  }

  /** Counted separately from the issues, so that no number is used twice. */
  #nextNumber(): number {
    const sql = "UPDATE tracker SET last_number = last_number + 1 RETURNING last_number AS number";
    const number = this.#db.get((row) => int(row, "number"), sql);
    if (number === null) throw new Error("the tracker's own row is missing");
    return number;
  }

  #block(number: number, identifiers: readonly string[]): void {
    const blockers = identifiers.map((identifier) => {
      const blocker = this.#table.numberOf(identifier);
      if (blocker !== null) return blocker;
      throw new SymphonyError("invalid_request", `blockedBy: there is no issue ${identifier}`, {
        details: { identifier },
      });
    });
    this.#table.setBlockers(number, [...new Set(blockers)]);
    if (!this.#table.blocksItself(number)) return;
    throw new SymphonyError("invalid_request", "blockedBy: the issue would block itself");
  }

  #requireNumber(identifier: string): number {
    const number = this.#table.numberOf(identifier);
    if (number !== null) return number;
    throw new SymphonyError("issue_not_found", `There is no issue ${identifier}`, {
      details: { identifier },
    });
  }

  #requireState(name: string): string {
    const state = stateNamed(this.#options, name);
    if (state) return state.name;
    const allowed = this.#options.states.map((known) => known.name);
    const meant = nearestName(name, allowed);
    throw new SymphonyError("invalid_request", `state: must be one of ${allowed.join(", ")}`, {
      details: { allowed },
      ...(meant !== null && { hint: `did you mean ${meant}?` }),
    });
  }
}
