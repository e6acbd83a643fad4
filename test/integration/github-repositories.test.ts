import assert from "node:assert/strict";
import { test } from "node:test";
import { deliveryWorld } from "../support/worlds/delivery-world.ts";
import { eventually } from "../support/worlds/symphony.ts";

test("of several repositories one that cannot be read keeps back its own issues alone, says so, and is worked on again", async () => {
  await using world = await deliveryWorld({
    github: { issues: 0 },
    tracker: ({ api }) => `  kind: github
  required_labels: [agent]
  provider:
    repositories: [acme/docs, acme/app]
    base_url: ${api}`,
    issues: { default: [[{ do: "say", text: "Done." }]] },
  });
  const { github } = world;
  await github.act({ do: "repo", repo: "acme/docs" });
  const create = (repo: string) =>
    github.act({ do: "issue", repo, title: "Greet", labels: ["agent"] });
  // Its only turn says something, so that it is held then.
  const worked = async (name: string) =>
    (await world.symphony("explain", name)).stdout.includes("status    held");
  await world.serve();
  await world.symphony("pause");
  await create("acme/docs");
  await eventually("docs-1 waits", async () =>
    (await world.symphony("state")).stdout.includes("docs-1"),
  );
  const match = { path: "/acme/docs" };
  github.faults.add({ kind: "status", status: 404, message: "Not Found", times: 9_999, match });
  await create("acme/app");
  await world.symphony("resume");
  await eventually("app-1 is worked on", async () => worked("app-1"));
  const { stdout: state } = await world.symphony("state");
  assert.match(state, /tracker: acme\/docs: .*Not Found.*: its issues wait, those of other/);
  const { stdout: why } = await world.symphony("explain", "docs-1");
  assert.match(why, /its repository cannot be read: acme\/docs: .*Not Found/);
  assert.match(why, /status {4}queued/);
  // A restart knows no id of the repository, and the others are worked on.
  await world.crash();
  await create("acme/app");
  await eventually("app-2 is worked on", async () => worked("app-2"));
  github.configure({ clear: true });
  await eventually("docs-1 is worked on", async () => worked("docs-1"));
  assert.doesNotMatch((await world.symphony("state")).stdout, /tracker:/);
});
