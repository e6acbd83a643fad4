import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { onServerIssue } from "./failure.ts";
import type { Signer } from "./offline-secrets.ts";
import { row, subcommand } from "./table.ts";

/** Tries the webhook of a running server. */
export const webhookCommand = row({
  examples: ["symphony webhook test", "symphony webhook test ENG-123"],
  commands: [
    subcommand({
      name: "test",
      summary: "send a signed sample to the server, as the tracker would when an issue changes",
      examples: [
        "symphony webhook test",
        "symphony webhook test ENG-123",
        "symphony webhook test --json",
      ],
      arguments: [
        {
          name: "issue",
          summary: "issue that the delivery names; the server then reads it again (default: none)",
          optional: true,
          completion: "issues",
        },
      ],
      call: ({ issue }, context) => deliver(issue, context),
      print: (_, { note }, { issue }) =>
        note(
          `The server accepted the delivery${issue === undefined ? "" : ` and reads ${issue} again now`}`,
        ),
    }),
  ],
});

/** Signs with the secret that the workflow file names, from the stored secrets, else from this environment. */
async function deliver(issue: string | undefined, context: CommandContext) {
  const client = await context.client();
  const { signerFor } = await import("./offline-secrets.ts");
  const runtime = await client.system.runtime();
  const project = { workflowPath: runtime.workflow_path, dataDir: runtime.data_dir };
  const signer = await signerFor(project, context.env);
  const { kind, webhook, sign, unread } = signer;
  if (sign === null) throw noSecret(signer);
  if (unread) context.note(`The stored secrets could not be read here: ${unread.message}`);
  const data =
    issue === undefined
      ? null
      : await onServerIssue(issue, context, async () => {
          const detail = await client.issues.detail({ params: { id: issue } });
          return { id: detail.issue_id, identifier: detail.issue_identifier };
        });
  const body = webhook.sample(data, Date.now());
  const headers = { [webhook.signature.header]: sign(JSON.stringify(body)) };
  return client.webhooks[kind]({ body, headers });
}

/** The error when no secret is available here to sign with. */
function noSecret({
  webhook: { defaultSecretName },
  unread,
}: Pick<Signer, "webhook" | "unread">): SymphonyError {
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
