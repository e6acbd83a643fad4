import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { hostileFiles, plant, ran } from "../support/makers/hostile-files.ts";
import { CommandBench } from "../support/worlds/command-bench.ts";

const codex = process.env["SYMPHONY_CODEX"] ?? "";
const plain = { model: null };
// Symphony's sandbox surrounds it; a sandbox within a sandbox does not work everywhere.
const flags = "--json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox";

describe("agent.kind command with the real codex exec", () => {
  test("two turns and a new attempt on one thread, confined to the workspace", async () => {
    assert.ok(existsSync(codex), "set SYMPHONY_CODEX to the codex binary");
    await using openai = await startFakeOpenai([
      { type: "shell", cmd: "touch ../outside; echo by a command | tee ran.txt; sleep 0.3" },
      { type: "text", text: "All done." },
      { type: "text", text: "Still done." },
    ]);
    await using home = await codexHome(openai.url);
    const b = new CommandBench(home.workspaces, {
      config: {
        line: `"${codex}" exec ${flags} -`,
        resumeLine: `"${codex}" exec ${flags} resume "$SYMPHONY_SESSION" -`,
        output: "codex",
        envPassthrough: ["FAKE_MODEL_KEY"],
        writablePaths: [home.path],
      },
      env: { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" },
    });
    await mkdir(b.workspace);
    await plant(b.workspace, hostileFiles.codex("http://127.0.0.1:9"));
    // As codex writes it for a folder that was trusted once.
    const trusted = `[projects.${JSON.stringify(b.workspace)}]\ntrust_level = "trusted"\n`;
    await appendFile(join(home.path, "config.toml"), trusted);
    {
      await using session = await b.start({ level: "networked" });
      await session.turn("please", plain);
      assert.equal(await readFile(join(b.workspace, "ran.txt"), "utf8"), "by a command\n");
      assert.ok(!existsSync(join(b.root, "outside")));
      assert.deepEqual(b.said, ["All done."]);
      await session.turn("and again", plain);
    }
    const thread = b.events.findLast((event) => event.type === "session.started")?.threadId ?? null;
    await using session = await b.start({ level: "networked", resumeThreadId: thread });
    assert.ok(session.resumed);
    await session.turn("a third time", plain);
    assert.deepEqual(await ran(b.workspace), [], "nothing that the repository names was started");
    assert.equal(session.threadId, thread);
    assert.deepEqual(b.said.slice(0, 2), ["All done.", "Still done."]);
    const totals = b.events.flatMap((event) =>
      event.type === "tokens" ? [event.total.total] : [],
    );
    assert.equal(totals.length, 3);
    assert.deepEqual(
      totals,
      totals.toSorted((one, other) => one - other),
    );
    assert.ok(b.events.some((event) => event.type === "command" && event.status === "completed"));
    const prompts = (await openai.requests()).map((request) => request.lastUser);
    assert.ok(prompts.some((text) => text.includes("a third time")));
  });
});
