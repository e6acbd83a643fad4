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
];
