// The tables of fleets in a PostgreSQL, and each step on them that has to happen as a whole. `engine.ts` says what they
// promise. Times are those of the database's clock.

/** The schema of BullMQ's tables, which holds nothing else. */
export const jobsSchema = "symphony_jobs";

export interface Tables {
  readonly version: number;
  /**
   * The earliest version whose processes may use these tables too. A change that they may not use drops the functions `hold` and
   * `observe` under their earlier names: then those that run notice it, and say why they end.
   */
  readonly usableFrom: number;
  /** Makes those of `version` in a database without. */
  readonly make: string;
  /** The first turns version 1 into 2, and so on. */
  readonly steps: readonly string[];
}

/** What nothing has asked for is swept then. */
const kept = "interval '1 hour'";
const now = "clock_timestamp()";

const makeTables = `
CREATE SCHEMA symphony;
CREATE TABLE symphony.lead (fleet text PRIMARY KEY, lead text NOT NULL, until timestamptz NOT NULL);
CREATE TABLE symphony.lease (
  fleet text, worker text, instance text NOT NULL, presence bytea NOT NULL, until timestamptz NOT NULL,
  PRIMARY KEY (fleet, worker)
) WITH (fillfactor = 50);
CREATE TABLE symphony.note (
  fleet text, kind text, of text, value bytea NOT NULL, until timestamptz,
  PRIMARY KEY (fleet, kind, of)
);
CREATE TABLE symphony.part (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fleet text NOT NULL, stream text NOT NULL, run text NOT NULL,
  seq bigint NOT NULL, is_last boolean NOT NULL, data bytea NOT NULL, at timestamptz NOT NULL DEFAULT ${now}
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX part_stream ON symphony.part (fleet, stream, id);
-- It is encrypted: nothing in it can be made smaller.
ALTER TABLE symphony.part ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE symphony.request (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fleet text NOT NULL, invitation text NOT NULL, sealed bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT ${now}
);

-- One step of a fleet at a time, as in an engine with one thread.
CREATE FUNCTION symphony.enter(f text) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtext('symphony'), hashtext(f));
$$;
CREATE FUNCTION symphony.lead_of(f text) RETURNS text LANGUAGE sql AS $$
  SELECT lead FROM symphony.lead WHERE fleet = f AND until > ${now};
$$;
CREATE FUNCTION symphony.holder_of(f text, w text) RETURNS text LANGUAGE sql AS $$
  SELECT instance FROM symphony.lease WHERE fleet = f AND worker = w AND until > ${now};
$$;
CREATE FUNCTION symphony.after(ms bigint) RETURNS timestamptz LANGUAGE sql AS $$
  SELECT ${now} + ms * interval '1 millisecond';
$$;

CREATE FUNCTION symphony.observe(f text, mine text, ms bigint, workers text[])
RETURNS TABLE (answer text, presences bytea[]) LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
  PERFORM symphony.enter(f);
  found := symphony.lead_of(f);
  -- The same holder may lead on with another lease.
  IF found <> mine AND (
    substring(found from '\\|(.*)\\|[^|]*$') IS DISTINCT FROM substring(mine from '\\|(.*)\\|[^|]*$')
    OR split_part(found, '|', 1)::numeric > split_part(mine, '|', 1)::numeric
  ) THEN
    answer := 'held ' || found;
  ELSE
    INSERT INTO symphony.lead VALUES (f, mine, symphony.after(ms))
      ON CONFLICT (fleet) DO UPDATE SET lead = excluded.lead, until = excluded.until;
    answer := CASE WHEN found = mine THEN 'kept' ELSE 'taken' END;
  END IF;
  presences := ARRAY(
    SELECT l.presence FROM unnest(workers) WITH ORDINALITY AS w (id, at)
    LEFT JOIN symphony.lease l ON l.fleet = f AND l.worker = w.id AND l.until > ${now}
    ORDER BY w.at
  );
  RETURN NEXT;
END $$;

-- before: what may be replaced; null: renews what is there.
CREATE FUNCTION symphony.hold(f text, w text, epoch text, mine text, ms bigint, said bytea, before text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE leads text; holder text;
BEGIN
  PERFORM symphony.enter(f);
  leads := split_part(symphony.lead_of(f), '|', 1);
  IF leads IS NULL THEN RETURN 'no lead'; END IF;
  IF leads <> epoch THEN RETURN 'lead ' || leads; END IF;
  holder := symphony.holder_of(f, w);
  IF before IS NULL AND holder IS NULL THEN RETURN 'gone'; END IF;
  IF holder <> coalesce(before, mine) AND (before IS NULL OR holder <> '') THEN RETURN 'held'; END IF;
  INSERT INTO symphony.lease VALUES (f, w, mine, said, symphony.after(ms))
    ON CONFLICT (fleet, worker) DO UPDATE
    SET instance = excluded.instance, presence = excluded.presence, until = excluded.until;
  RETURN 'ok ' || coalesce((SELECT ceil(extract(epoch FROM until - ${now}) * 1000)::bigint
    FROM symphony.lead WHERE fleet = f), 0);
END $$;
CREATE FUNCTION symphony.give_back(f text, w text, mine text, ms bigint, said bytea)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM symphony.enter(f);
  IF symphony.holder_of(f, w) IS DISTINCT FROM mine THEN RETURN 'held'; END IF;
  UPDATE symphony.lease SET instance = '', presence = said, until = symphony.after(ms)
    WHERE fleet = f AND worker = w;
  RETURN 'ok';
END $$;

-- Not waited for on the disk: what a crash of the database loses of them is noticed by its number, and ends the attempt.
CREATE FUNCTION symphony.append(
  f text, s text, r text, number bigint, last boolean, bytes bytea, channel text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO symphony.part (fleet, stream, run, seq, is_last, data) VALUES (f, s, r, number, last, bytes);
  PERFORM pg_notify(channel, '');
END $$;

CREATE FUNCTION symphony.ask(f text, inv text, bytes bytea, most int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE made bigint;
BEGIN
  INSERT INTO symphony.request (fleet, invitation, sealed) VALUES (f, inv, bytes) RETURNING id INTO made;
  DELETE FROM symphony.request WHERE id IN (
    SELECT id FROM symphony.request WHERE fleet = f ORDER BY id DESC OFFSET most
  );
  RETURN made;
END $$;
`;

/** Each change of what `make` makes is a step too, which turns the tables of the version before into the new ones. */
export const ownTables: Tables = { version: 1, usableFrom: 1, make: makeTables, steps: [] };

/** As many parts are swept at once: each may be large. */
export const sweptAtOnce = 200;

/**
 * What nothing needs any more. Each is a transaction of its own, which holds no lock on what another one deletes; one that
 * returns `sweptAtOnce` rows has more to do.
 */
export const sweeps: readonly string[] = [
  `DELETE FROM symphony.lead WHERE until < ${now}`,
  `DELETE FROM symphony.lease WHERE until < ${now}`,
  `DELETE FROM symphony.note WHERE until < ${now}`,
  `DELETE FROM symphony.part WHERE id IN (
    SELECT id FROM symphony.part WHERE at < ${now} - ${kept} LIMIT ${sweptAtOnce}
  ) RETURNING id`,
  `DELETE FROM symphony.request WHERE at < ${now} - ${kept}`,
  `DELETE FROM ${jobsSchema}.event
    WHERE created_at_ms < extract(epoch FROM ${now} - ${kept}) * 1000`,
  `DELETE FROM ${jobsSchema}.job
    WHERE coalesce(locked_until_ms, added_at_ms) < extract(epoch FROM ${now} - interval '1 day') * 1000`,
];
