import { systemClock } from "../core/clock.ts";
import { readOverlay } from "../core/config/overlay-document.ts";
import { resolveConfig } from "../core/config/resolve.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { createRedactor } from "../core/redact.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { webhookSecret } from "../core/webhook/secret.ts";
import { signatureOf } from "../core/webhook/signature.ts";
import { loadWorkflow } from "../core/workflow/load.ts";

type Env = Readonly<Record<string, string | undefined>>;

export interface Signer {
  /** Signs as Linear does; null without a secret. */
  readonly sign: ((body: string) => string) | null;
  /** Why the stored secrets could not be looked into; null when they could, or there are none. */
  readonly unread: SymphonyError | null;
}

/**
 * Signs with the secret that a server of this project would use: out of its stored secrets, which are opened to be read
 * and no more, else out of `env`.
 */
export async function signerFor(
  project: { readonly workflowPath: string; readonly dataDir: string },
  env: Env,
): Promise<Signer> {
  const workflow = (await loadWorkflow(project.workflowPath)).config;
  const overlay = await readOverlay(project.dataDir);
  const { written } = resolveConfig({ workflow, env, overlay, flags: {} });
  const { lookup, unread } = await storedSecrets(project.dataDir, env);
  const named = written.tracker.provider["webhook_secret"];
  const secret = webhookSecret(named, (name) => lookup(name) ?? env[name]);
  return { sign: secret === null ? null : (body) => signatureOf(body, secret), unread };
}

async function storedSecrets(dir: string, env: Env) {
  try {
    const redactor = createRedactor();
    const secrets = await openSecrets({ dir, env, clock: systemClock, redactor });
    return { lookup: (name: string) => secrets.lookup(name), unread: null };
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    return { lookup: () => undefined, unread: error };
  }
}
