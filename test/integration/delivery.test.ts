import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { branch, deliveryWorld, round } from "../support/worlds/delivery-world.ts";
import { realProgram } from "../support/worlds/real-agent.ts";
import { eventually } from "../support/worlds/symphony.ts";

const three = {
  "LOCAL-1": [
    round("greet.txt", "greet.txt greets.\n\n- It takes a name.\n- Fixes #1, thanks @mallory."),
    round("greet.txt", "[1] All of it is mended.\n[2] It says why now.\n[3] Renamed."),
    round("test.txt", "[1] The test passes again."),
  ],
};

const lines = [
  { path: "greet.txt", line: 1, body: "Why?" },
  { path: "greet.txt", line: 1, body: "Rename it." },
];

test("delivery: from an issue to a pull request, a review, a failed check, an approval and a merge by a person", async () => {
  await using world = await deliveryWorld({ issues: three, github: { ci: "manual" } });
  const { github } = world;
  await world.create();
  await world.serve();
  const number = (await world.offered(1)).delivery?.pull_request?.number ?? 0;
  await world.until("it is moved", ({ issue }) => issue.state === "In Review");
  const [opened] = await world.pulls();
  assert.match(opened?.title ?? "", /^LOCAL-1: Greet people by name$/);
  const shown = await world.symphony("open", "LOCAL-1");
  assert.match(shown.stdout, new RegExp(`/acme/app/pull/${number}$`, "m"), shown.stderr);
  assert.match(opened?.body ?? "", /^greet\.txt greets\.\n\n- It takes a name\.$/m);
  await github.act({ do: "ci", conclusion: "success" });
  await github.act({
    ...{ do: "review", as: "grace", event: "request_changes" },
    ...{ body: "See below", comments: lines },
  });
  await world.offered(2);
  const answers = await world.answered(number, 3);
  assert.equal(answers.filter(({ in_reply_to_id: at }) => at !== undefined).length, 2);
  const said = answers.map(({ body }) => body.split("\n")[1] ?? "");
  assert.deepEqual(said.sort(), ["All of it is mended.", "It says why now.", "Renamed."]);
  const failed = { do: "ci", job: "test", conclusion: "failure", log: "not ok 1 - sum" };
  for (const attempt of [1, 2]) {
    await github.act(failed);
    await github.act({ do: "ci", job: "build", conclusion: "success" });
    if (attempt === 1) await world.asked("actions/re-run-workflow-failed-jobs");
  }
  await world.offered(3);
  assert.equal((await world.attempts()).length, 3);
  await github.act({ do: "ci", conclusion: "success" });
  await github.act({ do: "review", as: "grace", event: "approve" });
  await world.until(
    "a person may merge it",
    ({ delivery }) => delivery?.waiting_for === "a person to merge it",
  );
  await github.act({ do: "merge", as: "grace", method: "squash" });
  await world.until(
    "it is done",
    ({ status, issue }) => status === "completed" && issue.state === "Done",
  );
  await eventually("its workspace is gone", async () => !world.hasWorkspace());
  await world.once({ number, answers: 3, attempts: 3 });
});

test("delivery: when the base moves, a branch that is behind is updated without a turn; a conflict is one turn, and its commit is the merge", async () => {
  await using world = await deliveryWorld({
    issues: {
      "LOCAL-1": [round("greet.txt", "greet.txt greets."), round("greet.txt", "Both greet.")],
    },
  });
  const { github } = world;
  await world.create();
  await world.serve();
  const number = (await world.offered(1)).delivery?.pull_request?.number ?? 0;
  const parents = async () => {
    const { head } = await world.rest(`GET /repos/acme/app/pulls/${number}`);
    const commit = await world.rest(`GET /repos/acme/app/commits/${head.sha}`);
    return commit.parents.map(({ sha }: { sha: string }) => sha);
  };
  const [first] = await world.pulls();
  const { sha } = await github.act({
    ...{ do: "push", as: "ada", branch: "main" },
    files: { "other.txt": "of ada\n" },
  });
  const required_status_checks = { strict: true, contexts: [] };
  await github.act({
    ...{ do: "protect", branch: "main" },
    protection: { required_status_checks, enforce_admins: false },
  });
  await world.offered(2);
  assert.deepEqual(await parents(), [first?.head.sha, sha], "one merge, and no rewritten commit");
  assert.equal((await world.attempts()).length, 1, "no model call");
  const [second] = await world.pulls();
  const base = await github.act({ do: "conflict" });
  await world.offered(3);
  assert.deepEqual(await parents(), [second?.head.sha, base.sha]);
  assert.equal((await world.attempts()).length, 2);
  const file = await world.rest(`GET /repos/acme/app/contents/greet.txt?ref=${branch}`);
  assert.equal(Buffer.from(file.content, "base64").toString(), "Both greet.\n");
  await github.act({ do: "merge", as: "grace" });
  await world.until("it is done", ({ issue }) => issue.state === "Done");
});

test("delivery: the real codex, which may not write .git, from an issue to its merge, with a kill of the server between any two steps", async () => {
  await using openai = await startFakeOpenai([
    { type: "shell", cmd: "echo greets > greet.txt; sleep 0.4" },
    { type: "text", text: "greet.txt greets." },
    { type: "shell", cmd: "echo greets you > greet.txt; sleep 0.4" },
    { type: "text", text: "[1] It says whom now.\n[2] It says whom now." },
    { type: "shell", cmd: "echo tested > test.txt; sleep 0.4" },
    { type: "text", text: "[1] The test passes again." },
  ]);
  await using home = await codexHome(openai.url);
  await using world = await deliveryWorld({
    github: { ci: "manual" },
    front: `hooks: { before_run: "while [ -e ../../gate ]; do sleep 0.1; done" }`,
    codex: {
      command: `"${realProgram("SYMPHONY_CODEX")}" app-server`,
      parent: home.workspaces,
      env: { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" },
    },
  });
  const { github } = world;
  const gate = join(world.place.root, "gate");
  await world.create();
  await world.crashIn("pulls/create");
  const number = (await world.offered(1)).delivery?.pull_request?.number ?? 0;
  await world.crash(async () => {
    await github.act({ do: "ci", conclusion: "success" });
    await github.act({
      ...{ do: "review", as: "grace", event: "request_changes", body: "See below" },
      comments: [{ path: "greet.txt", line: 1, body: "Whom?" }],
    });
    writeFileSync(gate, "");
  });
  // Killed while the attempt that will read the review is being prepared.
  await eventually("an attempt is prepared", async () =>
    (await world.attempts()).some(({ status }) => status === "preparing"),
  );
  await world.crash(async () => rmSync(gate));
  await world.offered(2);
  const answers = await world.answered(number, 2);
  assert.ok(answers.every(({ body }) => /It says whom now\./.test(body)));
  const last = async () => JSON.stringify((await openai.requests()).at(-1)?.body);
  assert.match(await last(), /Whom\?/);
  const fail = () => github.act({ do: "ci", conclusion: "failure", log: "not ok 1 - sum of 2" });
  await world.crash(fail);
  await world.asked("actions/re-run-workflow-failed-jobs");
  await world.crash(fail);
  await world.offered(3);
  assert.match(await last(), /not ok 1 - sum of 2/, "the log reaches the agent");
  assert.match(await last(), /Whom\?/, "on the same thread, after the kills");
  await world.crash(() => github.act({ do: "ci", conclusion: "success" }));
  await world.crash(() => github.act({ do: "review", as: "grace", event: "approve" }));
  await world.until(
    "a person may merge it",
    ({ delivery }) => delivery?.waiting_for === "a person to merge it",
  );
  await world.crash(() => github.act({ do: "merge", as: "grace" }));
  await world.until("it is done", ({ issue }) => issue.state === "Done");
  await world.crash();
  await eventually("its workspace is gone", async () => !world.hasWorkspace());
  await world.once({ number, answers: 2, attempts: null });
  const turns = (await openai.requests()).filter(({ kind }) => kind === "turn").length;
  assert.ok(turns <= 6, `${turns} requests to the model`);
});
