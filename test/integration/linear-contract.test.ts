import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { trackerContract } from "../core/tracker/contract.ts";
import { equipment } from "../support/fakes/equipment.ts";
import { driven, linearTracker } from "../support/fakes/linear-tracker.ts";

trackerContract(
  {
    ...{ kind: "linear", active: "Todo", done: "Done" },
    unknownId: "00000000-0000-4000-8000-999999999999",
  },
  async (t) => {
    const module = await import(pathToFileURL(join(equipment("fake-linear"), "server.mjs")).href);
    const server = await module.startFakeLinear({ issues: 2, port: 0 });
    t.after(() => server.close());
    const [project] = server.world.projects.list;
    const act = async (query: string, variables: object = {}) => {
      const answer = await fetch(new URL("/__act", server.url), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ as: "grace", query, variables }),
      });
      const { data, errors } = JSON.parse(await answer.text());
      assert.ok(data && !errors, JSON.stringify(errors));
      return data;
    };
    const { teams } = await act(
      `{ teams { nodes { id states { nodes { id name } } projects { nodes { id } } } } }`,
    );
    interface Team {
      readonly id: string;
      readonly states: {
        readonly nodes: readonly { readonly id: string; readonly name: string }[];
      };
      readonly projects: { readonly nodes: readonly { readonly id: string }[] };
    }
    const team = (teams.nodes as readonly Team[]).find(({ projects }) =>
      projects.nodes.some(({ id }) => id === project.id),
    );
    const todo = team?.states.nodes.find(({ name }) => name === "Todo");
    assert.ok(team && todo);
    const { tracker, clock } = linearTracker({
      ...{ url: server.url, project: project.slugId, apiKey: "lin_api_fake" },
    });
    t.after(() => tracker.close());
    return {
      ...{ tracker, driven: (work) => driven(clock, work), requests: () => server.requests.length },
      async add({ title, labels = [] }) {
        const labelIds: string[] = [];
        for (const name of labels) {
          const made = await act(
            `mutation($input: IssueLabelCreateInput!) { issueLabelCreate(input: $input) { issueLabel { id } } }`,
            { input: { name, teamId: team.id } },
          ).catch(() =>
            act(
              `query($name: String!) { issueLabels(filter: {name: {eqIgnoreCase: $name}}) { nodes { id } } }`,
              { name },
            ),
          );
          labelIds.push(made.issueLabelCreate?.issueLabel.id ?? made.issueLabels.nodes[0].id);
        }
        const input = { title, teamId: team.id, projectId: project.id, stateId: todo.id, labelIds };
        const { issueCreate } = await act(
          `mutation($input: IssueCreateInput!) { issueCreate(input: $input) { issue { id } } }`,
          { input },
        );
        return issueCreate.issue.id;
      },
      fail(how) {
        if (how === "server") server.faults.add({ kind: "server_error", times: 3 });
        else if (how === "limit") server.faults.add({ kind: "ratelimited" });
        else server.faults.add({ kind: "malformed_json" });
      },
    };
  },
);
