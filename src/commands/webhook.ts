import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { onServerIssue } from "./failure.ts";
import { row, subcommand } from "./table.ts";

/** Tries the webhook of a running server. */
export const webhookCommand = row({
  examples: ["symphony webhook test", "symphony webhook test ENG-123"],
  commands: [
    subcommand({
      name: "test",
      summary: "send a signed sample to the server, as Linear would when an issue changes",
      examples: [
        "symphony webhook test",
        "symphony webhook test ENG-123",
        "LINEAR_WEBHOOK_SECRET=… symphony webhook test --json",
      ],
      arguments: [
        {
          name: "issue",
          summary: "issue to tell of, which the server then reads again (default: none)",
          optional: true,
          completion: "issues",
        },
      ],
      call: ({ issue }, context) => deliver(issue, context),
      print: (_, { note }, { issue }) =>
        note(
          `The server took the delivery${issue === undefined ? "" : ` and looks at ${issue} now`}`,
        ),
    }),
  ],
});

/** Signs with the secret that the workflow file names, out of the stored secrets, else out of this environment. */
async function deliver(issue: string | undefined, context: CommandContext) {
  const client = await context.client();
  const { signerFor } = await import("./offline-secrets.ts");
  const runtime = await client.system.runtime();
  const project = { workflowPath: runtime.workflow_path, dataDir: runtime.data_dir };
  const { sign, unread } = await signerFor(project, context.env);
  if (sign === null) throw noSecret(unread);
  if (unread) context.note(`The stored secrets could not be read here: ${unread.message}`);
  const data =
    issue === undefined
      ? { id: "00000000-0000-4000-8000-000000000000" }
      : await onServerIssue(issue, context, async () => {
          const detail = await client.issues.detail({ params: { id: issue } });
          return { id: detail.issue_id, identifier: detail.issue_identifier };
        });
  const body = { action: "update", type: "Issue", data, webhookTimestamp: Date.now() };
  const headers = { "linear-signature": sign(JSON.stringify(body)) };
  return client.webhooks.linear({ body, headers });
}

function noSecret(unread: SymphonyError | null): SymphonyError {
  const variable =
    "LINEAR_WEBHOOK_SECRET, or the variable that tracker.provider.webhook_secret names";
  if (unread) {
    const message = `no webhook secret was found here, and the stored ones could not be read: ${unread.message}`;
    return new SymphonyError("webhook_not_configured", message, {
      hint: `run this as the server's user with its SYMPHONY_MASTER_KEY, or set ${variable}`,
    });
  }
  return new SymphonyError("webhook_not_configured", "no webhook secret is set here", {
    hint: `symphony secrets add LINEAR_WEBHOOK_SECRET, or set ${variable}`,
  });
}
