import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { catalogue } from "../../src/commands/catalogue.ts";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

test("--version prints the version of package.json", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  for (const flag of ["--version", "-V"]) {
    assert.deepEqual(await symphony([flag]), { code: 0, stdout: `${version}\n`, stderr: "" });
  }
});

test("--help names every command, and prints to stdout", async () => {
  const { code, stdout, stderr } = await symphony(["--help"]);
  assert.deepEqual([code, stderr], [0, ""]);
  for (const { name, summary } of catalogue) {
    assert.match(stdout, new RegExp(`^  ${name} `, "m"));
    assert.ok(!summary.endsWith("."), name);
  }
  assert.equal((await symphony(["help"])).stdout, stdout);
  assert.equal((await symphony(["--json", "--help"])).stdout, stdout);
});

test("every command's help has a summary, examples first, and one line about the options of every command", async () => {
  const topics = [...catalogue.map(({ name }) => [name]), ["issue", "create"], ["issue", "close"]];
  for (const topic of topics) {
    const { code, stdout } = await symphony([...topic, "--help"]);
    assert.equal(code, 0, topic.join(" "));
    assert.match(stdout, /^[A-Z].*\.\n\nExamples:\n {2}.*symphony /, topic.join(" "));
    assert.ok(stdout.indexOf("Examples:") < stdout.indexOf("Usage:"), topic.join(" "));
    assert.match(
      stdout,
      /\n\nOptions of every command, .*: symphony help options\n$/,
      topic.join(" "),
    );
    assert.equal((await symphony(["help", ...topic])).stdout, stdout, topic.join(" "));
  }
});

test("an unknown command or option is wrong usage, and a similar one is suggested", async () => {
  const command = await symphony(["stae"]);
  assert.equal(command.code, 2);
  assert.match(command.stderr, /unknown command .stae.\n {2}next: did you mean state\?/);
  const option = await symphony(["state", "--wach"]);
  assert.equal(option.code, 2);
  assert.match(option.stderr, /--watch/);
  const nothing = await symphony([]);
  assert.deepEqual([nothing.code, nothing.stdout], [2, ""]);
  assert.match(nothing.stderr, /Usage: symphony COMMAND/);
});

test("help, and a group without one of its commands, are one document under --json", async () => {
  const help = await symphony(["help", "state", "--json"]);
  assert.equal(JSON.parse(help.stdout).text, (await symphony(["help", "state"])).stdout);
  const group = await symphony(["issue", "--json"]);
  assert.deepEqual([group.code, group.stdout], [2, ""]);
  assert.equal(JSON.parse(group.stderr).error.hint, "symphony issue --help");
});

test("a wrong argument is refused before any request to a server", async () => {
  const wrong = [
    ["api", "BREW", "/api/v1/state"],
    ["wait", "ENG-1"],
    ["wait", "ENG-1", "--for", "complete"],
    ["wait", "ENG-1", "--for", "held", "--timeout", "soon"],
    ["events", "--type", "turn.fialed"],
    ["attempts", "ENG-1", "--limit", "many"],
    ["issue", "edit", "ENG-1"],
    ["issue", "create", "--title", "x", "--priority", "high"],
    ["serve", "--port", "-1"],
    ["serve", "--port", "65536"],
    ["serve", "a.md", "b.md"],
    ["serve", "--log-format", "xml"],
    ["state", "--color", "blue"],
    ["api", "GET"],
    ["help", "nonsense"],
  ];
  for (const args of wrong) {
    const { code, stdout, stderr } = await symphony([...args, "--url", "http://127.0.0.1:1"]);
    assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
    assert.equal(stdout, "", args.join(" "));
  }
});

test("the exit codes are those of the contract", async () => {
  const { stdout } = await symphony(["help", "exit-codes"]);
  const rows = [...stdout.matchAll(/^ +(\d+) {2}(.+)$/gm)].map(
    ([, code, text]) => `${code} ${text}`,
  );
  assert.deepEqual(rows, [
    "0 done",
    "1 failed",
    "2 wrong usage",
    "3 not found",
    "4 not authorised",
    "5 server unreachable",
    "6 needs a person",
    "7 conflict with the present state",
    "124 timed out",
    "130 interrupted",
  ]);
});

test("each exit code occurs", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const code = async (...args: string[]) => (await symphony(args, { env })).code;
  assert.equal(await code("issue", "show", "ENG-9"), 3);
  assert.equal(await code("attempt", "att_9"), 3);
  assert.equal(await code("api", "GET", "/api/v1/nowhere"), 3);
  assert.equal(await code("transition", "ENG-1", "Nowhere"), 7);
  assert.equal(await code("wait", "ENG-1", "--for", "completed", "--timeout", "50ms"), 124);
  api.status = "blocked";
  assert.equal(await code("wait", "ENG-1", "--for", "completed"), 6);
  assert.equal(await code("abort", "ENG-1"), 7);
  api.status = "failed";
  assert.equal(await code("wait", "ENG-1", "--for", "completed"), 1);
  api.token = "secret";
  assert.equal(await code("state"), 4);
});

test("a plain state is read the same with and without the parser", async () => {
  await using api = await startApiDouble();
  const quick = await symphony(["state", "--json", "--url", api.url]);
  const parsed = await symphony(["state", "--json", `--url=${api.url}`, "--color", "auto"]);
  assert.deepEqual(quick, parsed);
  assert.equal(quick.code, 0);
});

test("for a transition that is not allowed a similar one is suggested, or all are listed", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  const near = await symphony(["transition", "ENG-1", "human reviw"], { env });
  assert.match(near.stderr, /did you mean "Human Review"\?/);
  const far = await symphony(["transition", "ENG-1", "zzz"], { env });
  assert.match(far.stderr, /it can go to queued, Human Review/);
});

test("close chooses Done among the end states, and accepts another by name", async () => {
  await using api = await startApiDouble();
  const env = { SYMPHONY_URL: api.url };
  await symphony(["issue", "close", "ENG-1"], { env });
  assert.deepEqual(api.seen.at(-1)?.body, { state: "Done" });
  await symphony(["issue", "close", "ENG-1", "--state", "Closed"], { env });
  assert.deepEqual(api.seen.at(-1)?.body, { state: "Closed" });
});
