import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { makeDataDir } from "../../src/core/store/lock.ts";
import { openLocalIssues } from "../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../src/core/tracker/local/settings.ts";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { config } from "../support/makers/issue.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const codex = process.env["SYMPHONY_CODEX"] ?? "";

/** A server on the embedded tracker with one issue; the real codex works on it and its model follows `script`. */
async function people(script: unknown, timeoutMs: number) {
  assert.ok(existsSync(codex), "set SYMPHONY_CODEX to the codex binary");
  const openai = await startFakeOpenai(script);
  const home = await codexHome(openai.url);
  const root = join(home.path, "..");
  const dataDir = join(root, "data");
  const workflowPath = join(root, "WORKFLOW.md");
  const command = `"${codex}" -c features.default_mode_request_user_input=true app-server`;
  await writeFile(
    workflowPath,
    `---
tracker: { kind: local }
workspace: { root: ${home.workspaces} }
polling: { interval_ms: 60000 }
agent: { approvals: ask, approval_timeout_ms: ${timeoutMs}, max_turns: 1 }
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000, env_passthrough: [FAKE_MODEL_KEY] }
---
Do {{ issue.identifier }}
`,
  );
  await makeDataDir(dataDir);
  const local = openLocalIssues(dataDir, localOptions(config().tracker), systemClock);
  local.create({ title: "Ask first" });
  local.close();
  const env = { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" };
  const place = { workflowPath, dataDir, cwd: root, env };
  const json = async (...args: string[]) => {
    const { stdout, stderr } = await symphony(place, ...args, "--json");
    assert.notEqual(stdout, "", stderr);
    return JSON.parse(stdout);
  };
  return {
    openai,
    place,
    json,
    workspaces: home.workspaces,
    escaped: join(home.userHome, "escaped.txt"),
    /** The one question that waits for a person. */
    asked: () =>
      eventually("a question is in the inbox", async () => (await json("inbox")).items[0] ?? null),
    said: (text: string) =>
      eventually(`the agent says ${text}`, async () => {
        const requests = JSON.stringify(await openai.requests());
        return requests.includes(text) ? true : null;
      }),
    attempts: async () => (await json("api", "GET", "/api/v1/LOCAL-1/attempts")).attempts,
    async [Symbol.asyncDispose]() {
      await openai.close();
      await home[Symbol.asyncDispose]();
    },
  };
}

const extra = { sandbox_permissions: "require_escalated", justification: "May I leave?" };
/** An approved command can write to the whole disk, except what is hidden: data and other workspaces. */
const leave = {
  type: "shell",
  cmd: 'touch "$HOME/escaped.txt" inside.txt; pwd; ls -A .. ../../data; echo went-outside',
  extra,
};
const ended = { type: "text", text: "That was it." };
const question = {
  type: "call",
  name: "request_user_input",
  arguments: {
    questions: [
      {
        id: "colour",
        header: "Colour",
        question: "Which colour?",
        options: [
          { label: "Red", description: "warm" },
          { label: "Blue", description: "cold" },
        ],
      },
    ],
  },
};

describe("a person answers the real codex", () => {
  for (const [word, result] of [
    ["approve", "/workspaces/LOCAL-1\\n..:\\nLOCAL-1\\n\\n../../data:\\nwent-outside"],
    ["decline", "rejected by user"],
  ] as const) {
    test(`an escalation is shown, and after ${word} the turn continues in the same session; an approved command runs in the workspace`, async () => {
      await using p = await people([leave, ended], 600_000);
      await using _server = await Served.start(p.place);
      const item = await p.asked();
      assert.deepEqual([item.issue_identifier, item.kind], ["LOCAL-1", "approval"]);
      assert.match(item.prompt, /touch .*escaped\.txt[\s\S]*May I leave\?/);
      const state = await p.json("state");
      assert.equal(state.counts.blocked, 1);
      assert.ok(!existsSync(p.escaped));
      // A workspace that begins while the command waits is hidden too.
      await mkdir(join(p.workspaces, "OTHER"));
      const reply = await p.json("respond", "LOCAL-1", word);
      assert.equal(reply.applies, "now");
      await p.said(result);
      assert.equal(existsSync(p.escaped), word === "approve");
      assert.equal(existsSync(join(p.workspaces, "LOCAL-1", "inside.txt")), word === "approve");
      await eventually("the inbox is empty", async () =>
        (await p.json("inbox")).total === 0 ? true : null,
      );
      const requests = await p.openai.requests();
      assert.equal(new Set(requests.map(({ body }) => body.prompt_cache_key)).size, 1);
    });
  }

  test("a question is answered with text", async () => {
    await using p = await people([question, ended], 600_000);
    await using _server = await Served.start(p.place);
    const item = await p.asked();
    assert.deepEqual([item.kind, item.prompt], ["question", "Which colour?"]);
    assert.deepEqual(item.options, ["Red", "Blue"]);
    assert.equal((await p.json("respond", "LOCAL-1", "Blue, and light")).applies, "now");
    await p.said("Blue, and light");
  });

  test("after the time limit the issue is blocked without a process; an answer resumes the thread in a new attempt", async () => {
    await using p = await people([leave, ended], 1_500);
    await using _server = await Served.start(p.place);
    await eventually("the run has ended", async () => {
      const [item] = (await p.json("inbox")).items;
      return item && item.until === null ? true : null;
    });
    const [before] = await p.attempts();
    assert.equal((await p.json("respond", "LOCAL-1", "decline")).applies, "next_attempt");
    await p.said("The answer: No, declined. Continue without it.");
    const attempts = await p.attempts();
    assert.deepEqual(
      attempts.map(({ thread_id }: { thread_id: string }) => thread_id),
      attempts.map(() => before.thread_id),
    );
    assert.ok(attempts.length >= 2);
    assert.ok(!existsSync(p.escaped));
  });
});
