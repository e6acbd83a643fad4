import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { liveProcesses } from "../../src/core/process/table.ts";
import { realClaude } from "../support/worlds/real-claude.ts";

const plain = { model: null };

describe("the real Claude Code", () => {
  test("works inside symphony's sandbox, is counted as its provider counts, and resumes in a new attempt", async () => {
    await using b = await realClaude([
      { type: "bash", cmd: "touch ../outside; echo ran | tee ran.txt; setsid sleep 300 & true" },
      { type: "write", path: "made.txt", content: "by a tool\n" },
      { type: "text", text: "All done.", usage: { input: 1000, output: 10, cacheRead: 200 } },
      { type: "text", text: "Still done." },
    ]);
    const git = (...args: string[]) => execFileSync("git", args, { cwd: b.workspace });
    git("init", "-q", ".");
    let thread: string;
    {
      await using session = await b.start({ level: "networked" });
      await session.turn("please", plain);
      thread = session.threadId;
    }
    assert.equal(await readFile(join(b.workspace, "ran.txt"), "utf8"), "ran\n");
    assert.ok(!existsSync(join(b.root, "outside")));
    assert.deepEqual(b.said, ["All done."]);
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(command?.type === "command" && command.status === "completed");
    // Its own sandbox would leave files of its own here.
    assert.deepEqual((await readdir(b.workspace)).sort(), [".git", "made.txt", "ran.txt"]);
    git("add", "-A");
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.runId);
    assert.deepEqual(left, []);
    await using session = await b.start({ level: "networked", resumeThreadId: thread });
    assert.ok(session.resumed && session.threadId === thread);
    await session.turn("and again", plain);
    assert.equal(b.said.at(-1), "Still done.");
  });
});
