import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { AgentEvent, AgentTools } from "../../../src/core/agent/agent.ts";
import {
  type Bridge,
  bridgeVariable,
  openBridge,
  sweepBridges,
} from "../../../src/core/agent/bridge.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../src/core/tracker/local/settings.ts";
import { localTools } from "../../../src/core/tracker/local/tools.ts";
import { config } from "../../support/makers/issue.ts";
import { startSymphony } from "../../support/worlds/run-symphony.ts";
import { eventually } from "../../support/worlds/symphony.ts";

interface Attempt extends AsyncDisposable {
  readonly bridge: Bridge;
  readonly events: AgentEvent[];
  readonly dir: string;
  state(): string | undefined;
}

/** An attempt at an issue of a real local tracker, with its bridge. */
async function attempt(): Promise<Attempt> {
  const root = await mkdtemp(join(tmpdir(), "symphony-bridge-"));
  const options = localOptions(config().tracker);
  const open = () => openLocalIssues(root, options, systemClock);
  const issues = open();
  const issue = issues.create({ title: "One" });
  issues.close();
  const events: AgentEvent[] = [];
  const bridge = await openBridge({
    tools: localTools({ issue, options, open }),
    onUse: (event) => event && events.push(event),
  });
  assert.ok(bridge);
  return {
    ...{ bridge, events, dir: bridge.server.env[bridgeVariable] ?? "" },
    state() {
      const now = open();
      const [found] = now.byIds([issue.id]);
      now.close();
      return found?.state;
    },
    async [Symbol.asyncDispose]() {
      await bridge[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** An MCP client as agents have one, with `symphony mcp-bridge` as its server. */
async function clientOf({ bridge: { server } }: Attempt): Promise<Client & AsyncDisposable> {
  const client = new Client({ name: "agent", version: "1" });
  const { command, args, env } = server;
  const own = { PATH: process.env["PATH"] ?? "", ...env };
  await client.connect(new StdioClientTransport({ command, args: [...args], env: own }));
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
}

/** What the socket answers to some lines until it closes, or until it answered one line. */
async function said(dir: string, lines: readonly string[]): Promise<string> {
  const socket = connect(join(dir, "socket"));
  socket.on("error", () => {});
  socket.write(lines.map((line) => `${line}\n`).join(""));
  let text = "";
  const ended = Promise.withResolvers<void>();
  socket.once("close", () => ended.resolve());
  socket.on("data", (chunk) => {
    text += String(chunk);
    if (text.includes("\n")) socket.destroy();
  });
  await ended.promise;
  return text;
}

const list = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });

describe("the bridge to the tracker's tools", () => {
  test("an agent's MCP client gets the attempt's own tools, and what it calls happens to its issue", async () => {
    await using one = await attempt();
    await using client = await clientOf(one);
    const { tools } = await client.listTools();
    assert.deepEqual(
      tools.map(({ name }) => name),
      ["issue_get", "issue_comment", "issue_move"],
    );
    const moved = await client.callTool({ name: "issue_move", arguments: { state: "Done" } });
    assert.deepEqual([moved.isError, one.state()], [false, "Done"]);
    assert.deepEqual(one.events, [{ type: "tool_call", tool: "issue_move", outcome: "completed" }]);
  });

  test("hostile arguments are refused by the tool's schema, and change nothing", async () => {
    await using one = await attempt();
    await using client = await clientOf(one);
    const before = one.state();
    for (const args of [
      { state: "Done", issue: "ENG-2" },
      { state: ["Done"] },
      { state: "x".repeat(101) },
      { state: "$(touch x)" },
      {},
      { __proto__: null, constructor: { state: "Done" } },
    ]) {
      const { isError } = await client.callTool({ name: "issue_move", arguments: args });
      assert.equal(isError, true, JSON.stringify(args));
    }
    const unknown = await client.callTool({ name: "linear_graphql", arguments: {} });
    assert.equal(unknown.isError, true);
    assert.equal(one.state(), before);
  });

  test("the token is in a directory of this user alone, and neither an argument nor a variable", async () => {
    await using one = await attempt();
    const token = await readFile(join(one.dir, "token"), "utf8");
    assert.ok(token.length >= 40);
    const modes = [one.dir, join(one.dir, "token"), one.bridge.configPath].map(async (path) => {
      return ((await stat(path)).mode & 0o777).toString(8);
    });
    assert.deepEqual(await Promise.all(modes), ["700", "600", "600"]);
    const { server, configPath } = one.bridge;
    assert.ok(!JSON.stringify(server).includes(token));
    assert.equal(dirname(configPath), one.dir);
    const { mcpServers } = JSON.parse(await readFile(configPath, "utf8"));
    assert.deepEqual(mcpServers, {
      tracker: { type: "stdio", command: server.command, args: server.args, env: server.env },
    });
  });

  test("the token of one attempt opens nothing of another", async () => {
    await using one = await attempt();
    await using other = await attempt();
    const token = await readFile(join(other.dir, "token"), "utf8");
    assert.equal(await said(one.dir, [token, list]), "");
    assert.equal(await said(one.dir, [list]), "");
    assert.equal(await said(one.dir, ["", list]), "");
    assert.match(await said(other.dir, [token, list]), /issue_move/);
  });

  test("with the end of the attempt its connections, socket and token end", async () => {
    const one = await attempt();
    const { dir, bridge } = one;
    const client = await clientOf(one);
    const closed = Promise.withResolvers<void>();
    client.onclose = () => closed.resolve();
    await one[Symbol.asyncDispose]();
    await closed.promise;
    assert.ok(!existsSync(dir));
    const late = startSymphony(["mcp-bridge"], { env: bridge.server.env });
    const { code, stdout, stderr } = await late.ended;
    assert.deepEqual([code === 0, stdout], [false, ""]);
    assert.match(stderr, /the attempt that these tools belong to has ended/);
  });

  test("what is no message of the protocol is refused or ends the connection, never the server", async () => {
    await using one = await attempt();
    const token = await readFile(join(one.dir, "token"), "utf8");
    assert.match(await said(one.dir, [token, "{"]), /-32700/);
    assert.match(await said(one.dir, [token, '{"id":{},"method":"ping"}']), /-32600/);
    assert.match(await said(one.dir, [token, '{"id":"a","method":"resources/list"}']), /-32601/);
    assert.equal(await said(one.dir, [token, "x".repeat(2_000_000)]), "");
    assert.match(await said(one.dir, [token, '{"id":"a","method":"ping"}']), /"id":"a"/);
  });

  test("an agent that asks and never reads is not read any more, and gets every answer once it reads", async () => {
    await using one = await attempt();
    const token = await readFile(join(one.dir, "token"), "utf8");
    const asked = 40_000;
    const socket = connect(join(one.dir, "socket"));
    socket.on("error", () => {});
    const flood = { isTaken: false };
    const lines = `${list}\n`.repeat(asked);
    socket.write(`${token}\n${lines}`, () => {
      flood.isTaken = true;
    });
    // The server answers other connections meanwhile: it had the time to read more of this one.
    for (let at = 0; at < 100; at++) {
      assert.match(await said(one.dir, [token, '{"id":"a","method":"ping"}']), /"id":"a"/);
    }
    assert.equal(flood.isTaken, false, "the server has read what it could not answer");
    let answers = 0;
    const all = Promise.withResolvers<void>();
    socket.on("data", (chunk) => {
      for (const byte of chunk) if (byte === 10) answers += 1;
      if (answers === asked) all.resolve();
    });
    await all.promise;
    socket.destroy();
  });

  test("calls that arrive at once are all answered", async () => {
    await using one = await attempt();
    await using client = await clientOf(one);
    const all = Array.from({ length: 20 }, (_, at) =>
      client.callTool({ name: "issue_comment", arguments: { body: `note ${at}` } }),
    );
    assert.deepEqual(
      (await Promise.all(all)).map(({ isError }) => isError),
      Array.from({ length: 20 }, () => false),
    );
    await eventually("each is an event", async () => one.events.length === 20);
  });
});

test("THREAT-17: between calls that an agent makes at once, everything else has its turn", async () => {
  let turns = 0;
  let next: NodeJS.Immediate;
  const count = () => {
    turns += 1;
    next = setImmediate(count);
  };
  next = setImmediate(count);
  const at: number[] = [];
  const tools: AgentTools = {
    specs: [{ name: "slow", description: "", inputSchema: { type: "object" } }],
    async call() {
      at.push(turns);
      return { success: true, output: "" };
    },
  };
  await using bridge = await openBridge({ tools, onUse: () => {} });
  const dir = bridge?.server.env[bridgeVariable] ?? "";
  const call = JSON.stringify({
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: { name: "slow" },
  });
  const socket = connect(join(dir, "socket"));
  socket.write(`${await readFile(join(dir, "token"), "utf8")}\n${`${call}\n`.repeat(20)}`);
  let answers = "";
  for await (const chunk of socket) {
    answers += String(chunk);
    if (answers.split("\n").length > 20) break;
  }
  clearImmediate(next);
  assert.equal(new Set(at).size, 20);
});

test("a tracker without tools has no bridge", async () => {
  const tools: AgentTools = { specs: [], call: async () => ({ success: false, output: "" }) };
  assert.equal(await openBridge({ tools, onUse: () => {} }), null);
});

test("mcp-bridge by hand is wrong usage and names the command for people", async () => {
  const { code, stderr } = await startSymphony(["mcp-bridge"]).ended;
  assert.equal(code, 2);
  assert.match(stderr, /started by an agent.*\n.*symphony mcp/);
});

test("folders of a killed server are removed at the next start, and no folder of a live one or of others", async () => {
  const place = await mkdtemp(join(tmpdir(), "symphony-sweep-"));
  await using owned = new AsyncDisposableStack();
  owned.defer(() => rm(place, { recursive: true, force: true }));
  const dir = (name: string) => join(place, `symphony-mcp-${name}`);
  for (const name of ["live", "killed", "new", "old"]) await mkdir(dir(name));
  await mkdir(join(place, "other"));
  await symlink(join(place, "other"), dir("link"));
  const live = createServer().listen(join(dir("live"), "socket"));
  owned.defer(() => void live.close());
  await once(live, "listening");
  const code = `require("node:net").createServer().listen(process.argv[1], () => console.log("up"))`;
  const killed = spawn(process.execPath, ["-e", code, join(dir("killed"), "socket")]);
  await once(killed.stdout, "data");
  const exited = once(killed, "exit");
  killed.kill("SIGKILL");
  await exited;
  await writeFile(join(dir("killed"), "token"), "secret");
  const now = Date.now();
  await utimes(dir("old"), now / 1_000 - 7_200, now / 1_000 - 7_200);
  assert.equal(await sweepBridges(now, [place]), 2);
  const left = ["other", "symphony-mcp-link", "symphony-mcp-live", "symphony-mcp-new"];
  assert.deepEqual((await readdir(place)).sort(), left);
});
