import { join } from "node:path";
import { openTemplates } from "../workflow/templates.ts";
import { noAuditKeys } from "./audit-keys.ts";
import { openIssueRecords } from "./documents.ts";
import { openHistory } from "./history.ts";
import type { Store } from "./store.ts";

/**
 * Opens what is durable in `dir`, which exists and which this process has locked (`lockDataDir`). Rejects with
 * `storage_corrupt` or `storage_unavailable`, and then holds nothing open.
 */
export async function openStore(dir: string, auditKeys = noAuditKeys): Promise<Store> {
  const records = await openIssueRecords(dir);
  const templates = await openTemplates(dir);
  const history = openHistory(join(dir, "history.db"), auditKeys);
  return {
    records,
    history,
    templates,
    async close() {
      await records.settled();
      await templates.settled();
      history.close();
    },
  };
}
