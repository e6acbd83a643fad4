import { resolveConfig } from "../core/config/resolve.ts";
import { webhookSecret } from "../core/webhook/secret.ts";
import { signatureOf } from "../core/webhook/signature.ts";
import { loadWorkflow } from "../core/workflow/load.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** Signs as Linear does, with the secret that a server of this workflow file would find in `env`; null without one. */
export async function signerFor(
  workflowPath: string,
  env: Env,
): Promise<((body: string) => string) | null> {
  const workflow = (await loadWorkflow(workflowPath)).config;
  const { written } = resolveConfig({ workflow, env, flags: {} });
  const secret = webhookSecret(written.tracker.provider["webhook_secret"], (name) => env[name]);
  return secret === null ? null : (body) => signatureOf(body, secret);
}
