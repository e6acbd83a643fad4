// Rows of the scheduler's and command line's case file that are the same at every command: S18, S22 to S25, S29 and S30.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { after, before, test } from "node:test";
import { catalogue } from "../../src/commands/catalogue.ts";
import { loadRow, type NamedRow } from "../../src/commands/table.ts";
import { dayOf, parseDuration, sinceTime, untilTime } from "../../src/commands/when.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { createWorld } from "../support/worlds/core.ts";
import { type LivingServer, livingServer } from "../support/worlds/living-server.ts";
import { type RunOptions, symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

let living: LivingServer;
before(async () => {
  living = await livingServer();
});
after(() => living[Symbol.asyncDispose]());

function run(args: readonly string[], { env, ...options }: RunOptions = {}) {
  return symphony(args, { ...options, env: { SYMPHONY_URL: living.server.url, ...env } });
}

/** The command with its stdout on a disk that is full. */
async function onFullDisk(args: readonly string[]) {
  const env = { PATH: process.env["PATH"], SYMPHONY_URL: living.server.url };
  const full = openSync("/dev/full", "w");
  const child = spawn(process.execPath, [symphonyFile, ...args], {
    env,
    stdio: ["ignore", full, "pipe"],
  });
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (part: string) => {
    stderr += part;
  });
  const [code] = await once(child, "close");
  return { code, stderr };
}

test("S18: a command whose output cannot be written says so in one line and fails", async () => {
  const readers = [
    ["state"],
    ["explain", "ENG-123"],
    ["metrics"],
    ["issue", "list", "--quiet"],
    ["events", "--since", "0"],
    ["events", "--since", "0", "--follow"],
    ["config", "schema"],
    ["api", "GET", "/metrics"],
    ["completion", "bash"],
    ["help"],
    ["state", "--help"],
    ["--version"],
  ];
  for (const args of readers) {
    const { code, stderr } = await onFullDisk(args);
    assert.equal(code, 1, args.join(" "));
    assert.match(stderr, /^symphony: The output could not be written: ENOSPC[^\n]*\n$/);
  }
  const { code, stderr } = await onFullDisk(["state", "--json"]);
  assert.deepEqual([code, JSON.parse(stderr).error.code], [1, "storage_unavailable"]);
});

test("S22: a command that does not exist is wrong usage, with --help too, at every level", async () => {
  const meant: [string[], string][] = [
    [["stae", "--help"], "did you mean state?"],
    [["--help", "stae"], "did you mean state?"],
    [["help", "stae"], "did you mean state?"],
    [["issue", "shwo", "--help"], "did you mean show?"],
    [["help", "issue", "shwo"], "did you mean show?"],
    [["issue", "help", "shwo"], "did you mean show?"],
    [["config", "overlay", "st", "--help"], "did you mean set?"],
    [["audit", "--since", "1h", "vrify", "--help"], "did you mean verify?"],
    [["NO-SUCH", "--help"], "symphony help lists the commands"],
    [["templates", "nonsense", "-h"], "symphony templates has list, show"],
  ];
  for (const [args, hint] of meant) {
    const { code, stdout, stderr } = await symphony(args);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, /^symphony: unknown command '/, args.join(" "));
    assert.ok(stderr.includes(hint), `${args.join(" ")}: ${stderr}`);
  }
  assert.equal((await symphony(["audit", "--since", "1h", "verify", "--help"])).code, 0);
});

test("S23: exit codes say what stands in the way", async () => {
  const code = async (...args: string[]) => (await run(args)).code;
  assert.equal(await code("respond", "ENG-123", "approve"), 7);
  assert.equal(await code("config", "overlay", "set", "agent.max_turns", "abc"), 2);
  assert.equal(await code("config", "overlay", "set", "agent.max_turn", "5"), 2);
  const broken = await run(["config", "overlay", "replace", "-"], { input: '{"agnt": {}}' });
  assert.equal(broken.code, 2);
  const open = await run(["templates", "create", "open", "-"], { input: "{% if issue %}" });
  assert.equal(open.code, 2);
  assert.equal(await code("abort", "ENG-124"), 0);
  assert.equal(await code("wait", "ENG-124", "--for", "held", "--timeout", "30s"), 0);
  assert.equal(await code("wait", "ENG-124", "--for", "completed"), 6);
});

test("S24: each option that takes a day, a time or a duration reads the same forms", async () => {
  const now = Date.now();
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  const near = (text: string, ms: number) =>
    assert.ok(Math.abs(Date.parse(sinceTime(text, "--since")) - ms) < 5_000, text);
  near("12h", now - 43_200_000);
  near("7d", now - 604_800_000);
  near("1w", now - 604_800_000);
  near("now", now);
  near("yesterday", Date.parse(day(now - 86_400_000)));
  near("2026-11-23", Date.parse("2026-11-23"));
  near("2026-11-23T17:00:00+01:00", Date.parse("2026-11-23T16:00:00Z"));
  assert.equal(untilTime("2026-11-23", "--until"), "2026-11-24T00:00:00.000Z");
  assert.equal(dayOf("yesterday", "--since"), day(now - 86_400_000));
  const durations = ["500ms", "90s", "1h30m", "1.5h", "2d", "1w", "0"];
  assert.deepEqual(
    durations.map((text) => parseDuration(text, "--timeout")),
    [500, 90_000, 5_400_000, 5_400_000, 172_800_000, 604_800_000, 0],
  );
  for (const text of ["", "10", "5 m", "m", "-5m", "1y", "5m!", "9".repeat(30).concat("d")]) {
    assert.throws(() => parseDuration(text, "--timeout"), { code: "usage" }, text);
  }
  for (const text of ["2026-02-30", "2026-11-23T", "2026-11-23T99:00", "last week", "5 m"]) {
    assert.throws(() => sinceTime(text, "--since"), { code: "usage" }, text);
  }
  for (const command of [["usage"], ["audit"], ["events"]]) {
    for (const since of ["yesterday", "7d", "12h", "2026-11-23", "2026-11-23T17:00:00Z"]) {
      const { code, stderr } = await run([...command, "--since", since]);
      assert.equal(code, 0, `${command} ${since}: ${stderr}`);
    }
    const { code, stderr } = await run([...command, "--since", "yestrday"]);
    assert.equal(code, 2);
    assert.match(
      stderr,
      /^symphony: --since: "yestrday" is not a day, a time or a duration\n {2}next: write [^\n]+\n$/,
    );
  }
});

test("S24: a refused value is one sentence, and no validator's text", async () => {
  const said = async (...args: string[]) => (await run(args)).stderr;
  assert.equal(await said("steer", "ENG-123", ""), "symphony: message: must not be empty\n");
  assert.equal(await said("audit", "--limit", "900"), "symphony: limit: must be at most 500\n");
  assert.equal(
    await said("issue", "list", "--limit", "0"),
    "symphony: limit: must be at least 1\n",
  );
  const { ask } = living.server;
  const wrong = [
    ["/api/v1/usage?since=yesterday", "since: must be a day such as 2026-11-23"],
    ["/api/v1/audit?since=x", "since: must be a time such as 2026-11-23T17:00:00Z"],
    ["/api/v1/usage?by=x", "by: must be one of issue, attempt, model, agent, day"],
    ["/api/v1/audit?limit=many", "limit: must be a number"],
  ];
  for (const [path = "", sentence = ""] of wrong) {
    const { error } = (await ask(path)).json();
    assert.ok(error.message.startsWith(sentence), error.message);
  }
});

test("S25: a wrong token and a missing one are told apart, with the variable to set", async () => {
  await using world = await createWorld();
  await using server = await serve(world, { host: "0.0.0.0", token: "right-token" });
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  for (const args of [["state"], ["events", "--follow"], ["api", "GET", "/metrics"], ["metrics"]]) {
    const missing = await symphony(args, { env });
    assert.equal(missing.code, 4, missing.stderr);
    assert.match(
      missing.stderr,
      /none was sent\n {2}next: set SYMPHONY_TOKEN to it/,
      args.join(" "),
    );
    const wrong = await symphony(args, { env: { ...env, SYMPHONY_TOKEN: "canary-token" } });
    assert.equal(wrong.code, 4);
    assert.match(wrong.stderr, /the one that was sent is wrong\n {2}next: correct SYMPHONY_TOKEN/);
    assert.doesNotMatch(wrong.stderr, /canary/);
  }
});

test("S29: a name that finds nothing is refused, with the one that was probably meant", async () => {
  const refused: [string[], number, RegExp][] = [
    [["issue", "list", "--state", "todoo"], 3, /no state "todoo"\n {2}next: did you mean Todo\?/],
    [["issue", "list", "--state", "nope"], 3, /its states are Todo, In Progress/],
    [["usage", "--issue", "ENG-1233"], 3, /no issue ENG-1233[^\n]*\n {2}next: did you mean ENG-1/],
    [["audit", "--issue", "ENG-1233"], 3, /did you mean ENG-1/],
    [["events", "--issue", "ENG-1233"], 3, /did you mean ENG-1/],
  ];
  for (const [args, expected, text] of refused) {
    const { code, stdout, stderr } = await run(args);
    assert.deepEqual([code, stdout], [expected, ""], args.join(" "));
    assert.match(stderr, text, args.join(" "));
  }
  const empty = await run(["issue", "list", "--state", "done", "--json"]);
  assert.deepEqual([empty.code, JSON.parse(empty.stdout).total], [0, 0]);
});

test("S29: a hint names the issue that was typed", async () => {
  const acts = [
    ["abort", "eng-5"],
    ["attach", "ENG-5", "--done"],
    ["deliver", "ENG-5"],
  ];
  for (const args of acts) {
    const { code, stderr } = await run(args);
    assert.equal(code, 7, args.join(" "));
    assert.doesNotMatch(stderr, /\bISSUE\b/, args.join(" "));
    assert.match(stderr, /next: symphony \w+ eng-5/i, args.join(" "));
  }
});

test("S30: bytes that are no text are refused wherever a text is read", async () => {
  const input = Buffer.from([0x61, 0xff, 0xfe]);
  const texts = [
    ["secrets", "add", "BYTES"],
    ["steer", "ENG-123", "-"],
    ["templates", "create", "bytes", "-"],
    ["config", "overlay", "replace", "-"],
    ["issue", "create", "--title", "x", "--description", "-"],
    ["issue", "comment", "ENG-5", "-"],
  ];
  for (const args of texts) {
    const { code, stdout, stderr } = await run(args, { input });
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, /is not UTF-8 text/, args.join(" "));
  }
  const { keys } = (await living.server.ask("/api/v1/secrets")).json();
  assert.ok(!keys.includes("BYTES"));
});

test("every option that takes a duration, a day or a time is read by the one reader", async () => {
  const readers: unknown[] = [parseDuration, sinceTime, untilTime, dayOf];
  const rowsOf = (row: NamedRow): NamedRow[] => [row, ...(row.commands ?? []).flatMap(rowsOf)];
  const rows = (await Promise.all(catalogue.map(loadRow))).flatMap(rowsOf);
  for (const { name, options = [] } of rows) {
    for (const one of options) {
      if (!["duration", "day", "when", "time"].includes(one.value ?? "")) continue;
      assert.ok(readers.includes(one.read), `${name} --${one.name}`);
    }
  }
});
