import assert from "node:assert/strict";
import { test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { deliveryWorld } from "../support/worlds/delivery-world.ts";
import { realProgram } from "../support/worlds/real-agent.ts";
import { eventually } from "../support/worlds/symphony.ts";

const secret = "hook".repeat(8);

/** The real codex with the answers of `script`, and a served project whose issues are on the board `acme/1`. */
async function boardWorld(script: readonly object[]) {
  const stack = new AsyncDisposableStack();
  const openai = stack.use(await startFakeOpenai(script));
  const home = stack.use(await codexHome(openai.url));
  const world = stack.use(
    await deliveryWorld({
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
    }),
  );
  await world.serve();
  world.hook(secret);
  return {
    ...{ world, github: world.github, issues: world.github.world.repo("acme", "app").issues },
    async create(title: string) {
      const made = await world.symphony("issue", "create", "--title", title, "--label", "agent");
      assert.equal(made.stdout, "app-1\n", made.stderr);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

test("the real codex works on an issue of a board: picked up, worked on, moved, linked, delivered and closed, over limits, a lost and a doubled webhook, a lost answer and a kill", async () => {
  await using at = await boardWorld([
    { type: "shell", cmd: "echo greets > greet.txt; sleep 0.4" },
    { type: "text", text: "greet.txt greets." },
  ]);
  const { world, github, issues } = at;
  const status = github.world.projects[0]?.fields.find(({ name }) => name === "Status");
  status?.options?.push(github.world.option("In Review"));
  const issue = () => world.rest("GET /repos/acme/app/issues/1");
  const statuses = () =>
    issues
      .get(1)
      ?.events.filter(({ event }) => event === "project_v2_item_status_changed")
      .map(({ status: to }) => to);
  github.configure({ webhooks: { drop: 1, duplicate: 2 } });
  // The answer to the second move, to In Progress, is lost.
  const moves = { match: { rootField: "updateProjectV2ItemFieldValue" } };
  github.faults.add({ kind: "lost", after: 1, ...moves });
  await at.create("Greet people by name");
  const pull = await eventually("the pull request", async () => (await world.pulls())[0]);
  await eventually("it waits", async () => statuses()?.at(-1) === "In Review");
  assert.match(world.server.log, /GitHub reported projects_v2_item edited/);
  await world.crash();
  github.faults.add({ kind: "secondary", status: 429, retryAfter: 1, match: { api: "graphql" } });
  github.faults.add({ kind: "ratelimited", resetMs: 1_000, match: { api: "rest" } });
  await eventually("the limits are over", async () => github.faults.list.length === 0);
  await github.act({ do: "review", as: "grace", event: "approve" });
  await github.act({ do: "merge", as: "grace", method: "squash", pr: pull.number });
  await eventually("it is closed", async () => (await issue()).state === "closed");
  await eventually("its workspace is gone", async () => !world.hasWorkspace("app-1"));
  await eventually("it is done", async () => statuses()?.at(-1) === "Done");
  assert.deepEqual(statuses(), ["Todo", "In Progress", "In Review", "Done"], "each once");
  assert.equal((await issue()).state_reason, "completed");
  const comments: readonly { readonly body: string }[] = await world.rest(
    "GET /repos/acme/app/issues/1/comments",
  );
  assert.deepEqual(
    comments.map(({ body }) => body.includes(`/pull/${pull.number}`)),
    [true],
    JSON.stringify(comments),
  );
  assert.deepEqual(github.totals.unmodelled, {});
});

test("an issue of a board that is transferred in mid-run ends its run, and says where it went", async () => {
  await using at = await boardWorld([{ type: "hang", at: "headers", sticky: true }]);
  const { world, github, issues } = at;
  await at.create("Moves away");
  await eventually("its turn runs", async () => world.server.log.includes("turn started"));
  const { number } = await github.act({ do: "issue", repo: "acme/docs", title: "Moved" });
  const location = `${github.api}/repos/acme/docs/issues/${number}`;
  github.faults.add({
    ...{ kind: "status", status: 301, headers: { location }, times: 10_000 },
    match: { path: "/repos/acme/app/issues/1" },
  });
  issues.delete(1);
  const where = `transferred to acme/docs#${number}`;
  await eventually("its run is ended", async () => world.server.log.includes(where));
  await eventually("nothing runs", async () => {
    const { stderr } = await world.symphony("explain", "app-1");
    return stderr.includes(`has no issue app-1: ${where}`);
  });
});
