// A person with `symphony watch` in front of a real server: an answer, guidance and an abort reach the agents. D24 is a row of the
// cases of the desk.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Step } from "../../src/demo/script.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import { noTmux, Tmux } from "../support/worlds/tmux.ts";

const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));
const done: readonly Step[] = [{ do: "tool", name: "issue_move", arguments: { state: "Done" } }];
const turns: Record<string, readonly (readonly Step[])[]> = {
  "LOCAL-1": [[{ do: "ask", question: "Which colour?", options: ["Blue", "Green"] }, ...done]],
  "LOCAL-2": [
    [
      { do: "tokens", input: 1_000, output: 200 },
      { do: "waitForSteer", ms: 300_000, writeTo: "told.txt" },
      { do: "hang" },
    ],
  ],
};

async function project(t: TestContext) {
  const root = realpathSync(temporaryDir(t));
  mkdirSync(join(root, "home"));
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  writeFileSync(join(root, "script.json"), JSON.stringify({ issues: turns }));
  const front = {
    tracker: { kind: "local" },
    polling: { interval_ms: 500 },
    host: { min_memory: 0, max_load: 0 },
    workspace: { root: join(root, "workspaces") },
    agent: { approvals: "ask" },
    codex: { command, read_timeout_ms: 30_000 },
  };
  const workflowPath = join(root, "WORKFLOW.md");
  writeFileSync(workflowPath, `---\n${JSON.stringify(front)}\n---\nDo it.\n`);
  const dataDir = join(root, ".symphony");
  return { root, workflowPath, dataDir, env: { HOME: join(root, "home") } };
}

test("watch: an answer, guidance, an abort and a move reach their agents, a refusal says why, and o opens the page", {
  skip: noTmux,
}, async (t) => {
  const place = await project(t);
  await using server = await Served.start(place);
  for (const title of ["Choose", "Wait"]) {
    assert.equal((await symphony(place, "issue", "create", "--title", title)).code, 0);
  }
  const bin = join(place.root, "bin");
  const opened = join(place.root, "opened");
  mkdirSync(bin);
  for (const name of ["xdg-open", "open"]) {
    const script = `#!/bin/sh\nprintf '%s\\n' "$@" >> '${opened}'\n`;
    writeFileSync(join(bin, name), script, { mode: 0o755 });
  }
  const PATH = `${bin}:${process.env["PATH"] ?? ""}`;
  const env = { SYMPHONY_DATA_DIR: place.dataDir, PATH };
  await using terminal = await Tmux.start({ columns: 110, env });
  await terminal.symphony("watch");
  await terminal.until("the question is there", (screen) =>
    /Needs you 1\n> LOCAL-1 .*Which colour\?.*\n {4}1 Blue\n {4}2 Green\n/.test(screen),
  );
  await terminal.type("r2");
  await terminal.until("it can be sent", (one) => one.includes("(number or text): 2_"));
  await terminal.key("Enter");
  await terminal.until("it is done", (one) => /Done today 1\n> LOCAL-1 /.test(one));
  assert.ok(
    (await server.events("LOCAL-1")).some(({ type }) => type === "approval.resolved"),
    "the agent had the answer",
  );
  // The issue in full: its tokens, and its timeline as it grows.
  await terminal.type("g");
  await terminal.key("Enter");
  await terminal.until(
    "it is shown",
    (one) => /^LOCAL-2 Wait$/m.test(one) && /^tokens 1\.2k/m.test(one),
  );
  await terminal.type("spaint it blue");
  await terminal.key("Enter");
  await terminal.until("it was delivered", (one) => /steer delivered /.test(one));
  const told = join(place.root, "workspaces", "LOCAL-2", "told.txt");
  const read = async () => /paint it blue/.test(readFileSync(told, "utf8"));
  await eventually("the agent wrote it down", read);
  await terminal.key("Tab");
  await terminal.until("its work is shown", (one) => one.includes("[diff]"));
  await terminal.key("Escape");
  await terminal.until("the lists are back", (one) => /Running 1\n> LOCAL-2/.test(one));
  await terminal.type("a");
  await terminal.until("it is asked once", (one) => one.includes("Stop LOCAL-2?"));
  await terminal.type("y");
  await terminal.until("it is held", (one) => /Held or failed 1\n> LOCAL-2 /.test(one));
  // D24: nothing is moved that the server refuses.
  await terminal.type("ay");
  await terminal.until("the reason is in its row", (one) =>
    /Held or failed 1\n> LOCAL-2 .*\n( {4}.*\n)* {4}refused: .*LOCAL-2/.test(one),
  );
  // What can be opened, by its number: the page of the issue in the browser.
  await terminal.type("o");
  await terminal.until("it is offered", (one) => /1 page +http.*\n.*2 workspace +\//.test(one));
  await terminal.type("1");
  await terminal.key("Enter");
  await eventually("it was opened", async () =>
    readFileSync(opened, "utf8").includes(`${server.url}/#/issue/LOCAL-2\n`),
  );
  // Where it may go: back to the queue, from where it runs again.
  await terminal.type("t");
  await terminal.until("it is offered", (one) => one.includes("queued (here)"));
  await terminal.type("queued");
  await terminal.key("Enter");
  await terminal.until("it runs again", (one) => /Running 1\n> LOCAL-2/.test(one));
  await terminal.type("q");
  await terminal.until("it has ended", (one) => one.includes("ended 0, same"));
});
