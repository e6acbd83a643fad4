import { createHash } from "node:crypto";
import { int, text } from "./columns.ts";
import type { Database } from "./database.ts";
import type { AuditEntry } from "./store.ts";

/** The audit log of `history.db`: each entry's hash covers the one before it. */
export class AuditTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  append(entry: AuditEntry): void {
    const { at, actor, action, target, outcome } = entry;
    const detail = JSON.stringify(entry.detail);
    this.#db.durably(() => {
      const { seq, prevHash } = this.#next();
      const covered = JSON.stringify([seq, at, actor, action, target, outcome, detail, prevHash]);
      const hash = createHash("sha256").update(covered).digest("hex");
      this.#db.run(
        `INSERT INTO audit VALUES
          ($seq, $at, $actor, $action, $target, $outcome, $detail, $prevHash, $hash)`,
        { seq, at, actor, action, target, outcome, detail, prevHash, hash },
      );
    });
  }

  #next(): { seq: number; prevHash: string } {
    const last = this.#db.get(
      (row) => ({ seq: int(row, "seq"), hash: text(row, "hash") }),
      "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
    );
    return { seq: (last?.seq ?? 0) + 1, prevHash: last?.hash ?? "" };
  }
}
