import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { liveProcesses } from "../../src/core/process/table.ts";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { claudeWorld } from "../support/worlds/claude-world.ts";
import { realProgram } from "../support/worlds/real-agent.ts";
import { recordOf } from "../support/worlds/real-claude.ts";
import { eventually, symphony } from "../support/worlds/symphony.ts";

describe("serve with the real Claude Code", () => {
  test("an issue is worked on, kill -9 of the server, resumed, guided, approved, moved to Done and delivered as a branch; every token is counted", async () => {
    const usage = { input: 100, output: 10 };
    await using model = await startFakeModel("fake-anthropic", {
      routes: [
        {
          when: { userText: "was interrupted" },
          steps: [
            {
              type: "bash",
              cmd: "while [ ! -e go ]; do sleep 0.05; done; echo two > two.txt",
              usage,
            },
            { type: "tool", name: "mcp__tracker__issue_move", input: { state: "Done" }, usage },
            { type: "text", text: "All done.", usage },
          ],
        },
      ],
      steps: [{ type: "bash", cmd: "echo one > one.txt; sleep 600", usage }],
    });
    await using world = await claudeWorld({
      command: realProgram("SYMPHONY_CLAUDE"),
      delivers: true,
      agent: { level: "networked", approvals: "ask" },
      claude: { env_passthrough: ["ANTHROPIC_BASE_URL"], login: "api_key" },
      env: { ANTHROPIC_BASE_URL: model.url },
    });
    const approved = async () => {
      const item = await eventually("a question", async () => (await world.json("inbox")).items[0]);
      const issue: string = item.issue_identifier;
      assert.equal((await symphony(world, "respond", issue, "approve")).code, 0);
      return issue;
    };
    let issue: string;
    let thread: string | null;
    let attempt: string;
    {
      await using server = await world.serve();
      issue = await approved();
      // The repository has a file of this name too.
      const written = async () => readFileSync(join(world.workspace(issue), "one.txt"), "utf8");
      await eventually("it works", async () => (await written()) === "one\n");
      const { running } = await server.client.issues.detail({ params: { id: issue } });
      thread = running?.thread_id ?? null;
      attempt = running?.attempt_id ?? "";
      assert.ok(thread !== null);
      const home = join(world.root, "home");
      const record = () => recordOf(home, thread ?? "");
      await eventually("there is a record", async () => (await record()).includes("one.txt"));
      await server.crash();
    }
    await using server = await world.serve();
    const alive = (await liveProcesses()).filter(({ runId }) => runId?.includes(attempt));
    assert.deepEqual(alive, [], "nothing of the first attempt is left");
    await approved();
    const guided = await symphony(world, "steer", issue, "do the login first");
    assert.equal(guided.code, 0, guided.stderr);
    await writeFile(join(world.workspace(issue), "go"), "");
    const done = await eventually("it is completed", async () => {
      const { completed } = await server.client.system.state({});
      return completed.find((row) => row.issue_identifier === issue);
    });
    assert.equal(done.state, "Done");
    const events = await server.events(issue);
    assert.ok(events.some(({ type }) => type === "steer.delivered"));
    const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
    assert.deepEqual(
      attempts.map(({ status, thread_id: id }) => [status, id]),
      [
        ["succeeded", thread],
        ["interrupted", thread],
      ],
    );
    // Four requests of 110 tokens; that of the killed process was counted while it was streamed.
    assert.deepEqual(
      attempts.map(({ tokens }) => tokens.total_tokens),
      [330, 110],
    );
    const sent = JSON.stringify(await model.requests());
    assert.ok(sent.includes("do the login first"));
    const git = gitIn(world.bare);
    const branch = await eventually("its branch is pushed", async () => {
      const refs = git("for-each-ref", "--format=%(refname:short)").split("\n");
      return refs.find((ref) => ref !== "main");
    });
    assert.match(branch, new RegExp(issue, "i"));
    assert.equal(git("show", `${branch}:two.txt`), "two");
    assert.deepEqual(git("diff", "--name-only", `main..${branch}`).split("\n"), [
      "go",
      "one.txt",
      "two.txt",
    ]);
    const listed = await world.json("models");
    assert.ok(listed.models.some(({ id }: { id: string }) => id === "claude-opus-5-5"));
  });
});
