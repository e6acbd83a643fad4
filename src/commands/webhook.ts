import type { Command } from "commander";
import { paths } from "../contract/paths.ts";
import { systemClock } from "../core/clock.ts";
import { type Resolved, resolveConfig } from "../core/config/resolve.ts";
import { readOverlay } from "../core/config/service.ts";
import { loadWorkflow } from "../core/config/workflow.ts";
import { sections } from "../core/kinds.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { createRedactor } from "../core/text/redact.ts";
import { trackerKinds } from "../core/tracker/kinds.ts";
import type { TrackerWebhook } from "../core/tracker/tracker.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes, listerOf, onIssue } from "./failure.ts";
import { examples } from "./help.ts";

export function declareWebhook(command: Command, run: Run): void {
  examples(command, "symphony webhook test", "symphony webhook test ENG-123");
  examples(
    command
      .command("test")
      .description(
        "send a signed sample to the server, as the tracker would when an issue changes",
      ),
    "symphony webhook test",
    "symphony webhook test ENG-123",
    "symphony webhook test --json",
  )
    .argument("[issue]", "issue to tell of, which the server then reads again (default: none)")
    .action((issue: string | undefined) => run((context) => webhookTest(issue, context)));
}

/** Signs with the secret that the workflow file names, out of the stored secrets, else out of this environment. */
export async function webhookTest(
  issue: string | undefined,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const { signerFor } = await import("./webhook.ts");
  const runtime = await client.system.runtime();
  const project = { workflowPath: runtime.workflow_path, dataDir: runtime.data_dir };
  const { kind, webhook, sign, unread } = await signerFor(project, context.env);
  if (sign === null) throw noSecret(webhook, unread);
  if (unread) context.note(`The stored secrets could not be read here: ${unread.message}`);
  const data =
    issue === undefined
      ? null
      : await onIssue(issue, listerOf(client), async () => {
          const detail = await client.issues.detail({ params: { id: issue } });
          return { id: detail.issue_id, identifier: detail.issue_identifier };
        });
  const body = webhook.sample(data, Date.now());
  const headers = { [webhook.signature.header]: sign(JSON.stringify(body)) };
  const reply = await client.webhooks[kind]({ body, headers });
  if (context.json) context.printJson(reply);
  context.note(
    `The server took the delivery${issue === undefined ? "" : ` and looks at ${issue} now`}`,
  );
  return exitCodes.done;
}

function noSecret(
  { defaultSecretName }: TrackerWebhook,
  unread: SymphonyError | null,
): SymphonyError {
  const variable = `${defaultSecretName}, or the variable that tracker.provider.webhook_secret names`;
  if (unread) {
    const message = `no webhook secret was found here, and the stored ones could not be read: ${unread.message}`;
    return new SymphonyError("webhook_not_configured", message, {
      hint: `run this as the server's user with its SYMPHONY_MASTER_KEY, or set ${variable}`,
    });
  }
  return new SymphonyError("webhook_not_configured", "no webhook secret is set here", {
    hint: `symphony secrets add ${defaultSecretName}, or set ${variable}`,
  });
}

type WebhookName = keyof typeof paths.webhooks;
type Env = Readonly<Record<string, string | undefined>>;

export interface Signer {
  /** The tracker that the sample stands for. */
  readonly kind: WebhookName;
  readonly webhook: TrackerWebhook;
  /** Signs as the tracker does; null without a secret. */
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
  const { written } = resolveConfig({ workflow, env, overlay, flags: {} }, sections);
  const { lookup, unread } = await storedSecrets(project.dataDir, env);
  const { kind, webhook } = webhookFor(written);
  const secret = webhook.secret(written.tracker.provider, (name) => lookup(name) ?? env[name]);
  return {
    kind,
    webhook,
    sign: secret === null ? null : (body) => webhook.sign(body, secret),
    unread,
  };
}

/** The webhook of the tracker in use; the server takes in those of every other tracker as well. */
function webhookFor({ tracker }: Resolved["written"]) {
  const found = trackerKinds.flatMap(({ kind, webhook }) =>
    webhook !== null && isWebhookName(kind) ? [{ kind, webhook }] : [],
  );
  const chosen = found.find(({ kind }) => kind === tracker.kind) ?? found[0];
  if (chosen) return chosen;
  throw new SymphonyError("webhook_not_configured", "no tracker posts to a server");
}

function isWebhookName(kind: string): kind is WebhookName {
  return Object.hasOwn(paths.webhooks, kind);
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
