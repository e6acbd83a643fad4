import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { equipment } from "./equipment.ts";

export const apiKey = "lin_api_fake";

/** The part that tests use of the server that validates every query against Linear's own schema. */
export interface SchemaServer {
  readonly url: string;
  readonly requests: { readonly operationName: string | null }[];
  readonly faults: { add(fault: Readonly<Record<string, unknown>>): void };
  /** Its records, as they are. */
  readonly world: {
    readonly users: { readonly byId: ReadonlyMap<string, { name: string; guest: boolean }> };
  };
  clearLog(): void;
  close(): Promise<void>;
}

/** Sends a query to the server as its users do: over HTTP, checked against Linear's schema. */
export async function ask<T>(url: string, query: string, variables: object = {}): Promise<T> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: apiKey },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data: T; errors?: unknown };
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data;
}

interface Names {
  readonly issues: { nodes: { id: string; identifier: string }[] };
  readonly projects: { nodes: { id: string; slugId: string }[] };
  readonly workflowStates: { nodes: { id: string; name: string }[] };
}

/** A Linear with one issue in `state`, in a project, without an assignee or a blocker. */
export async function schemaLinear(state: string) {
  const file = pathToFileURL(join(equipment("fake-linear"), "server.mjs")).href;
  const linear: SchemaServer = await (await import(file)).startFakeLinear({ issues: 1, port: 0 });
  const { url } = linear;
  const names = await ask<Names>(
    url,
    `query { issues(first: 1) { nodes { id identifier } } projects(first: 1) { nodes { id slugId } }
      workflowStates(first: 50) { nodes { id name } } }`,
  );
  const [issue] = names.issues.nodes;
  const [project] = names.projects.nodes;
  if (!issue || !project) throw new Error("the seed world is empty");
  const stateId = (name: string) => {
    const state = names.workflowStates.nodes.find((known) => known.name === name);
    if (!state) throw new Error(`no state ${name}`);
    return state.id;
  };
  const update = (input: object) =>
    ask(
      url,
      `mutation($id: String!, $input: IssueUpdateInput!) { issueUpdate(id: $id, input: $input) { success } }`,
      { id: issue.id, input },
    );
  await update({ stateId: stateId(state), projectId: project.id });
  return { linear, issue, project, stateId, update };
}
