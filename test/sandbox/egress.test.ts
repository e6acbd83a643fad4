import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { AgentEvent } from "../../src/core/agent/agent.ts";
import { agentKinds } from "../../src/core/agent/kinds.ts";
import { systemClock } from "../../src/core/clock.ts";
import { failedCheck } from "../../src/core/delivery/checks.ts";
import { liveProcesses } from "../../src/core/process/table.ts";
import { modelServer } from "../support/fakes/model-server.ts";
import { config } from "../support/makers/issue.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { type CommandBench, commandBench } from "../support/worlds/command-bench.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";
import { symphony } from "../support/worlds/symphony.ts";

/*
 * The one way out of the sandbox, tried by a program in it: the agent is a Node program, and the
 * provider a server of the test.
 */

const key = "sk-the-real-key-of-the-operator-0123456789";
const plain = { model: null };

/** Other test files open ways too. */
const ownTmp = await mkdtemp(join(tmpdir(), "symphony-egress-"));
process.env["TMPDIR"] = ownTmp;
after(() => rm(ownTmp, { recursive: true, force: true }));

interface Seen {
  readonly url: string;
  readonly authorization: string | undefined;
}

async function provider() {
  const seen: Seen[] = [];
  const server = createServer((incoming, response) => {
    seen.push({ url: incoming.url ?? "", authorization: incoming.headers.authorization });
    response.end("an answer of the model");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    ...{ seen, port, url: `http://127.0.0.1:${port}/api/v1` },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A program that writes what `body` puts into `said` to said.json. */
async function agent(
  body: string,
  baseUrl: string,
  env: Readonly<Record<string, string>> = {},
): Promise<CommandBench> {
  const bench: CommandBench = await commandBench({
    config: {
      line: `exec "${process.execPath}" program.mjs`,
      envPassthrough: ["MODEL_KEY", "OTHER_TOKEN"],
      provider: {
        ...{ baseUrl, apiKey: "$MODEL_KEY", apiKeyHeader: "authorization" },
        ...{ baseUrlVariable: "MODEL_URL", apiKeyVariable: "MODEL_KEY" },
      },
    },
    env: { MODEL_KEY: key, ...env },
  });
  await writeFile(
    join(bench.workspace, "program.mjs"),
    `import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
const said = {};
const tried = async (what) => { try { return await what() } catch (error) { return String(error.cause?.code ?? error.code ?? error.message) } };
const ask = (url, init) => tried(async () => { const answer = await fetch(url, init); return [answer.status, await answer.text()] });
const { MODEL_URL, MODEL_KEY } = process.env;
const model = { headers: { authorization: "Bearer " + MODEL_KEY } };
${body}
writeFileSync("said.json", JSON.stringify(said));
`,
  );
  return bench;
}

async function said(bench: CommandBench) {
  return JSON.parse(await readFile(join(bench.workspace, "said.json"), "utf8"));
}

function notices(events: readonly AgentEvent[]): string {
  return events.flatMap((one) => (one.type === "notice" ? [one.message] : [])).join("\n");
}

describe("an agent at level safe", () => {
  test("reaches its model provider and nothing else, and nothing in the sandbox has the key", async () => {
    await using model = await provider();
    await using other = await provider();
    await using b = await agent(
      `said.model = await ask(MODEL_URL + "/chat", model);
said.withoutToken = await ask(MODEL_URL + "/chat");
said.machine = await ask("${other.url}");
said.directly = await ask("${model.url}/chat", model);
said.world = await ask("http://1.1.1.1/");
const way = new URL(MODEL_URL);
const raw = (text) => tried(() => new Promise((resolve, reject) => {
  const socket = connect(way.port, way.hostname, () => socket.write(text));
  let got = ""; socket.on("data", (data) => { got += data }).on("close", () => resolve(got.split("\\r\\n")[0])).on("error", reject);
}));
said.tunnel = await raw("CONNECT 127.0.0.1:${other.port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n");
said.proxied = await raw("GET ${other.url} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n");
const environs = readdirSync("/proc").filter((name) => /^\\d+$/.test(name)).map((pid) => {
  try { return readFileSync("/proc/" + pid + "/environ", "utf8") + readFileSync("/proc/" + pid + "/cmdline", "utf8") } catch { return "" }
});
said.processes = environs.join("\\n");
said.env = process.env;`,
      model.url,
    );
    const own = { secretEnvNames: ["MODEL_KEY"], level: "safe" } as const;
    {
      await using session = await b.start(own);
      await session.turn("work", plain);
    }
    const told = await said(b);
    assert.deepEqual(told.model, [200, "an answer of the model"]);
    assert.equal(told.withoutToken[0], 401);
    for (const way of ["machine", "directly", "world"]) {
      assert.equal(typeof told[way], "string", `${way}: ${told[way]}`);
    }
    assert.match(told.tunnel, /^HTTP\/1\.1 403 /);
    assert.match(told.proxied, /^HTTP\/1\.1 403 /);
    assert.ok(!JSON.stringify(told).includes(key), "the key is nowhere in the sandbox");
    assert.deepEqual(model.seen, [{ url: "/api/v1/chat", authorization: `Bearer ${key}` }]);
    assert.deepEqual(other.seen, []);
    assert.ok(b.hidden.includes(key));
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.runId);
    assert.deepEqual(left, []);
  });

  test("the token of an attempt is worth nothing to another attempt, nor after its end", async () => {
    await using model = await provider();
    const body = `said.token = MODEL_KEY; said.answer = await ask(MODEL_URL, model);
said.earlier = await ask(MODEL_URL, { headers: { authorization: "Bearer " + (process.env.OTHER_TOKEN ?? "") } });`;
    let token: string;
    {
      await using b = await agent(body, model.url);
      await using session = await b.start({ level: "safe" });
      await session.turn("work", plain);
      token = (await said(b)).token;
      assert.equal((await said(b)).answer[0], 200);
      assert.notEqual(token, key);
    }
    await using b = await agent(body, model.url, { OTHER_TOKEN: token });
    {
      await using session = await b.start({ level: "safe" });
      await session.turn("work", plain);
    }
    assert.equal((await said(b)).answer[0], 200);
    assert.equal((await said(b)).earlier[0], 401);
    assert.deepEqual(await ways(), [], "no socket is left");
    // Its other credential is in the environment, and that is said.
    assert.match(notices(b.events), /the agent can read OTHER_TOKEN, and a text/);
    assert.doesNotMatch(notices(b.events), /MODEL_KEY/);
  });

  test("each turn of a session has the way, and what it streams is passed on", async () => {
    await using model = await provider();
    await using b = await agent(`said.model = await ask(MODEL_URL + "/chat", model);`, model.url);
    await using session = await b.start({ level: "safe" });
    await session.turn("work", plain);
    await session.turn("and again", plain);
    assert.equal(model.seen.length, 2);
  });
});

describe("an agent at level networked", () => {
  test("D2: it has the proxy of the operator, which is not asked for the way to the provider", async () => {
    await using model = await provider();
    const proxy = "http://127.0.0.1:9";
    await using b = await agent(
      `const { execFileSync } = await import("node:child_process");
said.proxies = [process.env.HTTPS_PROXY, process.env.http_proxy, process.env.no_proxy];
said.model = execFileSync("curl", ["-s", "-H", "Authorization: Bearer " + MODEL_KEY, MODEL_URL + "/chat"], { encoding: "utf8" });`,
      model.url,
      { HTTPS_PROXY: proxy, http_proxy: proxy, no_proxy: "git.example" },
    );
    {
      await using session = await b.start({ level: "networked", network: null });
      await session.turn("work", plain);
    }
    assert.deepEqual(await said(b), {
      proxies: [proxy, proxy, "git.example,127.0.0.1,localhost,::1"],
      model: "an answer of the model",
    });
  });

  test("with agent.network it reaches the named hosts through the proxy variables, and no other", async () => {
    await using model = await provider();
    await using named = await provider();
    await using b = await agent(
      `const host = await ask("${named.url}");
said.named = host;
said.other = await ask("http://127.0.0.2:${named.port}/");
said.model = await ask(MODEL_URL + "/chat", model);
said.proxies = [process.env.HTTPS_PROXY, process.env.https_proxy, process.env.NO_PROXY];`,
      model.url,
    );
    // The list has this machine's address, which NO_PROXY would take out for Node's own fetch.
    const program = join(b.workspace, "program.mjs");
    const text = await readFile(program, "utf8");
    await writeFile(
      program,
      text.replaceAll('await ask("http:', 'await viaProxy("http:').replace(
        "const said = {};",
        `import { request } from "node:http";
const viaProxy = (url) => tried(() => new Promise((resolve, reject) => {
  const proxy = new URL(process.env.HTTP_PROXY);
  request({ host: proxy.hostname, port: proxy.port, path: url }, (answer) => {
    let text = ""; answer.on("data", (data) => { text += data }).on("end", () => resolve([answer.statusCode, text]));
  }).on("error", reject).end();
}));
const said = {};`,
      ),
    );
    {
      await using session = await b.start({ level: "networked", network: ["127.0.0.1"] });
      await session.turn("work", plain);
    }
    const told = await said(b);
    assert.deepEqual(told.named, [200, "an answer of the model"]);
    assert.equal(told.other[0], 403);
    assert.deepEqual(told.model, [200, "an answer of the model"]);
    assert.match(told.proxies[0], /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal(told.proxies[2], "127.0.0.1,localhost,::1");
    assert.match(notices(b.events), /127\.0\.0\.2:\d+ is not in agent\.network/);
  });

  test("without agent.network it reaches all, and its key is still not in the sandbox", async () => {
    await using model = await provider();
    await using other = await provider();
    await using b = await agent(
      `said.model = await ask(MODEL_URL + "/chat", model);
said.machine = await ask("${other.url}");
said.env = process.env;`,
      model.url,
    );
    {
      await using session = await b.start({ level: "networked" });
      await session.turn("work", plain);
    }
    const told = await said(b);
    assert.deepEqual(told.model, [200, "an answer of the model"]);
    assert.deepEqual(told.machine, [200, "an answer of the model"]);
    assert.ok(!JSON.stringify(told).includes(key));
    assert.equal(model.seen[0]?.authorization, `Bearer ${key}`);
  });
});

describe("agent.network for what is not a program of its own", () => {
  /** Lines for bash: what the variables of the proxy lead to, and what they do not. */
  const ask = (url: string) =>
    `exec 3<>/dev/tcp/127.0.0.1/"\${HTTP_PROXY##*:}"; printf 'GET ${url} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3`;
  const directly = (port: number) => `(: < /dev/tcp/127.0.0.1/${port}) 2>&1 || echo closed`;

  test("the commands of the built-in agent reach the named hosts only", async () => {
    await using named = await provider();
    await using b = await OpenaiBench.make();
    const commands = [ask(named.url), ask(`http://127.0.0.2:${named.port}/`), directly(named.port)];
    await using model = await modelServer([
      { calls: commands.map((command) => ({ name: "shell", args: { command } })) },
    ]);
    b.config = { ...b.config, baseUrl: model.url };
    {
      await using session = await b.start({ level: "networked", network: ["127.0.0.1"] });
      await session.turn("Work.", plain);
    }
    const input = model.asked[1]?.body["input"] as { type: string; output: string }[];
    const outputs = input.flatMap((one) => (one.type === "function_call_output" ? one.output : []));
    assert.match(outputs[0] ?? "", /HTTP\/1\.1 200/);
    assert.match(outputs[1] ?? "", /HTTP\/1\.1 403/);
    assert.match(outputs[2] ?? "", /closed/);
    assert.match(notices(b.events), /127\.0\.0\.2:\d+ is not in agent\.network/);
    assert.deepEqual(await ways(), []);
  });

  test("delivery.checks reach the named hosts only: they run what the agent wrote", async () => {
    await using named = await provider();
    await using b = await OpenaiBench.make();
    const told: string[] = [];
    const { agent: defaults } = config();
    const deps = {
      ...{ clock: systemClock, env: b.env, dataDir: b.dataDir, runId: "test/checks" },
      config: () => config({ agent: { ...defaults, level: "networked", network: ["127.0.0.1"] } }),
      secretNames: () => [],
      borrowedBy: async () => [],
    };
    const checked = {
      workspace: { path: b.workspace },
      signal: new AbortController().signal,
      tell: (line: string) => told.push(line),
    };
    const check = (command: string) =>
      failedCheck(checked, [`${command} | tee said; grep 200 said`], deps);
    assert.equal(await check(ask(named.url)), null);
    assert.match((await check(ask(`http://127.0.0.2:${named.port}/`)))?.output ?? "", /403/);
    assert.match((await check(directly(named.port)))?.output ?? "", /closed/);
    assert.match(told.join("\n"), /127\.0\.0\.2:\d+ is not in agent\.network/);
    assert.deepEqual(await ways(), []);
  });

  test("codex, which cannot do it, is not started with a list", async () => {
    const row = agentKinds.find(({ kind }) => kind === "codex");
    assert.ok(row?.outliving);
    const deps = { dataDir: ownTmp, clock: systemClock, onTrouble() {} };
    const hosts = await row.outliving.open(deps);
    const made = await row.create({
      ...{ ...deps, env: {}, lookup: () => undefined, hide() {}, workspaceRoot: () => ownTmp },
      settings: () => config().codex,
      hosts: () => hosts,
    });
    await assert.rejects(async () => made.check?.("networked", ["github.com"]), {
      code: "agent_unavailable",
      message: /agent\.network/,
    });
    await made.check?.("networked", null);
    await made.check?.("safe", ["github.com"]);
  });
});

test("what stays readable is a warning of the check, and of the attempt", async (t) => {
  const root = temporaryDir(t);
  await mkdir(join(root, ".gemini"));
  await writeFile(join(root, ".gemini", "oauth_creds.json"), "{}");
  const workflowPath = join(root, "WORKFLOW.md");
  const access =
    "line: cat, env_passthrough: [MODEL_KEY, OTHER_TOKEN, LANG], writable_paths: [~/.gemini]";
  const text = (provider: string) =>
    `---\ntracker: { kind: local }\nagent: { kind: command }\ncommand: { ${access}, ${provider} }\n---\nhi\n`;
  const led =
    "provider: { base_url: http://127.0.0.1:9, base_url_variable: MODEL_URL, api_key_variable: MODEL_KEY }";
  await writeFile(workflowPath, text(led));
  const env = { HOME: root, MODEL_KEY: key, OTHER_TOKEN: "token-of-the-operator" };
  const place = { cwd: root, env, dataDir: join(root, ".symphony"), workflowPath };
  const checked = await symphony(place, "config", "check");
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  const said = checked.stdout + checked.stderr;
  assert.match(said, /the agent can read OTHER_TOKEN, ~\/\.gemini\/oauth_creds\.json, and/);
  await writeFile(workflowPath, text("model: m"));
  const without = await symphony(place, "config", "check");
  assert.match(without.stdout + without.stderr, /the agent can read MODEL_KEY, OTHER_TOKEN/);
});

/** The sockets of ways out that are open. */
async function ways(): Promise<readonly string[]> {
  return (await readdir(ownTmp)).filter((name) => name.startsWith("symphony-way-"));
}
