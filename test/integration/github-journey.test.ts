import assert from "node:assert/strict";
import { test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { deliveryWorld } from "../support/worlds/delivery-world.ts";
import { realProgram } from "../support/worlds/real-agent.ts";
import { eventually } from "../support/worlds/symphony.ts";

const secret = "hook".repeat(8);

test("the real codex works on an issue of a board: picked up, worked on, moved, commented, delivered and closed, over limits, a lost and a doubled webhook, a lost answer, a kill and a transfer", async () => {
  await using openai = await startFakeOpenai([
    { type: "shell", cmd: "echo greets > greet.txt; sleep 0.4" },
    { type: "text", text: "greet.txt greets." },
    { type: "shell", cmd: "sleep 600" },
  ]);
  await using home = await codexHome(openai.url);
  await using world = await deliveryWorld({
    github: { issues: 0 },
    tracker: ({ api }) => `  kind: github
  required_labels: [agent]
  in_progress: In Progress
  provider:
    repositories: [acme/app]
    project: acme/1
    base_url: ${api}`,
    codex: {
      command: `"${realProgram("SYMPHONY_CODEX")}" app-server`,
      parent: home.workspaces,
      env: { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" },
    },
    env: { GITHUB_WEBHOOK_SECRET: secret },
  });
  const { github } = world;
  const [project] = github.world.projects;
  const status = project?.fields.find(({ name }) => name === "Status");
  status?.options?.push(github.world.option("In Review"));
  const { issues } = github.world.repo("acme", "app");
  const issue = () => world.rest("GET /repos/acme/app/issues/1");
  const statuses = () =>
    issues
      .get(1)
      ?.events.filter(({ event }) => event === "project_v2_item_status_changed")
      .map(({ status: to }) => to);
  const { url } = await world.serve();
  github.world.app.hook = {
    ...{ url: `${url}/webhooks/github`, secret, content_type: "json" },
    ...{ insecure_ssl: "0", events: ["*"] },
  };
  github.configure({ webhooks: { drop: 1, duplicate: 2 } });
  // The answer to the second move, to In Progress, is lost.
  const moves = { match: { rootField: "updateProjectV2ItemFieldValue" } };
  github.faults.add({ kind: "lost", after: 1, ...moves });
  const made = await world.symphony(
    ...["issue", "create", "--title", "Greet people by name", "--label", "agent"],
  );
  assert.equal(made.stdout.trim(), "app-1", made.stderr);
  const pull = await eventually("the pull request", async () => (await world.pulls())[0]);
  await eventually("it waits", async () => statuses()?.at(-1) === "In Review");
  await world.crash();
  github.faults.add({ kind: "secondary", status: 429, retryAfter: 1, match: { api: "graphql" } });
  github.faults.add({ kind: "ratelimited", resetMs: 1_000, match: { api: "rest" } });
  await eventually("the limits are over", async () => github.faults.list.length === 0);
  await github.act({ do: "review", as: "grace", event: "approve" });
  await github.act({ do: "merge", as: "grace", method: "squash", pr: pull.number });
  await eventually("it is closed", async () => (await issue()).state === "closed");
  await eventually("its workspace is gone", async () => !world.hasWorkspace("app-1"));
  assert.deepEqual(statuses(), ["Todo", "In Progress", "In Review", "Done"]);
  assert.equal((await issue()).state_reason, "completed");
  const comments = await world.rest("GET /repos/acme/app/issues/1/comments");
  assert.deepEqual(
    comments.map(({ body }: { body: string }) => body.includes(`/pull/${pull.number}`)),
    [true],
    JSON.stringify(comments),
  );

  // A transfer in mid-run ends the run.
  const next = await world.symphony("issue", "create", "--title", "Moves away", "--label", "agent");
  const id = next.stdout.trim();
  const number = Number(id.split("-")[1]);
  await world.until("it runs", ({ status: now }) => now === "running", id);
  const { number: there } = await github.act({ do: "issue", repo: "acme/docs", title: "Moved" });
  const location = `${github.api}/repos/acme/docs/issues/${there}`;
  github.faults.add({
    ...{ kind: "status", status: 301, headers: { location }, times: 10_000 },
    match: { operation: "issues/get", path: `/repos/acme/app/issues/${number}` },
  });
  issues.delete(number);
  const explained = await eventually("its run is ended", async () => {
    const { stdout } = await world.symphony("explain", id);
    return stdout.includes(`transferred to acme/docs#${there}`) ? stdout : undefined;
  });
  assert.doesNotMatch(explained, /running/, explained);
  const received = await world.symphony("events", "--type", "webhook.received", "--json");
  assert.match(received.stdout, /"type":"projects_v2_item"/);
  assert.deepEqual(github.totals.unmodelled, {});
});
