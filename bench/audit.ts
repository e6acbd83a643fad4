import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyAudit } from "../src/core/store/audit-verify.ts";
import { openHistory } from "../src/core/store/history.ts";
import type { AuditQuery } from "../src/core/store/store.ts";
import { fillAuditLog } from "./audit-log.ts";

// Pages and verification of an audit log of 1,000,000 entries: `node bench/audit.ts`.

const count = Number(process.argv[2] ?? 1_000_000);
const rounds = 5;
const dir = mkdtempSync(join(tmpdir(), "symphony-bench-"));
const file = join(dir, "history.db");

function medianMs(work: () => void): number {
  const times = Array.from({ length: rounds }, () => {
    const started = performance.now();
    work();
    return performance.now() - started;
  });
  return times.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN;
}

const say = (name: string, ms: number, more = "") =>
  process.stdout.write(`${name.padEnd(44)} ${ms.toFixed(1).padStart(8)} ms${more}\n`);

try {
  fillAuditLog(dir, count);
  const history = openHistory(file);
  const middle = 1e12 + (count / 2) * 1_000;
  const cases: Readonly<Record<string, Omit<AuditQuery, "limit" | "offset">>> = {
    everything: {},
    "one actor (half of all)": { actor: "orchestrator" },
    "one action": { action: "issue.held" },
    "action and actor": { action: "issue.held", actor: "orchestrator" },
    "one issue": { target: "eng-42" },
    "the newer half": { since: middle },
    "the older half": { until: middle },
    "actor, the older half": { actor: "api", until: middle },
  };
  for (const [name, query] of Object.entries(cases)) {
    const { total } = history.auditPage({ ...query, limit: 50, offset: 0 });
    const last = Math.max(total - 50, 0);
    const first = medianMs(() => history.auditPage({ ...query, limit: 50, offset: 0 }));
    const deep = medianMs(() => history.auditPage({ ...query, limit: 50, offset: last }));
    say(`${name}, first page of ${total}`, first);
    say(`${name}, last page`, deep);
  }
  const entry = {
    at: 1,
    actor: "api",
    action: "x",
    target: null,
    outcome: "ok",
    detail: {},
  } as const;
  say(
    "append, on disk twice",
    medianMs(() => history.audit(entry)),
  );
  history.close();
  const started = performance.now();
  const { entries, fault } = verifyAudit(dir);
  say(`verify ${entries} entries`, performance.now() - started, fault ? " FAULT" : "");
} finally {
  rmSync(dir, { recursive: true });
}
