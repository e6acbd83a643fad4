import { systemClock } from "../core/clock.ts";
import { createRedactor } from "../core/redact.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
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
    return {
      list: async () => secrets.names(),
      async put(name, value) {
        const { key, updatedAt } = await secrets.put(name, value);
        return { key, updated_at: new Date(updatedAt).toISOString() };
      },
      remove: (name) => secrets.remove(name),
      close: () => lock.release(),
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}
