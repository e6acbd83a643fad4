import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { api } from "../../src/contract/api.ts";
import { routesOf } from "../../src/contract/route.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { type LivingServer, livingServer } from "../support/worlds/living-server.ts";
import { startSymphony } from "../support/worlds/run-symphony.ts";

let living: LivingServer;
before(async () => {
  living = await livingServer();
});
after(() => living[Symbol.asyncDispose]());

/** A person's MCP client, which started `symphony mcp`. */
async function clientOf(args: readonly string[] = [], url = living.server.url) {
  const client = new Client({ name: "editor", version: "1" });
  const env = { PATH: process.env["PATH"] ?? "", SYMPHONY_URL: url };
  const command = { command: process.execPath, args: [symphonyFile, "mcp", ...args], env };
  await client.connect(new StdioClientTransport(command));
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
}

type Mcp = Awaited<ReturnType<typeof clientOf>>;

/** The answer of a tool, which is one JSON document. */
async function call(client: Mcp, name: string, args: Record<string, unknown> = {}) {
  const { content, isError } = await client.callTool({ name, arguments: args });
  const [first] = content as { readonly text: string }[];
  const text = first?.text ?? "";
  return { isError: isError === true, text, json: () => JSON.parse(text) };
}

const names = (methods: readonly string[]) =>
  [...routesOf(api)]
    .filter(([, { media, signed, method }]) => !media && !signed && methods.includes(method))
    .map(([name]) => name.replaceAll(".", "_"))
    .sort();

test("mcp offers the routes that read, with their schemas, and answers from the server", async () => {
  await using client = await clientOf();
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map(({ name }) => name).sort(), names(["GET"]));
  assert.ok(tools.every(({ annotations }) => annotations?.readOnlyHint === true));
  const detail = tools.find(({ name }) => name === "issues_detail");
  assert.deepEqual(detail?.inputSchema["required"], ["id"]);
  assert.equal(detail?.inputSchema["additionalProperties"], false);
  const state = await call(client, "system_state", { limit: 5 });
  const running = state.json().running as { issue_identifier: string }[];
  assert.ok(running.some((row) => row.issue_identifier === "ENG-123"));
  const page = await call(client, "issues_list", { limit: 2, offset: 1 });
  assert.equal(page.json().issues.length, 2);
  const unknown = await call(client, "issues_detail", { id: "NO-1" });
  assert.deepEqual([unknown.isError, unknown.json().error.code], [true, "issue_not_found"]);
});

test("without --write no tool changes anything", async () => {
  await using client = await clientOf();
  const before = (await living.server.ask("/api/v1/audit?limit=1")).json().total;
  for (const name of names(["POST", "PUT", "DELETE"])) {
    const args = { id: "ENG-123", body: { message: "hello" } };
    const answer = await call(client, name, args).catch(() => ({ isError: true }));
    assert.ok(answer.isError, name);
  }
  assert.equal((await living.server.ask("/api/v1/audit?limit=1")).json().total, before);
});

test("with --write it offers all of them, and the audit log has what was done", async () => {
  await using client = await clientOf(["--write"]);
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map(({ name }) => name).sort(), names(["GET", "POST", "PUT", "DELETE"]));
  const steered = await call(client, "issues_steer", { id: "ENG-123", body: { message: "tabs" } });
  assert.equal(steered.isError, false, steered.text);
  assert.match(steered.json().steer_id, /^str_/);
  const { entries } = (await living.server.ask("/api/v1/audit?limit=20")).json();
  const found = entries.find((entry: { action: string }) => entry.action === "issues.steer");
  assert.ok(found, JSON.stringify(entries));
  const refreshed = await call(client, "system_refresh");
  assert.equal(refreshed.isError, false, refreshed.text);
});

test("hostile and wrong arguments are refused by the schema or the server, and reach no other route", async () => {
  await using client = await clientOf(["--write"]);
  const refused = [
    ["issues_steer", { id: "ENG-123", body: { message: "x", force: true } }],
    ["issues_steer", { id: "ENG-123", body: { message: "" } }],
    ["issues_steer", { id: "ENG-123", message: "x" }],
    ["issues_steer", { body: { message: "x" } }],
    ["issues_detail", { id: "../config" }],
    ["issues_detail", { id: "state?limit=1#" }],
    ["issues_list", { limit: "many" }],
    ["issues_list", { limit: 1, url: "http://127.0.0.1:9" }],
    ["no_such_tool", {}],
  ] as const;
  for (const [name, args] of refused) {
    const answer = await call(client, name, args).catch(() => ({ isError: true }));
    assert.ok(answer.isError, `${name} ${JSON.stringify(args)}`);
  }
});

test("a server that cannot be reached is told by each tool, with the next command", async () => {
  await using client = await clientOf([], "http://127.0.0.1:1");
  const answer = await call(client, "system_state");
  assert.equal(answer.json().error.code, "server_unreachable");
  assert.ok(answer.json().error.hint, answer.text);
});

test("it ends when the client closes its input, and prints nothing else on stdout", async () => {
  const { ended } = startSymphony(["mcp"], { env: { SYMPHONY_URL: living.server.url }, input: "" });
  const { code, stdout } = await ended;
  assert.deepEqual([code, stdout], [0, ""]);
});
