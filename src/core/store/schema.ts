/** Schema of `history.db`, one step per version. A released step never changes; a new one is added below it. */
export const historyMigrations: readonly string[] = [
  `
  CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    issue_id TEXT NOT NULL,
    issue_identifier TEXT NOT NULL COLLATE NOCASE,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    input INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning_output INTEGER NOT NULL,
    total INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  CREATE INDEX attempts_by_issue ON attempts (issue_id, id);
  CREATE INDEX attempts_by_identifier ON attempts (issue_identifier, id);
  CREATE INDEX attempts_open ON attempts (id) WHERE ended_at IS NULL;

  CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    issue_id TEXT,
    issue_identifier TEXT COLLATE NOCASE,
    attempt_id TEXT,
    session_id TEXT,
    message TEXT NOT NULL,
    data TEXT NOT NULL
  ) STRICT;
  -- Each index ends in the rowid, which is seq: a page by key needs no sort at any depth.
  CREATE INDEX events_by_issue ON events (issue_id) WHERE issue_id IS NOT NULL;
  CREATE INDEX events_by_identifier ON events (issue_identifier) WHERE issue_identifier IS NOT NULL;
  CREATE INDEX events_by_attempt ON events (attempt_id) WHERE attempt_id IS NOT NULL;
  CREATE INDEX events_by_type ON events (type);

  CREATE TABLE steers (
    ordinal INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    issue_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    message TEXT NOT NULL,
    key TEXT,
    at INTEGER NOT NULL,
    delivered INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX steers_by_key ON steers (issue_id, key) WHERE key IS NOT NULL;
  CREATE INDEX steers_waiting ON steers (issue_id) WHERE delivered = 0;

  CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
  ) STRICT;
  `,
  `
  -- Each holds all that its filters ask for, in the order of the log: a page at any depth reads an index alone.
  CREATE INDEX audit_in_order ON audit (seq, at);
  CREATE INDEX audit_by_actor ON audit (actor, seq, at);
  CREATE INDEX audit_by_action ON audit (action, seq, actor, at);
  CREATE INDEX audit_by_target ON audit (target COLLATE NOCASE, seq, action, actor, at);
  `,
  `
  -- What is about to be done. Its entry takes it out; what a crash leaves here gets one at the next start.
  CREATE TABLE audit_intents (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    detail TEXT NOT NULL
  ) STRICT;
  `,
  `
  -- The key that an entry's hash is made with; NULL: a plain SHA-256, as before there were keys.
  ALTER TABLE audit ADD COLUMN kid TEXT;
  `,
  `
  -- The newest issues that were completed, for the list that a restart shows again.
  CREATE TABLE completed (
    ordinal INTEGER PRIMARY KEY,
    issue_id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
  ) STRICT;
  `,
  `
  -- The sums of attempts that were removed for their age: totals never shrink.
  CREATE TABLE removed_attempts (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    input INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning_output INTEGER NOT NULL,
    total INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL
  ) STRICT;
  INSERT INTO removed_attempts VALUES (1, 0, 0, 0, 0, 0, 0);
  `,
  `
  -- What was used on each day, told apart by attempt and model; attempts from before it count on the day they began.
  CREATE TABLE usage (
    day TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    model TEXT NOT NULL,
    agent TEXT NOT NULL,
    issue_id TEXT NOT NULL,
    issue_identifier TEXT NOT NULL COLLATE NOCASE,
    input INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning_output INTEGER NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (day, attempt_id, model)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX usage_by_issue ON usage (issue_id, attempt_id);
  INSERT INTO usage SELECT date(started_at / 1000, 'unixepoch'), id,
      coalesce(json_extract(body, '$.model'), ''), json_extract(body, '$.agent'), issue_id,
      issue_identifier, input, cached_input, output, reasoning_output, total
    FROM attempts WHERE total > 0;
  `,
  `
  -- Names that an attempt's issue had when the attempt was saved before: an issue keeps them when it moves to another team.
  CREATE TABLE earlier_identifiers (
    identifier TEXT NOT NULL COLLATE NOCASE,
    issue_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    PRIMARY KEY (identifier, issue_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX earlier_identifiers_by_issue ON earlier_identifiers (issue_id);
  `,
  `
  -- For each run of 2,048 events, and each key in it, the numbers of its events: written once, in order. The newest run is in memory only.
  CREATE TABLE event_runs (
    run INTEGER NOT NULL,
    key TEXT NOT NULL,
    seqs TEXT NOT NULL,
    PRIMARY KEY (run, key)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO event_runs
    SELECT run, key, json_group_array(seq ORDER BY seq) FROM (
      SELECT seq >> 11 AS run, seq, 'type ' || type AS key FROM events
      UNION ALL SELECT seq >> 11, seq, 'issue ' || issue_id FROM events WHERE issue_id IS NOT NULL
      UNION ALL SELECT seq >> 11, seq, 'name ' || lower(issue_identifier) FROM events WHERE issue_identifier IS NOT NULL
      UNION ALL SELECT seq >> 11, seq, 'attempt ' || attempt_id FROM events WHERE attempt_id IS NOT NULL
    )
    WHERE run < (SELECT max(seq) >> 11 FROM events) GROUP BY run, key;
  DROP INDEX events_by_issue;
  DROP INDEX events_by_identifier;
  DROP INDEX events_by_attempt;
  DROP INDEX events_by_type;
  `,
];
