import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { lstat, mkdir, mkdtemp, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { CodexHomes } from "../../../../src/core/agent/codex/home.ts";
import { pickOperatorConfig } from "../../../../src/core/agent/codex/operator-config.ts";
import { codexConfig } from "../../../support/worlds/scripted-agent.ts";

const operators = `# mine
model = "gpt-9" # the best
model_provider = "corp"
sandbox_mode = "danger-full-access"
approval_policy = "never"
notify = ["sh", "-c", """
[features]
echo hi
"""]

[mcp_servers.jira]
command = "jira-mcp"

[model_providers.corp]
name = "Corp # not a comment"
base_url = "https://llm.corp.example/v1"
env_key = "CORP_KEY"
env_http_headers = { "X-Team" = "TEAM_TOKEN" }
query_params = {
  "api-version" = "1",
}

[features]
plugins = true
goals = false

[profiles.open]
sandbox_mode = "danger-full-access"

[projects."/srv/app"]
trust_level = "trusted"
`;

async function setUp() {
  const root = await mkdtemp(join(tmpdir(), "symphony-home-"));
  const at = (...names: string[]) => join(root, ...names);
  for (const dir of ["user/.codex", "user/.ssh", "data", "workspaces"]) {
    await mkdir(at(dir), { recursive: true });
  }
  await writeFile(at("user/.codex/config.toml"), operators);
  await writeFile(at("user/.codex/auth.json"), "{}");
  const homes = new CodexHomes({
    env: { HOME: at("user") },
    dataDir: at("data"),
    workspaceRoot: () => at("workspaces"),
  });
  return {
    at,
    homes,
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

describe("what is copied from the operator's config.toml", () => {
  test("model, providers and features are copied; nothing that runs a program or opens the sandbox", () => {
    const { settings, tables, credentialNames } = pickOperatorConfig(operators);
    assert.deepEqual(settings, ['model = "gpt-9" # the best', 'model_provider = "corp"']);
    assert.deepEqual(
      tables.map((table) => table.split("\n")[0]),
      ["[model_providers.corp]", "[features]"],
    );
    assert.match(tables[0] ?? "", /"api-version" = "1",\n\}/);
    assert.equal(tables[1], "[features]\ngoals = false");
    assert.deepEqual(credentialNames, ["CORP_KEY", "TEAM_TOKEN"]);
  });

  test("providers are found in other spellings, and text that is not TOML gives nothing", () => {
    const dotted = pickOperatorConfig(
      'model_providers.x.env_key = "X_KEY"\nfeatures.goals = true\n',
    );
    assert.deepEqual(dotted.settings, ['model_providers.x.env_key = "X_KEY"']);
    assert.deepEqual(dotted.credentialNames, ["X_KEY"]);
    const table = pickOperatorConfig('[model_providers."x".env_http_headers]\nAuth = "X_AUTH"\n');
    assert.deepEqual(table.credentialNames, ["X_AUTH"]);
    for (const text of ["", "\0", "[[[", 'model = "', "= 3", "model = ["]) {
      assert.deepEqual(pickOperatorConfig(text).tables, [], text);
    }
  });
});

describe("the private home of codex", () => {
  test("a home of codex that is the whole home, or around it, is refused", async () => {
    await using p = await setUp();
    for (const home of ["~", p.at("user", "."), p.at()]) {
      await assert.rejects(p.homes.prepare({ ...codexConfig, home }, { onLog() {} }), {
        code: "agent_unavailable",
        message:
          /^\S+ cannot be the home of codex: it is all of yours, and agents could write every/,
      });
    }
    const env = { HOME: p.at("user"), CODEX_HOME: p.at("user") };
    const others = new CodexHomes({ env, dataDir: p.at("data"), workspaceRoot: () => p.at("w") });
    const inherited = { ...codexConfig, home: "inherit" };
    await assert.rejects(others.prepare(inherited, { onLog() {} }), /it is all of yours/);
    assert.equal(await p.homes.prepare(inherited, { onLog() {} }), null);
  });

  test("is readable by its owner only, and has the operator's login and symphony's rules", async () => {
    await using p = await setUp();
    const config = { ...codexConfig, envPassthrough: ["CORP_KEY", "BUILD_FLAVOUR"] };
    const home = await p.homes.prepare(config, { onLog() {} });
    assert.ok(home);
    assert.ok(home.path.startsWith(p.at("user", ".symphony", "codex")));
    assert.equal((await stat(home.path)).mode & 0o777, 0o700);
    assert.equal(await readlink(join(home.path, "auth.json")), p.at("user/.codex/auth.json"));
    const file = join(home.path, "config.toml");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const text = await readFile(file, "utf8");
    assert.match(text, /default_permissions = "symphony-safe"/);
    assert.doesNotMatch(text, /mcp_servers|sandbox_mode|notify|jira/);
    for (const denied of ["data", "workspaces", "user/.codex/auth.json"]) {
      assert.ok(text.includes(`"${p.at(denied)}" = "deny"`), denied);
    }
    assert.doesNotMatch(text, /extends|":root"/);
    assert.match(text, /^":minimal" = "read"$/m);
    assert.ok(home.denied.includes(p.at("user/.ssh")), "tested, and not shown");
    const visible = /include_only = \[(.*)\]/.exec(text)?.[1] ?? "";
    assert.ok(visible.includes('"BUILD_FLAVOUR"') && !visible.includes("CORP_KEY"));
    const scratch = await home.scratch("/a/b:att_1");
    assert.ok((await lstat(scratch)).isDirectory());
  });

  test("what crashed runs left is removed, and nothing of agents that run, whoever else prepares the home", async () => {
    await using p = await setUp();
    const prepared = async (homes = p.homes) =>
      (await homes.prepare(codexConfig, { onLog() {} })) ?? assert.fail("it has a home");
    const own = await (await prepared()).scratch("/a/b:att_1");
    const gone = join(dirname(own), "4194305-0123456789abcdef");
    const other = join(dirname(own), "a file of someone else");
    for (const dir of [gone, other]) await mkdir(dir);
    // As symphony doctor, or a second agent of the same kind, next to a server.
    const code = `import { CodexHomes } from ${JSON.stringify(import.meta.resolve("../../../../src/core/agent/codex/home.ts"))};
      const places = { env: { HOME: ${JSON.stringify(p.at("user"))} }, dataDir: ${JSON.stringify(p.at("data"))}, workspaceRoot: () => "/w" };
      await new CodexHomes(places).prepare(${JSON.stringify(codexConfig)}, { onLog() {} });`;
    execFileSync(process.execPath, ["--input-type=module", "--eval", code]);
    const env = { HOME: p.at("user") };
    await prepared(new CodexHomes({ env, dataDir: p.at("data"), workspaceRoot: () => p.at("w") }));
    for (const dir of [own, other]) assert.ok((await lstat(dir)).isDirectory());
    await assert.rejects(lstat(gone), { code: "ENOENT" });
  });

  test("follows a later login and later settings; what another program wrote into its settings does not stay", async () => {
    await using p = await setUp();
    const first = await p.homes.prepare(codexConfig, { onLog() {} });
    assert.ok(first);
    const file = join(first.path, "config.toml");
    const ours = await readFile(file, "utf8");
    await p.homes.prepare(codexConfig, { onLog() {} });
    assert.equal(await readFile(file, "utf8"), ours);
    // A person's own codex, which continues a thread there, writes its choice of a model.
    await writeFile(file, `model = "another"\n${ours}`);
    await p.homes.prepare(codexConfig, { onLog() {} });
    assert.equal(await readFile(file, "utf8"), ours);
    await writeFile(p.at("user/.codex/history.jsonl"), "");
    const second = await p.homes.prepare(codexConfig, { onLog() {} });
    assert.notEqual(second?.fingerprint, first.fingerprint);
    assert.match(await readFile(file, "utf8"), /history\.jsonl" = "deny"/);
  });

  test("inherit makes none; a directory chosen by the operator is used; one that cannot be made is reported", async () => {
    await using p = await setUp();
    assert.equal(await p.homes.prepare({ ...codexConfig, home: "inherit" }, { onLog() {} }), null);
    const chosen = await p.homes.prepare({ ...codexConfig, home: "~/agents" }, { onLog() {} });
    assert.equal(chosen?.path, p.at("user/agents/home"));
    await writeFile(p.at("taken"), "");
    await assert.rejects(p.homes.prepare({ ...codexConfig, home: p.at("taken") }, { onLog() {} }), {
      code: "agent_unavailable",
    });
  });
});

test("THREAT-1: where codex's own home is in the data directory, no mount opens what its denials hide there", async () => {
  await using p = await setUp();
  const spec = { level: "safe", workspace: p.at("workspaces") } as const;
  const config = { ...codexConfig, approvalPolicy: "on-request" };
  for (const [home, dataDir] of [
    ["private", p.at("user/.symphony")],
    [p.at("data/codex"), p.at("data")],
  ] as const) {
    const homes = new CodexHomes({
      ...{ env: { HOME: p.at("user"), PATH: process.env["PATH"] }, dataDir },
      workspaceRoot: () => p.at("workspaces"),
    });
    await mkdir(dataDir, { recursive: true });
    const own = await homes.prepare({ ...config, home }, { onLog() {} });
    assert.ok(own);
    const hidden = await homes.hiddenAround(
      { ...config, home },
      { ...spec, onLog() {} } as never,
      own,
    );
    assert.deepEqual(hidden, [], home);
  }
});
