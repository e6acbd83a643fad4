import { SymphonyError } from "../core/model/errors.ts";
import { verifyAudit } from "../core/store/audit-verify.ts";
import type { CommandContext } from "./context.ts";
import { findDataDir } from "./discover.ts";
import { exitCodes } from "./exit-codes.ts";

/** Reads the files themselves, with or without a server: who checks a log must not have to trust its keeper. */
export async function verifyAuditLog(context: CommandContext): Promise<number> {
  const dataDir = findDataDir(context.where);
  if (dataDir === null) {
    throw new SymphonyError("usage", "there is no data directory here to check", {
      hint: "symphony audit verify --data-dir DIR, on the machine of the server",
    });
  }
  const { entries, head, fault } = verifyAudit(dataDir);
  if (context.json) {
    context.printJson({
      ok: fault === null,
      data_dir: dataDir,
      entries,
      head,
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
  return fault === null ? exitCodes.done : exitCodes.failed;
}
