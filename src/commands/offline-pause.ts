import { systemClock } from "../core/clock.ts";
import type { DispatchPause } from "../core/model/gates.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { lockDataDir, makeDataDir } from "../core/store/lock.ts";
import { openPause } from "../core/store/pause.ts";
import { createRedactor } from "../core/text/redact.ts";
import type { CommandContext } from "./context.ts";
import { record } from "./offline-secrets.ts";

interface Switched {
  readonly before: DispatchPause | null;
  readonly now: DispatchPause | null;
}

/**
 * Pauses dispatch (`reason`, or null for none), or ends the pause (undefined), for the next server of this data directory: on disk
 * when it resolves, and in its audit log. Rejects with `data_dir_locked` while a server starts or runs.
 */
export async function switchOffline(
  dataDir: string,
  context: CommandContext,
  reason?: string | null,
): Promise<Switched> {
  context.note(`No server runs here; changing the pause in ${dataDir}`);
  makeDataDir(dataDir);
  const lock = await lockDataDir(dataDir);
  try {
    const redactor = createRedactor();
    const { env } = context;
    const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
    await secrets.settle();
    const stored = await openPause(dataDir);
    const before = stored.current();
    const now = reason === undefined ? null : pauseOf(before, reason && redactor.redact(reason));
    if (before !== null || now !== null) {
      await stored.put(now);
      const [action, detail] = now === null ? ["resume", {}] : ["pause", { reason: now.reason }];
      await record(dataDir, `system.${action}`, { detail, secrets });
    }
    return { before, now };
  } finally {
    await lock.release();
  }
}

/** As a server does: a pause in force gets the new reason and keeps its time. */
function pauseOf(before: DispatchPause | null, reason: string | null): DispatchPause {
  return { reason, by: "cli", sinceWall: before?.sinceWall ?? systemClock.wall() };
}
