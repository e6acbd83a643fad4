import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { deliveryProject } from "../support/makers/delivery-project.ts";
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

test("attach: what a person changed, and their note, are the next turn of the built-in agent's own thread", async () => {
  const run = (cmd: string) => ({ type: "shell", cmd });
  const say = (text: string) => ({ type: "text", text });
  await using openai = await startFakeOpenai([
    ...[run("echo by agent > agent.txt"), say("One."), run("echo two > next.txt"), say("Two.")],
  ]);
  await using place = await deliveryProject({
    front: `agent: { kind: openai }
openai: { base_url: ${JSON.stringify(openai.url)}, model: gpt-5.5 }`,
    env: { OPENAI_API_KEY: "sk-test-0123456789" },
  });
  await using server = await Served.start(place);
  const { issues, system } = server.client;
  const params = { id: "LOCAL-1" };
  const reviewed = async (attempts: number) =>
    eventually(`attempt ${attempts} is in review`, async () => {
      const { review } = await system.state({});
      return review.length > 0 && (await issues.detail({ params })).attempts.count === attempts;
    });
  await issues.create({ body: { title: "Greet" } });
  await reviewed(1);
  const at = await issues.attach({ params, body: { interrupt: false } });
  assert.deepEqual([at.agent_kind, at.agent_home], ["openai", null]);
  await writeFile(join(at.path, "hand.txt"), "by hand\n");
  await issues.detach({ params, body: { note: "Keep it." } });
  await reviewed(2);
  const { attempts } = await issues.attempts({ params });
  assert.deepEqual(
    attempts.map(({ thread_id: id }) => id),
    [at.thread_id, at.thread_id],
  );
  const read = JSON.stringify((await openai.requests()).at(-1)?.body);
  assert.match(read, /by agent[\s\S]*Their note: Keep it\.[\s\S]*\+by hand/);
});
