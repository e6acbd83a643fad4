import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type CommandContext, findProject } from "./context.ts";
import type { IssueAccess } from "./offline.ts";

/** Where secrets are kept: on a server, or straight in a project's data directory. */
export interface SecretsAccess {
  list(): Promise<readonly string[]>;
  put(name: string, value: string): Promise<{ readonly key: string; readonly updated_at: string }>;
  remove(name: string): Promise<void>;
  rotate(): Promise<KeyRotation>;
  close(): Promise<void>;
}

/** A change of the key, as the API says it. */
export interface KeyRotation {
  readonly key_id: string;
  readonly previous_key_id: string;
  readonly secrets: number;
  readonly rotated_at: string;
}

/**
 * Uses the server that was named or that runs for this project, so that a change takes effect at once. Otherwise opens
 * the store of the current project; without a project, tries the default address.
 */
export async function openIssueAccess(context: CommandContext): Promise<IssueAccess> {
  const { certain } = await context.discovery();
  const project = certain ? null : findProject(context.where);
  if (project === null) return serverIssues(await context.client());
  const { openOfflineIssues } = await import("./offline.ts");
  return openOfflineIssues(project, context);
}

/** Runs `work` and closes its access afterwards, also on failure. */
export async function withIssues<T>(
  context: CommandContext,
  work: (access: IssueAccess) => Promise<T>,
): Promise<T> {
  const access = await openIssueAccess(context);
  try {
    return await work(access);
  } finally {
    access.close();
  }
}

/** `wanted`, or the state that means success: Done if the tracker has it, else its first end state. */
export async function closingState(
  access: IssueAccess,
  id: string,
  wanted: string | undefined,
): Promise<string> {
  if (wanted !== undefined) return wanted;
  const states = await access.terminalStates(id);
  const state = states.find((name) => name.toLowerCase() === "done") ?? states[0];
  if (state !== undefined) return state;
  throw new SymphonyError("usage", "The tracker names no state that ends an issue", {
    hint: `symphony issue close ${id} --state NAME`,
  });
}

function serverIssues(client: Client<Api>): IssueAccess {
  return {
    list: (query) => client.issues.list({ query }),
    create: (body) => client.issues.create({ body }),
    edit: (id, body) => client.issues.edit({ params: { id }, body }),
    comments: (id) => client.issues.comments({ params: { id } }),
    comment: (id, body) => client.issues.comment({ params: { id }, body: { body } }),
    async terminalStates(id) {
      const { states } = await client.system.transitions({ query: { issue: id } });
      return states.flatMap(({ name, kind, terminal }) =>
        kind === "tracker" && terminal ? [name] : [],
      );
    },
    close() {},
  };
}
