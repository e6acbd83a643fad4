import { join } from "node:path";
import { beginSealed } from "../core/audit-begin.ts";
import { systemClock } from "../core/clock.ts";
import { createRedactor } from "../core/redact.ts";
import { resetSecrets } from "../core/secrets/reset.ts";
import { openSecrets, type Secrets } from "../core/secrets/secrets.ts";
import { openHistory } from "../core/store/history.ts";
import { lockDataDir } from "../core/store/lock.ts";
import type { SecretsDesk } from "./secrets.ts";

/**
 * The project's store without a server, for one that cannot start before it has its key. Holds the data directory's lock
 * while it is open. Rejects with `data_dir_locked`, and as a start of the server would for a key that must not be used.
 */
export async function openOfflineSecrets(
  dataDir: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<SecretsDesk> {
  const lock = await lockDataDir(dataDir);
  try {
    const redactor = createRedactor();
    const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
    await secrets.settle();
    const audit = (action: string, about: About) => record(dataDir, action, { ...about, secrets });
    return {
      list: async () => secrets.names(),
      async put(name, value) {
        const { key, updatedAt } = await secrets.put(name, value);
        await audit("secrets.put", { target: name });
        return { key, updated_at: new Date(updatedAt).toISOString() };
      },
      async remove(name) {
        await secrets.remove(name);
        await audit("secrets.remove", { target: name });
      },
      async rotate() {
        const { kid, previousKid, secrets: count, at } = await secrets.rotate();
        const ids = { key_id: kid, previous_key_id: previousKid, secrets: count };
        await audit("key.rotate", { detail: ids });
        return { ...ids, rotated_at: new Date(at).toISOString() };
      },
      close: () => lock.release(),
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Moves the store aside; returns what its files are called now. Rejects with `data_dir_locked` while a server runs. */
export async function resetOffline(dataDir: string): Promise<readonly string[]> {
  const lock = await lockDataDir(dataDir);
  try {
    const moved = await resetSecrets(dataDir, systemClock.wall());
    if (moved.length > 0) await record(dataDir, "key.reset", { detail: { moved } });
    return moved;
  } finally {
    await lock.release();
  }
}

interface About {
  readonly target?: string | null;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** The same log that a server of this directory keeps. */
async function record(
  dataDir: string,
  action: string,
  { target = null, detail = {}, secrets }: About & { readonly secrets?: Secrets },
): Promise<void> {
  const history = openHistory(join(dataDir, "history.db"), secrets?.auditKeys);
  try {
    await secrets?.sealAudit(() => beginSealed(history, systemClock.wall()));
    history.audit({ at: systemClock.wall(), actor: "cli", action, target, outcome: "ok", detail });
  } finally {
    history.close();
  }
}
