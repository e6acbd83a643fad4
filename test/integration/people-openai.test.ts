import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { LocalProject } from "../support/worlds/openai-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

/** A server whose built-in agent asks a person, and one issue; its model follows `steps`. */
async function asking(steps: readonly object[]) {
  const project = await LocalProject.make();
  Object.assign(project.env, { SYMPHONY_AGENT__APPROVALS: "ask" });
  await project.openai.setScript({
    models: ["gpt-5.5"],
    steps: [
      ...steps,
      { type: "call", name: "issue_move", arguments: { state: "Done" } },
      { type: "text", text: "Done." },
    ],
  });
  const issue = await project.addIssue("Ask first");
  const json = async (...args: string[]) => {
    const { stdout, stderr } = await symphony(project, ...args, "--json");
    assert.notEqual(stdout, "", stderr);
    return JSON.parse(stdout);
  };
  const asked = () =>
    eventually("a question is in the inbox", async () => (await json("inbox")).items[0]);
  return { project, issue, json, asked };
}

describe("a person answers the built-in agent", () => {
  for (const [word, runs] of [
    ["approve", true],
    ["decline", false],
  ] as const) {
    test(`a request to leave the sandbox is shown, and after ${word} the turn continues`, async () => {
      const command = "touch ../../left-the-sandbox";
      const wish = { command, with_escalated_permissions: true, justification: "May I?" };
      const { project, issue, json, asked } = await asking([
        { type: "call", name: "shell", arguments: wish },
      ]);
      await using _project = project;
      await using server = await Served.start(project);
      const item = await asked();
      assert.deepEqual([item.issue_identifier, item.kind], [issue, "approval"]);
      assert.match(item.prompt, /left-the-sandbox[\s\S]*May I\?/);
      assert.equal((await json("state")).counts.blocked, 1);
      const left = join(project.root, "left-the-sandbox");
      assert.ok(!existsSync(left));
      assert.equal((await json("respond", issue, word)).applies, "now");
      await eventually("the issue is completed", () => project.completed(server, issue));
      assert.equal(existsSync(left), runs);
      const { attempts } = await json("attempts", issue);
      assert.equal(attempts.length, 1);
    });
  }

  test("a question is answered with text", async () => {
    const question = { question: "Which colour?", options: ["Red", "Blue"] };
    const { project, issue, json, asked } = await asking([
      { type: "call", name: "ask_user", arguments: question },
    ]);
    await using _project = project;
    await using server = await Served.start(project);
    const item = await asked();
    assert.deepEqual([item.kind, item.options], ["question", ["Red", "Blue"]]);
    const wrong = await symphony(project, "respond", issue, "approve");
    assert.notEqual(wrong.code, 0);
    assert.match(wrong.stderr, /it needs a text answer/);
    await json("respond", issue, "Blue, and keep the old name");
    await eventually("the issue is completed", () => project.completed(server, issue));
    const requests = JSON.stringify(await project.openai.requests());
    assert.match(requests, /Blue, and keep the old name/);
  });
});
