import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { providerIn } from "../../../src/core/agent/codex/provider.ts";
import { agentKinds } from "../../../src/core/agent/kinds.ts";
import { ModelList } from "../../../src/core/agent/models.ts";
import { Learned } from "../../../src/core/agent/openai/learned.ts";
import type { OpenaiConfig } from "../../../src/core/agent/openai/settings.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { sendJson, startProvider } from "../../support/fakes/provider.ts";
import { config } from "../../support/makers/issue.ts";
import { bench } from "../../support/worlds/scripted-agent.ts";

const key = "sk-canary-0123456789";

interface Setting {
  readonly env?: Readonly<Record<string, string>>;
  readonly openai?: Partial<OpenaiConfig>;
  readonly command?: string;
  readonly kind?: string;
}

function listOver(url: string, setting: Setting = {}) {
  const clock = new FakeClock();
  const learned = new Learned(null, clock);
  const env: Readonly<Record<string, string>> = setting.env ?? { OPENAI_API_KEY: key };
  const live = {
    config: config({
      agent: { use: setting.kind ?? "openai" },
      openai: { baseUrl: url, ...setting.openai },
      codex: { command: setting.command ?? "exit 0" },
    }),
  };
  const list = new ModelList({
    kinds: agentKinds,
    clock,
    version: "1.2.3",
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...setting.env },
    runId: "models-test/models",
    config: () => live.config,
    learned,
    lookup: (name) => env[name],
    secretEnvNames: () => [],
  });
  return { clock, list, live, learned };
}

/** The content of a refusal; no part of it may contain the key. */
async function refusal(work: Promise<unknown>) {
  const error = await work.then(
    () => assert.fail("nothing was refused"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  const { code, message, details, hint, stack, cause } = error;
  const told = JSON.stringify([message, details, hint, stack, String(cause)]);
  assert.ok(!told.includes("canary"), told);
  return { code, category: details["category"], details, hint };
}

const listing = {
  object: "list",
  data: [
    { id: "gpt-5.5", object: "model", created: 1_700_000_000, owned_by: "openai" },
    { id: "local", created: 0 },
    { id: "evil\u001b[2J", created: 1 },
  ],
};

test("the list of a provider is read with the key, once a minute for any number of callers", async () => {
  await using provider = await startProvider((_, response) => sendJson(response, 200, listing));
  const { clock, list, live } = listOver(provider.url);
  assert.deepEqual(list.remembered().fetchedAt, null);
  const [one, two] = await Promise.all([list.list(), list.list()]);
  assert.equal(one, two);
  assert.deepEqual(one, {
    provider: { kind: "openai", baseUrl: provider.url, list: "provider" },
    model: "gpt-5.5",
    models: [
      { id: "gpt-5.5", ownedBy: "openai", createdAt: 1_700_000_000_000, inUse: true },
      { id: "local", ownedBy: null, createdAt: null, inUse: false },
    ],
    fetchedAt: clock.wall(),
  });
  const [request] = provider.requests;
  assert.equal(request?.url, "/v1/models");
  assert.equal(request?.headers.authorization, `Bearer ${key}`);
  clock.advance(59_999);
  assert.equal(await list.list(), one);
  assert.equal(list.remembered(), one);
  assert.equal(provider.requests.length, 1);
  clock.advance(1);
  assert.equal(list.remembered().fetchedAt, null);
  await list.list();
  assert.equal(provider.requests.length, 2);
  live.config = config({ agent: { use: "openai" }, openai: { baseUrl: `${provider.url}/b` } });
  assert.equal(list.remembered().fetchedAt, null, "another provider, another list");
  await list.list();
  assert.equal(provider.requests.at(-1)?.url, "/v1/b/models");
  assert.equal(clock.pending, 0);
});

test("an answer that is not a list is reported by category, never with the provider's text", async () => {
  const echo = { error: { message: `Incorrect API key provided: ${key}` } };
  const cases: [string, (response: ServerResponse) => void, object][] = [
    ["unauthorized", (r) => sendJson(r, 401, echo), { status: 401 }],
    ["unauthorized", (r) => sendJson(r, 403, echo), { status: 403 }],
    ["rate_limited", (r) => sendJson(r, 429, echo), { status: 429 }],
    ["status", (r) => sendJson(r, 500, echo), { status: 500 }],
    ["status", (r) => sendJson(r, 404, `<h1>${key}</h1>`), { status: 404 }],
    ["response", (r) => sendJson(r, 200, `{"data": [${key}`), {}],
    ["response", (r) => sendJson(r, 200, { data: [{ name: key }] }), {}],
    ["response", (r) => sendJson(r, 200, "[]"), {}],
    ["response", (r) => r.end("<html>"), {}],
    ["response", (r) => sendJson(r, 200, { data: [], more: "x".repeat(5_000_000) }), {}],
    ["connection", (r) => r.destroy(), {}],
  ];
  for (const [category, answer, facts] of cases) {
    await using provider = await startProvider((_, response) => answer(response));
    const { list } = listOver(provider.url);
    const told = await refusal(list.list());
    assert.deepEqual([told.code, told.category], ["provider_error", category]);
    assert.partialDeepStrictEqual(told.details, facts);
    assert.equal(provider.requests.length, 1, "nothing is tried again");
    await refusal(list.list());
    assert.equal(provider.requests.length, 2, "a failure is not remembered");
  }
});

test("a redirect is not followed, so the key goes to no other host", async () => {
  const seen: unknown[] = [];
  const other = createServer((request, response) => {
    seen.push(request.headers);
    response.end();
  });
  other.listen(0, "127.0.0.1");
  await once(other, "listening");
  const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/v1/models`;
  await using provider = await startProvider((_, response) => {
    response.writeHead(307, { location }).end();
  });
  const told = await refusal(listOver(provider.url).list.list());
  assert.deepEqual([told.category, told.details["status"]], ["redirected", 307]);
  assert.deepEqual(seen, []);
  other.close();
});

test("a provider that does not answer, or not completely, is abandoned after ten seconds", async () => {
  for (const begin of [false, true]) {
    await using provider = await startProvider((_, response) => {
      if (begin) response.writeHead(200).write('{"data": [');
    });
    const { clock, list } = listOver(provider.url);
    const seen = provider.next();
    const told = refusal(list.list());
    await seen;
    clock.advance(10_000);
    assert.equal((await told).category, "timeout");
  }
});

test("no request is made without a key, or to an address that the key must not go to", async () => {
  const url = "https://api.example.invalid/v1";
  const missing = await refusal(listOver(url, { env: {} }).list.list());
  assert.deepEqual(
    [missing.category, missing.hint],
    ["missing_key", "symphony secrets add OPENAI_API_KEY"],
  );
  for (const bad of [
    "http://example.invalid/v1",
    "http://127.0.0.1.example.invalid/v1",
    "http://169.254.169.254/v1",
    "ftp://localhost/v1",
    "https://user:canary@example.invalid/v1",
    "https://example.invalid/v1?key=canary",
    "canary",
  ]) {
    assert.equal((await refusal(listOver(bad).list.list())).category, "invalid_url", bad);
  }
});

test("with codex the agent itself is queried, page by page, and then ended", async () => {
  const answers = `
    IFS= read -r hello; echo '{"id":1,"result":{}}'
    IFS= read -r initialized
    IFS= read -r first; echo '{"id":2,"result":{"data":[{"id":"a","model":"gpt-a"}],"nextCursor":"2"}}'
    IFS= read -r second
    case $second in *'"cursor":"2"'*) echo '{"id":3,"result":{"data":[{"id":"b"},7],"nextCursor":null}}';; esac
    cat >/dev/null`;
  const { list } = listOver("", { kind: "codex", command: answers });
  const { provider, models } = await list.list();
  assert.deepEqual(provider, { kind: "codex", baseUrl: null, list: "agent" });
  assert.deepEqual(
    models.map(({ id }) => id),
    ["gpt-a", "b"],
  );
});

test("an agent that is missing, exits, refuses or has no list is a provider_error", async () => {
  const refuse = `IFS= read -r a; echo '{"id":1,"error":{"message":"no"}}'; cat >/dev/null`;
  for (const [command, agentError] of [
    ["no-such-program-anywhere", "codex_not_found"],
    ["exit 3", "port_exit"],
    [refuse, "response_error"],
  ] as const) {
    const told = await refusal(listOver("", { kind: "codex", command }).list.list());
    assert.deepEqual(
      [told.code, told.category, told.details["agentError"]],
      ["provider_error", "agent", agentError],
    );
    assert.ok(told.hint);
  }
  assert.equal((await refusal(listOver("", { kind: "acp" }).list.list())).category, "unsupported");
});

test("closing ends an agent that is being queried", async () => {
  const { list } = listOver("", { kind: "codex", command: "cat >/dev/null" });
  const asked = list.list();
  const told = assert.rejects(asked, { code: "unavailable" });
  await list.close();
  await told;
});

test("the scripted agent of the demo reports the name of its model", async () => {
  await using scripted = await bench([[{ do: "say", text: "hi" }]]);
  const { command } = scripted;
  const { models } = await listOver("", { kind: "codex", command }).list.list();
  assert.deepEqual(
    models.map(({ id }) => id),
    ["scripted"],
  );
});

// S31 is a row of the cases of scheduler and configuration: the models of codex with a provider of its own.
describe("S31: codex with a provider of its own", () => {
  async function codexHome(toml: string) {
    const dir = await mkdtempDisposable(join(tmpdir(), "symphony-codex-"));
    await writeFile(join(dir.path, "config.toml"), toml);
    return dir;
  }

  test("S31: the list is the provider's, asked for with its key, and its model is marked", async () => {
    await using provider = await startProvider((_, response) => sendJson(response, 200, listing));
    await using home = await codexHome(
      `model = "local" # mine
model_provider = "mine"
[model_providers.mine]
base_url = "${provider.url}"
env_key = "MINE_KEY"
`,
    );
    const env = { CODEX_HOME: home.path, MINE_KEY: "sk-mine-canary" };
    const { list } = listOver("https://nowhere.example", { kind: "codex", env });
    const catalog = await list.list();
    assert.deepEqual(catalog.provider, { kind: "codex", baseUrl: provider.url, list: "provider" });
    assert.equal(catalog.model, "local");
    assert.deepEqual(
      catalog.models.map(({ id, inUse }) => [id, inUse]),
      [
        ["gpt-5.5", false],
        ["local", true],
      ],
    );
    assert.equal(provider.requests[0]?.headers.authorization, "Bearer sk-mine-canary");
  });

  test("S31: what codex's own configuration says, in each of its forms", () => {
    const table = "[model_providers.\"a b\"]\nbase_url = 'https://x.example/v1'";
    assert.deepEqual(providerIn(`model_provider = "ab"\n${table}`), {
      ...{ baseUrl: "https://x.example/v1", keyName: null, model: null, isOther: true },
      usesKeyring: false,
    });
    assert.equal(providerIn('openai_base_url = "https://y.example"').baseUrl, "https://y.example");
    assert.equal(providerIn('model_provider = "oss"\nmodel = "m"').baseUrl, null);
    assert.deepEqual(providerIn("not toml ["), {
      ...{ baseUrl: null, keyName: null, model: null, isOther: false, usesKeyring: false },
    });
    for (const [store, uses] of [
      ["auto", true],
      ["keyring", true],
      ["file", false],
    ] as const)
      assert.equal(providerIn(`cli_auth_credentials_store = "${store}"`).usesKeyring, uses);
  });
});

// A16 is a row of the cases of agents: what providers refuse is remembered.
test("A16: what was learned is shown with the list, and a refresh forgets it and the list", async () => {
  await using provider = await startProvider((_, response) => sendJson(response, 200, listing));
  const { list, learned } = listOver(provider.url);
  learned.add({ baseUrl: provider.url, model: "local" }, { omit: ["store"] });
  assert.deepEqual(
    list.learned().map(({ model, omit }) => [model, omit]),
    [["local", ["store"]]],
  );
  await list.list();
  list.forget();
  assert.deepEqual(list.learned(), []);
  await list.list();
  assert.equal(provider.requests.length, 2);
});
