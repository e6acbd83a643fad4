import { existsSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import type { AuditEntryView } from "../contract/audit.ts";
import type { CommandContext } from "./context.ts";
import { filesFor } from "./data-dir.ts";
import { exitCodes, onServerIssue } from "./failure.ts";
import { type Cell, printPage, relative } from "./output.ts";
import { pageOptions, row, subcommand } from "./table.ts";
import { sinceTime, untilTime, whenForms } from "./when.ts";

type Entry = z.output<typeof AuditEntryView>;

const actors: readonly string[] = ["cli", "api", "webhook", "tracker", "orchestrator"];

/** Lists who did what, and verifies the log. */
export const auditCommand = row({
  examples: [
    "symphony audit --issue ENG-123",
    "symphony audit --actor orchestrator --since 24h --json",
    "symphony audit verify",
  ],
  options: [
    {
      name: "issue",
      value: "id",
      summary: "only what was done to this issue",
      completion: "issues",
    },
    {
      name: "actor",
      value: "name",
      summary: `only by ${actors.join(", ")}, or the name of a token`,
      completion: actors,
    },
    {
      name: "action",
      value: "name",
      summary: "only this action, such as issues.abort or issue.held",
    },
    {
      name: "since",
      value: "when",
      summary: `from ${whenForms} on`,
      read: sinceTime,
    },
    {
      name: "until",
      value: "when",
      summary: "up to then, a day included",
      read: untilTime,
    },
    ...pageOptions("entries"),
  ],
  call: (query, context) =>
    onServerIssue(query.issue ?? "", context, (client) => client.audit.list({ query })),
  print(page, context, { actor }) {
    const columns = [
      { title: "SEQ", align: "right", drop: 3 },
      { title: "AT" },
      { title: "ACTOR", drop: 2 },
      { title: "ACTION" },
      { title: "TARGET", flexible: true },
      { title: "OUTCOME", flexible: true },
      { title: "DETAIL", flexible: true, drop: 1 },
    ] as const;
    const rows = page.entries.map((entry) => rowOf(entry, context.width !== null));
    const by = actor === undefined ? "" : ` by ${actor}`;
    const known = `actors are ${actors.join(", ")} and the names of symphony tokens list`;
    const empty = `There are no such entries${by}${by && `; ${known}`}`;
    return printPage({ columns, rows, page, empty }, context);
  },
  commands: [
    subcommand({
      name: "verify",
      summary: "check that no entry of the log was edited, dropped, reordered or cut off",
      examples: [
        "symphony audit verify",
        "symphony audit verify --data-dir /srv/project/.symphony --json",
      ],
      call: (_, context) => verifyLog(context),
      document: ({ keyless: _, ...verdict }) => verdict,
      print: printVerdict,
      exitCode: ({ ok }) => (ok ? exitCodes.done : exitCodes.failed),
    }),
  ],
});

const plumbing = new Set(["request_id", "event_seq", "issue_id", "attempt_id"]);

/** `isShort`: as on a terminal, where the names of the actions need the room. */
function rowOf(entry: Entry, isShort: boolean): Cell[] {
  const { seq, at, actor, action, target, outcome, detail } = entry;
  const facts = Object.entries(detail).filter(
    ([name, value]) => !plumbing.has(name) && value !== null,
  );
  return [
    String(seq),
    isShort ? relative(at, Date.now()) : at,
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

/** Reads the files directly, also while a server runs: the check must not depend on the server that wrote the log. */
async function verifyLog(context: CommandContext) {
  const dataDir = await filesFor("symphony audit verify", context);
  const { verifyOffline } = await import("./offline-secrets.ts");
  const { verdict, keyless } = await verifyOffline(dataDir, context.env);
  const { entries, unchecked, head, afterHead } = verdict;
  const fault = verdict.fault ?? absent(dataDir);
  return {
    ok: fault === null,
    data_dir: dataDir,
    entries,
    unchecked,
    key_at_hand: keyless === null,
    head: head && { seq: head.seq, hash: head.hash },
    after_head: afterHead,
    fault: fault?.kind ?? null,
    first_bad_seq: fault?.seq ?? null,
    message: fault?.message ?? null,
    keyless,
  };
}

/** A log that is not there is not whole: it may have been removed. */
function absent(dataDir: string) {
  if (existsSync(join(dataDir, "history.db"))) return null;
  return { kind: "absent", seq: null, message: "there is no audit log (history.db)" } as const;
}

function printVerdict(
  verdict: Awaited<ReturnType<typeof verifyLog>>,
  { print, note }: CommandContext,
): void {
  const { data_dir: dataDir, entries, unchecked, head, message, keyless } = verdict;
  if (message !== null) {
    print(`${dataDir}: ${message}`);
    if (verdict.first_bad_seq !== null) print(`first bad entry: ${verdict.first_bad_seq}`);
  } else if (head === null) {
    print(`${dataDir}: the audit log is empty`);
  } else {
    const newest = `the newest is ${head.seq}, ${head.hash}`;
    print(`${dataDir}: ${entries} entries, none missing or out of order; ${newest}`);
  }
  if (message === null && verdict.after_head > 0) {
    note(
      `audit.head does not name the newest ${verdict.after_head} yet, which it does within 100 ms: ` +
        "until then, that they were cut off would not be seen",
    );
  }
  if (message === null && head !== null) note("symphony audit prints them");
  if (unchecked === 0) return;
  const why = keyless === null ? "" : ` (${keyless})`;
  note(
    `${unchecked} of ${entries} entries are sealed with a key that is not available: ` +
      `for those only the order is verified, not the content${why}`,
  );
}
