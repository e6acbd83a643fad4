// Tables of this version of symphony, of an earlier one and of a newer one: which of them a process may use, and how they
// become those of the next. The version is the comment of the schema, so that it stays when all tables are emptied.

import { SymphonyError } from "../model/errors.ts";
import type { Opening } from "./engine.ts";
import type { Pg, Row } from "./packages.ts";
import { jobsSchema, type Tables } from "./tables.ts";

export const tablesQuery = `
SELECT to_regclass('symphony.request') IS NOT NULL AND to_regclass('${jobsSchema}.job') IS NOT NULL AS made,
  to_regnamespace('symphony') IS NOT NULL AS named, obj_description(to_regnamespace('symphony'), 'pg_namespace') AS version`;

/** Another process may change them meanwhile, and a step may take its time. */
export const migrationMs = 60_000;
const lockMs = 5_000;

/** `none`: to be made; `earlier`: to be migrated; a text: why this process may not use them. */
export function standingOf(row: Row, own: Tables): "usable" | "none" | "earlier" | string {
  if (row["named"] !== true) return "none";
  const [, version, usableFrom = version] =
    /^(\d+)(?: (\d+))?$/.exec(String(row["version"] ?? "")) ?? [];
  if (version === undefined) return "has a schema symphony that is not of symphony";
  if (Number(version) < own.version) return "earlier";
  if (own.version >= Number(usableFrom)) return row["made"] === true ? "usable" : "none";
  return `has tables of a newer symphony (their version is ${version}, and this one knows ${own.version})`;
}

/** Throws what a process that makes no tables says of those that it may not use. */
export function requireUsable(
  standing: string,
  { address, tables }: Pick<Opening, "address" | "tables">,
): void {
  if (standing === "usable") return;
  if (standing === "none" || standing === "earlier") {
    if (tables === "any") return;
    const what = standing === "none" ? "no tables of a fleet yet" : "tables of an earlier symphony";
    throw new SymphonyError("engine_unavailable", `the engine at ${address} has ${what}`, {
      hint:
        standing === "none"
          ? "start the server of the fleet first: it makes them"
          : "install this version where the server of the fleet runs and start that first: it migrates them",
    });
  }
  throw new SymphonyError("engine_refused", `the engine at ${address} ${standing}`, {
    hint: standing.includes("newer")
      ? "install the version of symphony that the server of this fleet has, or a later one"
      : "name another database in the URL of the engine",
  });
}

/**
 * Makes or migrates the tables, as a whole or not at all; of several processes at once the first does. Resolves with their
 * standing then.
 */
export async function bringUp(client: Pg, own: Tables): Promise<string> {
  await client.query("BEGIN");
  await client.query("SELECT pg_advisory_xact_lock(hashtext('symphony'), 0)");
  const { rows } = await client.query(tablesQuery);
  const { named, version } = rows[0] ?? {};
  const found = standingOf(rows[0] ?? {}, own);
  const from = Number.parseInt(String(version), 10);
  const migrating = found === "earlier" ? own.steps.slice(from - 1, own.version - 1) : [];
  // What has a table open for long, such as a dump, would have every process wait behind this one.
  await client.query(`SET LOCAL lock_timeout = ${lockMs}`);
  for (const step of named === true ? migrating : [own.make]) await client.query(step);
  if (named !== true || found === "earlier") {
    const since = own.usableFrom === own.version ? "" : ` ${own.usableFrom}`;
    await client.query(`COMMENT ON SCHEMA symphony IS '${own.version}${since}'`);
  }
  await client.query("COMMIT");
  return found === "none" || found === "earlier" ? "usable" : found;
}
