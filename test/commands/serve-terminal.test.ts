import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventLine, lineOf } from "../../src/commands/event-line.ts";
import { paintFor } from "../../src/commands/output.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const onTerminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));
const skip = spawnSync("python3", ["--version"]).status === 0 ? false : "needs python3";
const hostile = "Look \u001b[31mred\u001b]0;title\u0007 here";

function project(t: TestContext) {
  const root = realpathSync(temporaryDir(t));
  mkdirSync(join(root, "home"));
  const turn = [
    { do: "say", text: hostile },
    { do: "ask", question: "Which colour?", options: ["Blue"] },
    { do: "tool", name: "issue_move", arguments: { state: "Done" } },
  ];
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  writeFileSync(join(root, "script.json"), JSON.stringify({ issues: { default: [turn] } }));
  const front = {
    tracker: { kind: "local" },
    polling: { interval_ms: 300 },
    host: { min_memory: 0, max_load: 0 },
    workspace: { root: join(root, "workspaces") },
    agent: { approvals: "ask" },
    codex: { command, read_timeout_ms: 30_000 },
  };
  const workflowPath = join(root, "WORKFLOW.md");
  writeFileSync(workflowPath, `---\n${JSON.stringify(front)}\n---\nDo it.\n`);
  return {
    ...{ root, workflowPath, dataDir: join(root, ".symphony") },
    env: { HOME: join(root, "home") },
  };
}

test("on a terminal serve says what happens in lines for a person, and what it waits for at Ctrl-C", {
  skip,
}, async (t) => {
  const place = project(t);
  const made = await symphony(place, "issue", "create", "--title", "One");
  assert.equal(made.code, 0, made.stderr);
  const command = [process.execPath, symphonyFile, "serve", place.workflowPath, "--port", "0"];
  // What takes long is said in lines of its own: how long it takes depends on the machine.
  const env = { ...process.env, ...place.env, TERM: "xterm", NO_COLOR: "1", ACCESSIBLE: "1" };
  const child = spawn("python3", [onTerminal, "completed in state Done", "\u0003", ...command], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const shown = child.stdout.setEncoding("utf8").toArray();
  await eventually("its question is answered", async () => {
    const { code } = await symphony(place, "respond", "LOCAL-1", "Blue");
    return code === 0;
  });
  const text = (await shown).join("").replaceAll("\r", "");
  if (child.exitCode === null) await once(child, "exit");
  assert.equal(child.exitCode, 0, text);
  assert.match(text, /^symphony +\d\S* http:\/\/127\.0\.0\.1:\d+\nworkflow /m);
  assert.match(text, /^level +safe: no network/m);
  const lines = [...text.matchAll(/^\d\d:\d\d:\d\d {2}(.*)$/gm)].map(([, line]) => line ?? "");
  const wanted = [
    "codex can be started",
    "LOCAL-1  dispatched",
    'LOCAL-1  waits for a person: Which colour?  [Blue]  symphony respond LOCAL-1 "ANSWER"',
    "LOCAL-1  completed in state Done",
    "Stopping.",
    "Stopped.",
  ];
  const places = wanted.map((line) => lines.indexOf(line));
  assert.deepEqual(
    places,
    places.toSorted((a, b) => a - b),
    text,
  );
  assert.ok(!places.includes(-1), text);
  assert.ok(!text.includes("\u001b]0") && !text.includes("level=info"), text);
  const log = readFileSync(join(place.dataDir, "log", "symphony.log"), "utf8");
  assert.match(log, /level=info msg=.*event=issue\.dispatched/);
});

test("a line for a person has the time of this machine, and a question its answers; an agent's words stay", async () => {
  const paint = await paintFor(false);
  const line = (type: string, message: string, data = {}) => lineOf({ type, message, data }, paint);
  const at = new Date(Date.now() + 30 * 86_400_000);
  const later = line("provider.paused", `no turns until ${at.toISOString()}: limit`);
  const day = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((n) =>
    `${n}`.padStart(2, "0"),
  );
  assert.equal(later, `no turns until ${day.join("-")} ${at.toTimeString().slice(0, 5)}: limit`);
  const said = `I read ${at.toISOString()}`;
  assert.equal(line("agent.message", said), said);
  const retry = line("issue.retrying", "retry 2: worker exited: boom", { error: "boom" });
  assert.equal(retry, "retry 2: boom");
  const needs = { kind: "question", options: ["Blue", "Green"] };
  assert.equal(line("issue.blocked", "waits: Which?", { needs }), "waits: Which?  [Blue | Green]");
  const approval = { needs: { kind: "approval", options: ["accept"] } };
  assert.equal(line("issue.blocked", "waits: Run it?", approval), "waits: Run it?");
  const event = { type: "issue.blocked", message: "waits: Run it?", issueIdentifier: "EX-1" };
  const next = "symphony respond EX-1 approve --id ask_1";
  const shown = eventLine({ ...event, data: { ...approval, next } }, paint);
  assert.equal(shown, `EX-1  waits: Run it?  ${next}`);
});

test("without a terminal the log is logfmt, and each form can be asked for", async (t) => {
  for (const [args, form] of [
    [[], /^time=\S+ level=\w+ msg=/m],
    [["--log-format", "json"], /^\{"time":"[^"]+","level":"\w+","msg":/m],
    [["--log-format", "text"], /^symphony +\d\S* http:\/\/127/m],
  ] as const) {
    const place = project(t);
    await using server = await Served.start(place, ...args);
    await eventually(String(form), async () => form.test(server.log));
  }
});
