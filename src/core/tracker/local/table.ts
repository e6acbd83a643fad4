import { type Blocker, type Issue, withoutRelations } from "../../model/issue.ts";
import { type Database, int, intOrNull, type Row, text, textOrNull } from "../../store/database.ts";
import { type BlockerRules, isOpen, waitsForBlockers } from "../blockers.ts";
import type { KeyedComment } from "../tracker.ts";
import type { LocalOptions } from "./settings.ts";

export interface Comment {
  /** Unique in the store. */
  readonly id: string;
  readonly author: string;
  readonly body: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

interface Facts {
  readonly number: number;
  readonly title: string;
  readonly description: string | null;
  readonly priority: number | null;
  readonly state: string;
  readonly labels: readonly string[];
  readonly at: number;
}

interface NewFacts extends Facts {
  readonly id: string;
  readonly identifier: string;
}

const selectBlockers = `SELECT blockers.issue AS number, issues.id, issues.identifier, issues.title,
    issues.state
  FROM blockers JOIN issues ON issues.number = blockers.blocker`;

/** Rows of `issues.db` as normalized issues. Not atomic by itself: callers provide the transaction. */
export class IssueTable {
  readonly #db: Database;
  readonly #blockers: BlockerRules;

  constructor(db: Database, options: LocalOptions) {
    this.#db = db;
    this.#blockers = options.blockers;
  }

  insert(facts: NewFacts): void {
    this.#db.run(
      `INSERT INTO issues VALUES ($number, $id, $identifier, $title, $description, $priority, $state,
        $labels, $at, $at)`,
      { ...columnsOf(facts), id: facts.id, identifier: facts.identifier },
    );
  }

  update(facts: Facts): void {
    this.#db.run(
      `UPDATE issues SET title = $title, description = $description, priority = $priority,
        state = $state, labels = $labels, updated_at = $at WHERE number = $number`,
      columnsOf(facts),
    );
  }

  addComment(
    number: number,
    { author, body, at }: Omit<Comment, "id">,
    key: string | null = null,
  ): Comment {
    const sql = `INSERT INTO comments (issue, author, body, at, key)
      VALUES ($number, $author, $body, $at, $key) RETURNING *`;
    const written = this.#db.get(commentOf, sql, { number, author, body, at, key });
    if (written === null) throw new Error("the comment was not written");
    return written;
  }

  /** True: there is a comment with this key, with the text from now on. */
  editComment(number: number, { key, body }: KeyedComment): boolean {
    const sql = "UPDATE comments SET body = $body WHERE issue = $number AND key = $key RETURNING 1";
    return this.#db.get(() => true, sql, { number, key, body }) ?? false;
  }

  /** Oldest first; only the newest `limit` of them. */
  comments(number: number, limit: number): readonly Comment[] {
    const sql = `SELECT ordinal, author, body, at FROM comments WHERE issue = $number
      ORDER BY ordinal DESC LIMIT $limit`;
    return this.#db.all(commentOf, sql, { number, limit }).toReversed();
  }

  hasComment(number: number, part: string): boolean {
    const sql = "SELECT 1 FROM comments WHERE issue = $number AND instr(body, $part) > 0 LIMIT 1";
    return this.#db.get(() => true, sql, { number, part }) ?? false;
  }

  setBlockers(number: number, blockers: readonly number[]): void {
    this.#db.run("DELETE FROM blockers WHERE issue = $number", { number });
    for (const blocker of blockers) {
      this.#db.run("INSERT INTO blockers VALUES ($number, $blocker)", { number, blocker });
    }
  }

  blocksItself(number: number): boolean {
    const sql = `WITH RECURSIVE ahead (number) AS (
        SELECT blocker FROM blockers WHERE issue = $number
        UNION SELECT blocker FROM blockers JOIN ahead ON blockers.issue = ahead.number
      ) SELECT number FROM ahead WHERE number = $number`;
    return this.#db.get(() => true, sql, { number }) ?? false;
  }

  numberOf(identifier: string): number | null {
    const sql = "SELECT number FROM issues WHERE identifier = $identifier";
    return this.#db.get((row) => int(row, "number"), sql, { identifier: identifier.trim() });
  }

  requireNumber(number: number): Issue {
    const issue = this.#one("SELECT * FROM issues WHERE number = $value", number);
    if (issue === null) throw new Error(`issue number ${number} is gone`);
    return issue;
  }

  byId(id: string): Issue | null {
    return this.#one("SELECT * FROM issues WHERE id = $value", id);
  }

  all(): readonly Issue[] {
    const blockers = new Map<number, Blocker[]>();
    for (const { number, blocker } of this.#db.all(
      (row) => ({ number: int(row, "number"), blocker: blockerOf(row) }),
      `${selectBlockers} ORDER BY blockers.issue, blockers.blocker`,
    )) {
      const known = blockers.get(number);
      if (known) known.push(blocker);
      else blockers.set(number, [blocker]);
    }
    const sql = "SELECT * FROM issues ORDER BY number";
    return this.#db.all((row) => this.#issue(row, blockers.get(int(row, "number")) ?? []), sql);
  }

  #one(sql: string, value: string | number): Issue | null {
    const row = this.#db.get((found) => found, sql, { value });
    if (row === null) return null;
    const blockers = this.#db.all(
      blockerOf,
      `${selectBlockers} WHERE blockers.issue = $number ORDER BY blockers.blocker`,
      { number: int(row, "number") },
    );
    return this.#issue(row, blockers);
  }

  #issue(row: Row, blockedBy: readonly Blocker[]): Issue {
    const state = text(row, "state");
    const waits = waitsForBlockers({ state, stateType: null }, this.#blockers);
    return {
      ...withoutRelations,
      id: text(row, "id"),
      nativeRef: null,
      identifier: text(row, "identifier"),
      title: text(row, "title"),
      description: textOrNull(row, "description"),
      priority: intOrNull(row, "priority"),
      state,
      branchName: null,
      url: null,
      assigneeId: null,
      labels: JSON.parse(text(row, "labels")),
      blockedBy,
      dispatchable: !waits || !blockedBy.some((one) => isOpen(one, this.#blockers)),
      createdAt: int(row, "created_at"),
      updatedAt: int(row, "updated_at"),
    };
  }
}

function columnsOf(facts: Facts) {
  const { number, title, description, priority, state, labels, at } = facts;
  return {
    number,
    title,
    description,
    priority,
    state,
    labels: JSON.stringify(labels),
    at: Math.round(at),
  };
}

function blockerOf(row: Row): Blocker {
  return {
    id: text(row, "id"),
    identifier: text(row, "identifier"),
    title: text(row, "title"),
    state: text(row, "state"),
    url: null,
  };
}

function commentOf(row: Row): Comment {
  const { author, body } = { author: text(row, "author"), body: text(row, "body") };
  return { id: String(int(row, "ordinal")), author, body, at: int(row, "at") };
}

/** Schema of `issues.db`, one step per version. A released step never changes. */
export const issueMigrations: readonly string[] = [
  `
  CREATE TABLE tracker (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL,
    last_number INTEGER NOT NULL
  ) STRICT;
  INSERT INTO tracker VALUES (1, 1, 0);

  CREATE TABLE issues (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    identifier TEXT NOT NULL UNIQUE COLLATE NOCASE,
    title TEXT NOT NULL CHECK (trim(title) <> ''),
    description TEXT,
    priority INTEGER,
    state TEXT NOT NULL CHECK (trim(state) <> ''),
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE blockers (
    issue INTEGER NOT NULL REFERENCES issues (number),
    blocker INTEGER NOT NULL REFERENCES issues (number),
    PRIMARY KEY (issue, blocker)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE comments (
    ordinal INTEGER PRIMARY KEY,
    issue INTEGER NOT NULL REFERENCES issues (number),
    author TEXT NOT NULL,
    body TEXT NOT NULL,
    at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX comments_by_issue ON comments (issue);
  `,
  `
  ALTER TABLE comments ADD COLUMN key TEXT;
  CREATE UNIQUE INDEX comments_by_key ON comments (issue, key) WHERE key IS NOT NULL;
  `,
];
