import { messageOf } from "../model/errors.ts";
import {
  answerMs,
  type EngineFacts,
  type Opening,
  ofTls,
  type Part,
  type Stream,
} from "./engine.ts";
import type { Pg, PgPool, Row } from "./packages.ts";
import { jobsSchema } from "./tables.ts";

// A PostgreSQL as a fleet sees it: how it is reached, what its errors mean, and what endangers its tables.

/** SQLSTATE of errors that no wait mends, and what does: https://www.postgresql.org/docs/15/errcodes-appendix.html */
const final: readonly (readonly [RegExp, string])[] = [
  [/^28/, "the user or the password of its URL is wrong"],
  [/^3D000$/, "it has no database of the name in its URL"],
];
/** Of pgbouncer and its like: what the fleet waits for (LISTEN) and what BullMQ sets belong to one session. */
const pooled =
  "it is a pooler whose clients share sessions: name PostgreSQL itself in the URL of the engine";
/** The server makes the tables, and everyone else uses them. */
const forbidden = {
  change:
    "its user may not migrate the tables of an earlier symphony: start the server once as the user that made them",
  make: "its user may not do what a fleet needs: GRANT CREATE ON DATABASE … TO …",
  use: `its user may not use the tables of the fleet: take that of the server, or GRANT USAGE ON SCHEMA symphony, ${jobsSchema} and ALL ON ALL TABLES and ALL SEQUENCES IN SCHEMA symphony, ${jobsSchema} TO it`,
};
/** Errors before there is a session have no SQLSTATE, or not one of their own. */
const before: readonly (readonly [RegExp, string])[] = [
  [/unsupported startup parameter|transaction blocks not allowed/, pooled],
  [/does not support SSL/, "it has no TLS: set ssl to on there, or leave sslmode out"],
  ...ofTls,
];

/** For `pg`: nothing of a URL but what is named here becomes an option of it. */
export function settingsOf(url: string): object {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  const part = (text: string) => decodeURIComponent(text) || undefined;
  return {
    host: hostname.replaceAll(/[[\]]/g, ""),
    port: Number(port || 5432),
    user: part(username),
    password: part(password),
    database: part(pathname.slice(1)),
    ssl: searchParams.get("sslmode") === "verify-full",
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    application_name: "symphony",
    connectionTimeoutMillis: answerMs,
    query_timeout: answerMs,
    statement_timeout: answerMs,
  };
}

/** Why no wait mends it; null: it may pass. */
export function finalOf(error: unknown, tables: Opening["tables"]): string | null {
  const code = codeOf(error);
  if (error instanceof Error && error.name === "SchemaVersionMismatchError")
    return "its tables are those of a newer symphony: install that version here";
  if (isForbidden(error) && /must be owner/.test(messageOf(error))) return forbidden.change;
  if (isForbidden(error)) return tables === "make" ? forbidden.make : forbidden.use;
  const found =
    final.find(([form]) => form.test(code)) ??
    before.find(([form]) => form.test(`${messageOf(error)} ${code}`));
  return found?.[1] ?? null;
}

/** The SQLSTATE, or the system's code. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** There is no such schema, table or function; BullMQ says so of its schema by a name alone. */
export function isEmptied(error: unknown): boolean {
  const isOfJobs = error instanceof Error && error.name === "SchemaMigrationRequiredError";
  return isOfJobs || /^(3F000|42P01|42883)$/.test(codeOf(error));
}

/** The user may not do it. */
export function isForbidden(error: unknown): boolean {
  return codeOf(error) === "42501";
}

/** Why a fleet cannot work with the database that the connections lead to, although it answers; null: it can. */
export async function unfitness(pool: PgPool): Promise<string | null> {
  const { rows } = await pool.query(
    "SELECT pg_is_in_recovery() AS replica, current_setting('transaction_read_only') AS read_only",
  );
  if (rows[0]?.["replica"] === true)
    return "it is a replica, which takes no writes: name its primary in the URL of the engine";
  if (rows[0]?.["read_only"] === "on")
    return "it is read-only: set default_transaction_read_only to off, for its user, its database or the whole server";
  return (await keepsSessions(pool)) ? null : pooled;
}

/** A pooler gives a session to whoever needs one next: twice in turn, or what one client had last to another. */
async function keepsSessions(pool: PgPool): Promise<boolean> {
  const one = await pool.connect();
  const other = await pool.connect();
  try {
    const seen = [await sessionOf(one), await sessionOf(one)];
    await other.query("BEGIN");
    seen.push(await sessionOf(one));
    await other.query("ROLLBACK");
    return new Set(seen).size === 1;
  } finally {
    one.release();
    other.release();
  }
}

async function sessionOf(client: Pg): Promise<unknown> {
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  return rows[0]?.["pid"];
}

export const factsQuery = `
SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
  current_setting('full_page_writes') AS full_page_writes, current_setting('max_connections') AS most,
  current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity) AS free,
  (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname IN ('symphony', '${jobsSchema}')) AS dead,
  oldest.pid AS oldest_pid, oldest.usename AS oldest_user, extract(epoch FROM clock_timestamp() - oldest.xact_start) AS oldest_s
FROM (SELECT 1) AS one LEFT JOIN (
  SELECT pid, usename, xact_start FROM pg_stat_activity
  WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1
) AS oldest ON true`;

export function factsIn(row: Row): EngineFacts {
  const fact = (name: string) => (row[name] == null ? null : String(row[name]));
  const faults: (readonly [string, string])[] = [];
  if (fact("fsync") === "off" || fact("full_page_writes") === "off") {
    const what =
      "does not wait for its disk (fsync, full_page_writes): a crash may lose or break its tables";
    faults.push([what, "set both to on in postgresql.conf"]);
  }
  const oldest = Number(fact("oldest_s") ?? 0);
  if (oldest > 600) {
    const who = `a transaction of ${fact("oldest_user")} (process ${fact("oldest_pid")}) that is ${Math.round(oldest / 60)} minutes old`;
    faults.push([
      `cannot clean its tables up because of ${who}: it becomes slower (${fact("dead") ?? 0} dead rows)`,
      `select pg_terminate_backend(${fact("oldest_pid")}), if nothing needs it`,
    ]);
  }
  if (Number(fact("free") ?? 100) < 20) {
    const what = `has ${fact("free")} of ${fact("most")} connections left; a worker needs five`;
    faults.push([what, "raise max_connections in postgresql.conf"]);
  }
  return { name: `PostgreSQL ${fact("version")}`, faults };
}

export function nameOf({ way, worker }: Stream): string {
  return `${way}:${worker}`;
}

export function partOf(row: Row): Part {
  const data = bytesOf(row["data"]) ?? Buffer.alloc(0);
  return {
    run: String(row["run"]),
    seq: Number(row["seq"]),
    isLast: row["is_last"] === true,
    data,
  };
}

export function bytesOf(value: unknown): Buffer | null {
  return Buffer.isBuffer(value) ? value : null;
}

export function textOf(value: unknown): string | null {
  return value == null ? null : String(value);
}
