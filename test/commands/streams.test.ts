import assert from "node:assert/strict";
import { test } from "node:test";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { emptyDir, type RunOptions, symphony } from "../support/worlds/run-symphony.ts";

const esc = "\u001b";

test("--json prints one document on stdout and nothing on stderr", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const commands = [
    ["state"],
    ["runtime"],
    ["refresh"],
    ["explain", "ENG-1"],
    ["issue", "show", "ENG-1"],
    ["issue", "list"],
    ["issue", "create", "--title", "New"],
    ["issue", "edit", "ENG-1", "--priority", "none"],
    ["issue", "close", "ENG-1"],
    ["issue", "comment", "ENG-1", "noted"],
    ["steer", "ENG-1", "auth first"],
    ["abort", "ENG-1", "--reason", "wrong branch"],
    ["transition", "ENG-1"],
    ["transition", "ENG-1", "queued"],
    ["attempts", "ENG-1"],
    ["attempt", "att_1"],
    ["wait", "ENG-1", "--for", "running"],
    ["api", "GET", "/api/v1/state"],
    ["openapi"],
  ];
  for (const args of commands) {
    const { code, stdout, stderr } = await symphony([...args, "--json"], { env });
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    assert.equal(stderr, "", args.join(" "));
    assert.equal(typeof JSON.parse(stdout), "object", args.join(" "));
  }
});

test("--json puts an error on stderr as one document and leaves stdout empty", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const missing = await symphony(["issue", "show", "ENG-2", "--json"], { env });
  assert.equal(missing.stdout, "");
  assert.deepEqual(JSON.parse(missing.stderr), {
    error: {
      code: "issue_not_found",
      message: "refused with issue_not_found",
      details: {},
      hint: "did you mean ENG-1?",
    },
  });
  const faulty = await symphony(["--json", "steer", "BAD", "x"], { env });
  assert.deepEqual(JSON.parse(faulty.stderr).error.details, [
    { path: "body.message", message: "too long" },
  ]);
});

test("an error says what failed and the next step, with a stack trace only on request (C-4)", async () => {
  const args = ["state", "--url", "http://127.0.0.1:1"];
  const { code, stdout, stderr } = await symphony(args);
  assert.deepEqual([code, stdout], [5, ""]);
  assert.match(
    stderr,
    /^symphony: No symphony server at http:\/\/127\.0\.0\.1:1: nothing listens there\n {2}next: start one with `symphony serve`/,
  );
  assert.doesNotMatch(stderr, / at .*\.ts/);
  assert.match((await symphony([...args, "--debug"])).stderr, /ECONNREFUSED/);
});

test("only a terminal gets colours, unless an option says otherwise", async () => {
  await using api = await startApiDouble();
  const coloured = async (args: readonly string[], env: RunOptions["env"]) => {
    const options = { env: { SYMPHONY_URL: api.url, ...env } };
    return (await symphony(["state", ...args], options)).stdout.includes(esc);
  };
  assert.equal(await coloured([], {}), false);
  assert.equal(await coloured(["--color", "always"], {}), true);
  assert.equal(await coloured([], { FORCE_COLOR: "1" }), true);
  assert.equal(await coloured([], { FORCE_COLOR: "0" }), false);
  assert.equal(await coloured(["--color", "never"], { FORCE_COLOR: "1" }), false);
  assert.equal(await coloured(["--color", "always"], { NO_COLOR: "1" }), true);
  assert.equal(await coloured(["--color", "always", "--json"], {}), false);
});

test("the output contains nothing that a terminal would interpret", async () => {
  await using api = await startApiDouble();
  api.title = `${esc}]0;owned\u0007red ${esc}[31mtext\u009b2J\u202e end`;
  const env = { SYMPHONY_URL: api.url };
  const human = await symphony(["issue", "list"], { env });
  assert.match(human.stdout, /red text end/);
  const json = await symphony(["state", "--json"], { env });
  for (const { stdout } of [human, json]) assert.doesNotMatch(stdout, /(?!\n)\p{Cc}/u);
  assert.equal(JSON.parse(json.stdout).running[0].title, api.title);
});

test("with --quiet only the data is printed", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const args = ["issue", "create", "--title", "New"];
  const loud = await symphony(args, { env });
  assert.equal(loud.stdout, "ENG-1\n");
  assert.match(loud.stderr, /ENG-1 created: New/);
  const quiet = await symphony([...args, "--quiet"], { env });
  assert.deepEqual([quiet.stdout, quiet.stderr], ["ENG-1\n", ""]);
});

test("without a terminal no command asks a question", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  for (const args of [
    ["issue", "create"],
    ["steer", "ENG-1"],
  ]) {
    const { code, stderr } = await symphony(args, { env });
    assert.equal(code, 2, args.join(" "));
    assert.match(stderr, /is missing, and there is no terminal to ask on/);
  }
  assert.deepEqual(api.seen, []);
});

test("a message from stdin is sent unchanged", async () => {
  await using api = await startApiDouble();
  using dir = emptyDir();
  const input = "first line\n\n--json is not an option here\n";
  const env = { SYMPHONY_URL: api.url };
  const { code } = await symphony(["steer", "ENG-1", "-"], { env, input, cwd: dir.path });
  assert.equal(code, 0);
  assert.deepEqual(api.seen.at(-1)?.body, { message: input.trimEnd() });
  await symphony(["steer", "ENG-1", "--", "--yes"], { env });
  assert.deepEqual(api.seen.at(-1)?.body, { message: "--yes" });
});

test("the token of the environment is sent, and never shown", async () => {
  await using api = await startApiDouble();
  api.token = "canary-token";
  const env = { SYMPHONY_URL: api.url, SYMPHONY_TOKEN: "canary-token" };
  assert.equal((await symphony(["state"], { env })).code, 0);
  const wrong = { ...env, SYMPHONY_TOKEN: "canary-wrong" };
  const refused = await symphony(["state", "--debug"], { env: wrong });
  assert.equal(refused.code, 4);
  assert.doesNotMatch(refused.stdout + refused.stderr, /canary/);
});
