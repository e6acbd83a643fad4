import { paths } from "../contract/paths.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { onServerIssue } from "./failure.ts";
import type { Signer } from "./offline-secrets.ts";
import { row, subcommand } from "./table.ts";

const services = Object.keys(paths.webhooks) as (keyof typeof paths.webhooks)[];

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
        "symphony webhook test ENG-123 --from github   about its pull request",
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
      options: [
        {
          name: "from",
          value: "service",
          summary: `who sends it: ${services.join(", ")} (default: the tracker's service)`,
          choices: services,
        },
      ],
      call: (given, context) => deliver(given, context),
      document: ({ reply }) => reply,
      print({ isOfPullRequest }, { note }, { issue }) {
        const what = isOfPullRequest ? `the pull request of ${issue}` : issue;
        note(
          `The server accepted the delivery${issue === undefined ? "; symphony webhook test ISSUE has one read again" : ` and reads ${what} again now; symphony explain ${issue}`}`,
        );
      },
    }),
  ],
});

interface Given {
  readonly issue: string | undefined;
  readonly from: (typeof services)[number] | undefined;
}

/** Signs with the secret that the workflow file names, from the stored secrets, else from this environment. */
async function deliver({ issue, from }: Given, context: CommandContext) {
  const client = await context.client();
  const { signerFor } = await import("./offline-secrets.ts");
  const runtime = await client.system.runtime();
  const project = { workflowPath: runtime.workflow_path, dataDir: runtime.data_dir };
  const signer = await signerFor(project, context.env, from);
  const { kind, webhook, sign, unread } = signer;
  if (sign === null) throw noSecret(signer);
  if (unread) context.note(`The stored secrets could not be read here: ${unread.message}`);
  const about =
    issue === undefined
      ? null
      : await onServerIssue(issue, context, async () => {
          const detail = await client.issues.detail({ params: { id: issue } });
          const { issue_id: id, issue_identifier: identifier, delivery } = detail;
          const pullRequest = delivery?.pull_request?.url ?? null;
          if (signer.isOfPullRequest && pullRequest === null) throw noPullRequest(identifier);
          return { id, identifier, pullRequest };
        });
  const { body, headers } = signer.sample(about);
  const signature = { [webhook.signature.header]: sign(JSON.stringify(body)) };
  const reply = await client.webhooks[kind]({ body, headers: { ...headers, ...signature } });
  return { reply, isOfPullRequest: signer.isOfPullRequest };
}

function noPullRequest(identifier: string): SymphonyError {
  return new SymphonyError("nothing_to_deliver", `${identifier} has no pull request`, {
    hint: `symphony issue show ${identifier} says where its work is`,
  });
}

/** The error when no secret is available here to sign with. */
function noSecret({
  webhook: { defaultSecretName },
  key,
  unread,
  silent,
}: Pick<Signer, "webhook" | "key" | "unread" | "silent">): SymphonyError {
  const variable = `${defaultSecretName}, or the variable that ${key} names`;
  if (unread) {
    const message = `no webhook secret was found here, and the stored ones could not be read: ${unread.message}`;
    return new SymphonyError("webhook_not_configured", message, {
      hint: `run this as the server's user with its SYMPHONY_MASTER_KEY, or set ${variable}`,
    });
  }
  if (silent !== null) {
    const message = `the ${silent} tracker sends no webhooks`;
    return new SymphonyError("webhook_not_configured", message, {
      hint: "pull requests: symphony webhook test --from github; changed issues are read by polling",
    });
  }
  return new SymphonyError("webhook_not_configured", "no webhook secret is set here", {
    hint: `symphony secrets add ${defaultSecretName}, or set ${variable}`,
  });
}
