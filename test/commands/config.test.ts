import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

let project: Awaited<ReturnType<typeof freshProject>>;
let server: RealServer;
before(async () => {
  project = await freshProject();
  server = await openReal(project.dir);
});
after(async () => {
  await server.stop();
  await project[Symbol.asyncDispose]();
});

const config = (args: readonly string[], options: Parameters<typeof symphony>[1] = {}) =>
  symphony(["config", ...args, "--url", server.url], options);
const put = (overlay: Readonly<Record<string, unknown>>) =>
  server.core.config.changeOverlay(() => overlay);

test("config get prints a single value alone and several as a table, with their origins", async () => {
  await put({});
  assert.deepEqual(await config(["get", "agent.max_turns"]), {
    code: 0,
    stdout: "3\n",
    stderr: "",
  });
  assert.equal((await config(["get", "tracker.kind"])).stdout, "local\n");
  const table = await config(["get", "agent", "--origin"]);
  assert.match(table.stdout, /^KEY +VALUE +ORIGIN\n/);
  assert.match(table.stdout, /^agent\.max_turns +3 +workflow$/m);
  assert.match(table.stdout, /^agent\.max_retries +10 +default$/m);
  assert.doesNotMatch(table.stdout, /^codex/m);
  const json = await config(["get", "agent.max_turns", "--origin", "--json"]);
  assert.deepEqual(JSON.parse(json.stdout), {
    value: 3,
    origins: { "agent.max_turns": "workflow" },
  });
  const slip = await config(["get", "agent.max_turn"]);
  assert.equal(slip.code, 3);
  assert.match(slip.stderr, /did you mean agent\.max_turns\?/);
});

test("config path and config schema print where the configuration is and which fields it has", async () => {
  assert.equal((await config(["path"])).stdout, `${server.workflowPath}\n`);
  const schema = JSON.parse((await config(["schema"])).stdout);
  assert.ok(schema.properties.agent);
});

test("config overlay set reads numbers, booleans and JSON, and leaves the rest as text", async () => {
  await put({});
  const values: [string, string, unknown][] = [
    ["agent.max_turns", "5", 5],
    ["codex.stall_timeout_ms", "-1", -1],
    ["codex.model", "gpt-5-codex", "gpt-5-codex"],
    ["codex.thread_sandbox", '"5"', "5"],
    ["agent.max_retries", "null", null],
    ["tracker.required_labels", '["a"]', ["a"]],
    ["tracker.provider.x", "79254e12", "79254e12"],
    ["x-flag", "true", true],
  ];
  for (const [path, text, value] of values) {
    const { code, stderr } = await config(["overlay", "set", path, text]);
    assert.equal(code, 0, stderr);
    const got = await config(["overlay", "get", path, "--json"]);
    assert.deepEqual(JSON.parse(got.stdout), value, path);
  }
  const port = await config(["overlay", "set", "server.port", "4001"]);
  assert.match(port.stderr, /takes effect at the next start/);
  const bad = await config(["overlay", "set", "agent.max_turn", "5"]);
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /did you mean agent\.max_turns\?/);
  const hostile = await config(["overlay", "set", "__proto__.polluted", "1"]);
  assert.match(hostile.stderr, /__proto__ is not allowed as a key/);
  assert.equal((await config(["overlay", "set", "agent..x", "1"])).code, 2);
});

test("config overlay unset removes a value, and refuses a path that is not set", async () => {
  await put({ agent: { max_turns: 5 } });
  const unset = await config(["overlay", "unset", "agent.max_turns"]);
  assert.deepEqual(
    [unset.code, unset.stderr],
    [
      0,
      "agent.max_turns is removed from the overlay; symphony config get agent.max_turns shows what holds now\n",
    ],
  );
  assert.equal((await config(["overlay", "get"])).stdout, "{}\n");
  assert.equal((await config(["overlay", "unset", "agent.max_turns"])).code, 3);
  assert.equal((await config(["overlay", "get", "agent"])).code, 3);
});

test("two operators who set at the same time never lose a change", async () => {
  await put({});
  const names = ["x-a", "x-b", "x-c"];
  const ended = await Promise.all(names.map((name) => config(["overlay", "set", name, "1"])));
  assert.deepEqual(
    ended.map(({ code }) => code),
    [0, 0, 0],
    JSON.stringify(ended),
  );
  assert.deepEqual(Object.keys(server.core.config.overlay).sort(), names);
});

test("config overlay replace takes a file or stdin, and applies all of it or nothing", async () => {
  const file = join(project.dir, "overlay.json");
  writeFileSync(file, '{"agent": {"max_turns": 6}}');
  assert.equal((await config(["overlay", "replace", file])).code, 0);
  const piped = await config(["overlay", "replace", "-", "--json"], { input: '{"x-b": 2}' });
  assert.deepEqual(JSON.parse(piped.stdout), { "x-b": 2 });
  assert.equal((await config(["overlay", "replace", "-"], { input: "[1]" })).code, 2);
  assert.equal((await config(["overlay", "replace", "nowhere.json"])).code, 2);
  assert.deepEqual(server.core.config.overlay, { "x-b": 2 });
});

test("config overlay edit stores the edited text, and keeps it in a file when the server refuses it", async () => {
  await put({ "x-a": 1 });
  const edit = (editor: string) => config(["overlay", "edit"], { env: { EDITOR: editor } });
  assert.equal((await edit("sed -i s/1/2/")).code, 0);
  assert.deepEqual(server.core.config.overlay, { "x-a": 2 });
  assert.match((await edit("true")).stderr, /Nothing was changed/);
  const refused = await edit("sed -i s/x-a/agnt/");
  assert.equal(refused.code, 2);
  const kept = /what you wrote is in (\S+);/.exec(refused.stderr)?.[1] ?? "";
  assert.match(readFileSync(kept, "utf8"), /agnt/);
  rmSync(dirname(kept), { recursive: true });
  const rival = join(project.dir, "rival.sh");
  const script = `fetch("${server.url}/api/v1/config/overlay", {
    method: "PUT", headers: { "content-type": "application/json" }, body: '{"x-b":1}' })`;
  writeFileSync(`${rival}.js`, script);
  writeFileSync(rival, `#!/bin/sh\n"${process.execPath}" "${rival}.js"\nsed -i s/2/3/ "$1"\n`, {
    mode: 0o700,
  });
  const lost = await edit(rival);
  assert.equal(lost.code, 7);
  const second = /what you wrote is in (\S+);/.exec(lost.stderr)?.[1] ?? "";
  assert.deepEqual(JSON.parse(readFileSync(second, "utf8")), { "x-a": 3 });
  rmSync(dirname(second), { recursive: true });
  assert.deepEqual(server.core.config.overlay, { "x-b": 1 });
  assert.equal((await config(["overlay", "edit"])).code, 2);
});
