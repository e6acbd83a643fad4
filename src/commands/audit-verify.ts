import { systemClock } from "../core/clock.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { createRedactor } from "../core/redact.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { type AuditKeys, noAuditKeys } from "../core/store/audit-keys.ts";
import { type AuditVerdict, verifyAudit } from "../core/store/audit-verify.ts";
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
  const { verdict, keyless } = await verified(dataDir, context);
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

interface Outcome {
  readonly verdict: AuditVerdict;
  /** Why there is no key; null with one. */
  readonly keyless: string | null;
}

async function verified(dataDir: string, context: CommandContext): Promise<Outcome> {
  const found = await keysIn(dataDir, context);
  const verdict = verifyAudit(dataDir, found.keys);
  if (verdict.fault === null) return { verdict, keyless: found.why };
  // A rotation meanwhile looks like a stranger's entry; with the keys of now it does not.
  const again = await keysIn(dataDir, context);
  return { verdict: verifyAudit(dataDir, again.keys), keyless: again.why };
}

/** Without the key the chain can still be followed. */
async function keysIn(
  dataDir: string,
  { env }: CommandContext,
): Promise<{ keys: AuditKeys; why: string | null }> {
  const options = { dir: dataDir, env, clock: systemClock, redactor: createRedactor() };
  try {
    const { auditKeys } = await openSecrets(options);
    return { keys: auditKeys, why: auditKeys.current() === null ? "there is no key" : null };
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    return { keys: noAuditKeys, why: error.message };
  }
}
