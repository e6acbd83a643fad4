import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { auditHash, auditHeadFile, writeAuditHead } from "../src/core/store/audit.ts";
import { openHistory } from "../src/core/store/history.ts";

/** Writes `count` entries of an audit log into the history in `dir`, without waiting for the disk. */
export function fillAuditLog(dir: string, count: number): void {
  const file = join(dir, "history.db");
  openHistory(file).close();
  const db = new DatabaseSync(file);
  db.exec("PRAGMA synchronous = OFF; BEGIN");
  const insert = db.prepare(
    "INSERT INTO audit VALUES ($seq, $at, $actor, $action, $target, $outcome, $detail, $prevHash, $hash, $kid)",
  );
  const actors = ["cli", "api", "orchestrator", "orchestrator"];
  const actions = ["issues.abort", "attempt.stopped", "issue.held", "attempt.failed"];
  let prevHash = "";
  for (let seq = 1; seq <= count; seq++) {
    const row = {
      seq,
      at: 1e12 + seq * 1_000,
      actor: actors[seq % 4] ?? "api",
      action: actions[(seq * 7) % 4] ?? "issues.abort",
      target: `ENG-${(seq * 7_919) % 5_000}`,
      outcome: "ok",
      detail: JSON.stringify({ request_id: `req-${seq}`, reason: "the tests of the branch fail" }),
      prevHash,
      kid: null,
    };
    prevHash = auditHash(row);
    insert.run({ ...row, hash: prevHash });
  }
  db.exec("COMMIT");
  db.close();
  writeAuditHead(auditHeadFile(dir), { seq: count, hash: prevHash });
}
