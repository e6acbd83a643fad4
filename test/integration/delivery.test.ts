import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  const counted = (await world.symphony("metrics")).stdout;
  for (const line of [
    /^symphony_pull_requests_total\{event="opened"\} 1$/m,
    /^symphony_pull_requests_total\{event="merged"\} 1$/m,
    /^symphony_feedback_rounds_total\{by="person"\} 1$/m,
    /^symphony_feedback_rounds_total\{by="machine"\} 1$/m,
    /^symphony_issue_to_merge_seconds_count 1$/m,
  ])
    assert.match(counted, line);
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
    { type: "shell", cmd: "echo greets > greet.txt; sleep 120" },
    { type: "text", text: "greet.txt greets." },
    { type: "shell", cmd: "echo greets you > greet.txt; sleep 120" },
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
  /** Kills the server while a command of codex runs that has written `text`. */
  const crashInTurn = async (text: string) => {
    const file = join(world.place.workspace("LOCAL-1"), "greet.txt");
    await eventually("codex is in its turn", async () => {
      return existsSync(file) && readFileSync(file, "utf8") === `${text}\n`;
    });
    await world.server.crash();
  };
  let token = github.describe().tokens["symphony-bot"];
  const revokeToken = () => github.act({ do: "revoke-token", token });
  const renewToken = async () => {
    ({ token } = await github.act({ do: "token", as: "symphony-bot" }));
    assert.ok(token);
    const added = await world.typed(token, "secrets", "add", "GITHUB_TOKEN");
    assert.equal(added.code, 0, added.stderr);
  };
  await world.create();
  await world.serve();
  await crashInTurn("greets");
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
  await crashInTurn("greets you");
  await revokeToken();
  await world.serve();
  // What could not be read is said first, then what could not be pushed.
  const revoked =
    /^push refused: .*; next: symphony secrets add GITHUB_TOKEN, then symphony deliver LOCAL-1$/;
  await world.until("the push is refused", ({ delivery }) => revoked.test(delivery?.problem ?? ""));
  await renewToken();
  assert.equal((await world.symphony("deliver", "LOCAL-1")).code, 0);
  await world.offered(2);
  const answers = await world.answered(number, 2);
  assert.ok(answers.every(({ body }) => /It says whom now\./.test(body)));
  const last = async () => JSON.stringify((await openai.requests()).at(-1)?.body);
  assert.match(await last(), /Whom\?/);
  const fail = () => github.act({ do: "ci", conclusion: "failure", log: "not ok 1 - sum of 2" });
  await revokeToken();
  await world.crash(fail);
  const unread = /^not read: GitHub: Bad credentials .*; next: symphony secrets add GITHUB_TOKEN$/;
  await world.until(
    "it is said while it is in review",
    ({ status, delivery }) => status === "review" && unread.test(delivery?.problem ?? ""),
  );
  await renewToken();
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
  for (const by of ["template", "model", "agent", "label"]) {
    const usage = await world.symphony("usage", "--by", by, "--outcome");
    assert.match(usage.stdout, /merged +[1-9][\d.]*k? /, `${by}: ${usage.stdout}${usage.stderr}`);
  }
  const turns = (await openai.requests()).filter(({ kind }) => kind === "turn").length;
  assert.ok(turns <= 6, `${turns} requests to the model`);
});
