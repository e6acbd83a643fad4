import type { Command } from "commander";
import type { z } from "zod";
import type { AuditEntryView } from "../contract/audit.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type CommandContext, findDataDir, type Run } from "./context.ts";
import { closest, exitCodes } from "./failure.ts";
import { examples } from "./help.ts";
import { numberOption } from "./input.ts";
import { type Cell, parseDuration, tableLines } from "./output.ts";

type Entry = z.output<typeof AuditEntryView>;
type Actor = Entry["actor"];

interface AuditOptions {
  readonly issue?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit?: string;
  readonly offset?: string;
}

const actors: readonly Actor[] = ["cli", "api", "webhook", "tracker", "orchestrator"];

export function declareAudit(command: Command, run: Run): void {
  examples(
    command,
    "symphony audit --issue ENG-123",
    "symphony audit --actor orchestrator --since 24h --json",
    "symphony audit verify",
  )
    .option("--issue <id>", "only what was done to this issue")
    .option("--actor <name>", `only by ${actors.join(", ")}`)
    .option("--action <name>", "only this action, such as issues.abort or issue.held")
    .option("--since <when>", "only from then on: a duration such as 24h, or a time (RFC 3339)")
    .option("--until <when>", "only before then: a duration ago, or a time")
    .option("--limit <n>", "entries at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "entries to pass over (default: 0)")
    .action((options: AuditOptions) => run((context) => listAudit(options, context)));
  examples(
    command
      .command("verify")
      .description("check that no entry of the log was edited, dropped, reordered or cut off"),
    "symphony audit verify",
    "symphony audit verify --data-dir /srv/project/.symphony --json",
  ).action(() => run(verifyAuditLog));
}

async function listAudit(options: AuditOptions, context: CommandContext): Promise<number> {
  const query = {
    ...numberOption("limit", options.limit),
    ...numberOption("offset", options.offset),
    issue: options.issue,
    actor: actorOf(options.actor),
    action: options.action,
    since: timeOf("--since", options.since),
    until: timeOf("--until", options.until),
  };
  const client = await context.client();
  const page = await client.audit.list({ query });
  if (context.json) {
    context.printJson(page);
    return exitCodes.done;
  }
  const columns = [
    { title: "SEQ", align: "right" },
    { title: "AT" },
    { title: "ACTOR" },
    { title: "ACTION" },
    { title: "TARGET" },
    { title: "OUTCOME" },
    { title: "DETAIL", flexible: true },
  ] as const;
  const rows = page.entries.map(rowOf);
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const left = page.total - page.offset - rows.length;
  if (left > 0) context.note(`${left} more: --offset ${page.offset + rows.length}`);
  return exitCodes.done;
}

const plumbing = new Set(["request_id", "event_seq", "issue_id", "attempt_id"]);

function rowOf({ seq, at, actor, action, target, outcome, detail }: Entry): Cell[] {
  const facts = Object.entries(detail).filter(
    ([name, value]) => !plumbing.has(name) && value !== null,
  );
  return [
    String(seq),
    at,
    actor,
    action,
    target ?? "-",
    { text: outcome, style: outcome === "ok" ? "green" : "yellow" },
    facts.map(([name, value]) => `${name}: ${wordOf(value)}`).join(", "),
  ];
}

function wordOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function actorOf(name: string | undefined): Actor | undefined {
  const known = actors.find((actor) => actor === name);
  if (name === undefined || known !== undefined) return known;
  const meant = closest(name, actors);
  throw new SymphonyError("usage", `--actor: "${name}" is no actor`, {
    hint: meant === null ? `one of ${actors.join(", ")}` : `did you mean ${meant}?`,
  });
}

/** A duration means that long ago. */
function timeOf(option: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const time = /^\d{4}-/.test(text) ? Date.parse(text) : Date.now() - parseDuration(text, option);
  if (Number.isNaN(time)) {
    throw new SymphonyError("usage", `${option}: "${text}" is not a time`, {
      hint: "write 2026-11-23T17:00:00Z, or a duration such as 24h",
    });
  }
  return new Date(time).toISOString();
}

/** Reads the files themselves, with or without a server: who checks a log must not have to trust its keeper. */
export async function verifyAuditLog(context: CommandContext): Promise<number> {
  const dataDir = findDataDir(context.where);
  if (dataDir === null) {
    throw new SymphonyError("usage", "there is no data directory here to check", {
      hint: "symphony audit verify --data-dir DIR, on the machine of the server",
    });
  }
  const { verifyOffline } = await import("./offline-secrets.ts");
  const { verdict, keyless } = await verifyOffline(dataDir, context.env);
  const { entries, unchecked, head, fault } = verdict;
  if (context.json) {
    context.printJson({
      ok: fault === null,
      data_dir: dataDir,
      entries,
      unchecked,
      key_at_hand: keyless === null,
      head: head && { seq: head.seq, hash: head.hash },
      fault: fault?.kind ?? null,
      first_bad_seq: fault?.seq ?? null,
      message: fault?.message ?? null,
    });
  } else if (fault === null) {
    context.print(
      head === null
        ? `${dataDir}: the audit log is empty`
        : `${dataDir}: ${entries} entries, all in their place; the newest is ${head.seq}, ${head.hash}`,
    );
  } else {
    context.print(`${dataDir}: ${fault.message}`);
    if (fault.seq !== null) context.print(`first bad entry: ${fault.seq}`);
  }
  if (unchecked > 0) {
    context.note(
      `${unchecked} of ${entries} entries are sealed with a key that is not at hand: of those only the order is known, ` +
        `not the content${keyless === null ? "" : ` (${keyless})`}`,
    );
  }
  return fault === null ? exitCodes.done : exitCodes.failed;
}
