import assert from "node:assert/strict";
import { test } from "node:test";
import { apiKey, ask, schemaLinear } from "../support/fakes/schema-linear.ts";
import { deliveryWorld, round } from "../support/worlds/delivery-world.ts";
import { eventually } from "../support/worlds/symphony.ts";

interface Shown {
  readonly issue: {
    readonly state: { readonly name: string };
    readonly attachments: { readonly nodes: readonly { readonly url: string }[] };
    readonly comments: { readonly nodes: readonly { readonly body: string }[] };
  };
}

test("delivery: an issue of Linear gets its pull request as an attachment and one comment, over kills of the server, and moves from Todo to Done", async (t) => {
  const { linear, issue, project } = await schemaLinear("Todo");
  t.after(() => linear.close());
  const provider = {
    endpoint: linear.url,
    api_key: "$LINEAR_API_KEY",
    project_slug: project.slugId,
  };
  await using world = await deliveryWorld({
    tracker: `  kind: linear\n  in_progress: In Progress\n  provider: ${JSON.stringify(provider)}`,
    issues: {
      [issue.identifier]: [round("greet.txt", "greets."), round("greet.txt", "[1] It says whom.")],
    },
    env: { LINEAR_API_KEY: apiKey },
  });
  const { github } = world;
  const shown = async () => {
    const query = `query($id: String!) { issue(id: $id) { state { name } attachments { nodes { url } }
      comments(first: 50) { nodes { body } } } }`;
    return (await ask<Shown>(linear.url, query, { id: issue.id })).issue;
  };
  const linked = async (url: string) => {
    const { attachments, comments } = await shown();
    return [
      attachments.nodes.filter((one) => one.url === url).length,
      comments.nodes.length,
      comments.nodes.filter(({ body }) => body.includes(`](${url})`)).length,
    ];
  };
  // The server is killed before the answer: the comment is there, and the next server finds it.
  linear.faults.add({ kind: "slow", ms: 400, match: { operationName: "SymphonyWriteComment" } });
  await world.serve();
  const [pull] = await eventually("the pull request", async () => {
    const found = await world.pulls();
    return found.length === 1 ? found : undefined;
  });
  assert.match(pull?.head.label ?? "", new RegExp(`^acme:symphony/${issue.identifier}-`));
  const url = `${github.web}/acme/app/pull/${pull?.number}`;
  await eventually("it is attached", async () => (await linked(url))[0] === 1);
  await world.crash();
  await eventually("it is linked", async () => (await linked(url)).join() === "1,1,1");
  await eventually("it waits", async () => (await shown()).state.name === "In Review");
  await world.crash();
  await github.act({ do: "review", as: "grace", event: "request_changes", body: "Whom?" });
  const name = pull?.head.label.replace("acme:", "") ?? "";
  await world.offered(2, issue.identifier, name);
  await github.act({ do: "review", as: "grace", event: "approve" });
  await github.act({ do: "merge", as: "grace", method: "squash" });
  await eventually("it is done", async () => (await shown()).state.name === "Done");
  await eventually("its workspace is gone", async () => !world.hasWorkspace(issue.identifier));
  assert.deepEqual(await linked(url), [1, 1, 1]);
  // Linear's history is not modelled: the events have the moves.
  const { stdout } = await world.symphony("events", "--type", "issue.moved");
  assert.match(
    stdout,
    /In Review to In Progress[\s\S]*In Progress to In Review[\s\S]*In Review to Done/,
  );
});
