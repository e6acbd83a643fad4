import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes, listerOf, onIssue } from "./failure.ts";
import { examples } from "./help.ts";

export function declareWebhook(command: Command, run: Run): void {
  examples(command, "symphony webhook test", "symphony webhook test ENG-123");
  examples(
    command
      .command("test")
      .description("send a signed sample to the server, as Linear would when an issue changes"),
    "symphony webhook test",
    "symphony webhook test ENG-123",
    "LINEAR_WEBHOOK_SECRET=… symphony webhook test --json",
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
  const { signerFor } = await import("./offline-secrets.ts");
  const runtime = await client.system.runtime();
  const project = { workflowPath: runtime.workflow_path, dataDir: runtime.data_dir };
  const { sign, unread } = await signerFor(project, context.env);
  if (sign === null) throw noSecret(unread);
  if (unread) context.note(`The stored secrets could not be read here: ${unread.message}`);
  const data =
    issue === undefined
      ? { id: "00000000-0000-4000-8000-000000000000" }
      : await onIssue(issue, listerOf(client), async () => {
          const detail = await client.issues.detail({ params: { id: issue } });
          return { id: detail.issue_id, identifier: detail.issue_identifier };
        });
  const body = { action: "update", type: "Issue", data, webhookTimestamp: Date.now() };
  const headers = { "linear-signature": sign(JSON.stringify(body)) };
  const reply = await client.webhooks.linear({ body, headers });
  if (context.json) context.printJson(reply);
  context.note(
    `The server took the delivery${issue === undefined ? "" : ` and looks at ${issue} now`}`,
  );
  return exitCodes.done;
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
