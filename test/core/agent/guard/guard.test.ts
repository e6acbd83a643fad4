import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { type GuardedLaunch, plainPrompt } from "../../../../src/core/agent/guard/disarm.ts";
import {
  guardedLaunch,
  guardNotices,
  requireGuardedLines,
} from "../../../../src/core/agent/guard/line.ts";
import { agentsIn, commandsOf, packageRunner } from "../../../../src/core/agent/guard/program.ts";
import { requireGuardedWorkspace } from "../../../../src/core/agent/guard/workspace.ts";
import { SymphonyError } from "../../../../src/core/model/errors.ts";

describe("which agent a line starts", () => {
  test("arguments and commands are parsed as the shell does it", () => {
    for (const [line, commands] of [
      ["claude --setting-sources '' x", [["claude", "--setting-sources", "", "x"]]],
      [
        `exec "/a b/x" --flag='' a\\ b c"d"'e' \\\n f`,
        [["exec", "/a b/x", "--flag=", "a b", "cde", "f"]],
      ],
      ["cla\\\nude;g|h&&i", [["claude"], ["g"], ["h"], ["i"]]],
      ["a >&2 2>/dev/null <in b &>out &", [["a", "/dev/null", "in", "b", "out"]]],
      ["a # claude; x\nb c#d", [["a"], ["b", "c#d"]]],
      ["`a b` -p $(c)", [["a", "b"], ["-p", "$"], ["c"]]],
    ] as const) {
      assert.deepEqual(commandsOf(line), commands, line);
    }
  });

  test("an agent is recognised by name, file or package, also behind other words", () => {
    for (const [line, agents] of [
      ["claude -p", ["claude"]],
      ["claude-agent-acp", ["claude"]],
      ["exec '/opt/x y/bin/claude' -p", ["claude"]],
      ["NO_BROWSER=1 codex-acp", ["codex"]],
      ["node /x/node_modules/@agentclientprotocol/codex-acp/dist/index.js", ["codex"]],
      ["gemini --acp", ["gemini"]],
      ["npx -y @google/gemini-cli@0.61.0 --acp", ["gemini"]],
      ["/x/node_modules/opencode-ai/bin/opencode.exe acp", ["opencode"]],
      ["bash -c 'cd sub && opencode acp'", ["opencode"]],
      ["cd /x&&opencode acp", ["opencode"]],
      ["sh -c \"bash -c 'a;opencode acp'\"", ["opencode"]],
      ['"$(which opencode)" acp', ["opencode"]],
      // The directory of a program does not identify it.
      ["PATH=/opt/opencode/bin:$PATH /home/claude/my-agent", []],
      ["./scripts/agent.sh", []],
      ["aider --yes-always", []],
    ] as const) {
      assert.deepEqual([...agentsIn(line)], agents, line);
    }
  });

  test("finds package runners, which may start the copy in the workspace", () => {
    assert.equal(packageRunner("npx -y opencode-ai acp"), "npx");
    assert.equal(packageRunner("cd x; /usr/bin/bunx opencode-ai acp"), "bunx");
    assert.equal(packageRunner("npm exec -- claude-agent-acp"), "npm exec");
    assert.equal(packageRunner("pnpm dlx @google/gemini-cli"), "pnpm dlx");
    assert.equal(packageRunner("bash -lc 'npx claude-agent-acp'"), "npx");
    assert.equal(packageRunner("npm --yes exec claude-agent-acp"), "npm exec");
    assert.equal(packageRunner("npm --prefix /x x claude-agent-acp"), "npm x");
    assert.equal(packageRunner("bun --bun x gemini"), "bun x");
    assert.equal(packageRunner("yarn gemini"), "yarn");
    assert.equal(packageRunner("pnpm gemini --acp"), "pnpm");
    assert.equal(packageRunner("bun run gemini"), "bun");
    assert.equal(packageRunner("deno run npm:@google/gemini-cli"), "deno");
    assert.equal(packageRunner("npm run agent"), null);
    assert.equal(packageRunner("npm run agent -- x"), null);
    assert.equal(packageRunner("npm ci && gemini --acp"), null);
    assert.equal(packageRunner("npm install -g opencode-ai; opencode acp"), null);
    assert.equal(packageRunner("gemini --acp"), null);
  });
});

function launch(kind: GuardedLaunch["kind"], line: string, extra: object = {}) {
  const key = kind === "acp" ? "acp.command" : "command.line";
  const lines = [{ key, line }];
  const facts = { kind, lines, agent: null, passthrough: [], env: {}, ...extra };
  return { guarded: guardedLaunch(facts), lines };
}

function refusalOf(kind: GuardedLaunch["kind"], line: string, extra: object = {}) {
  const { guarded, lines } = launch(kind, line, extra);
  try {
    requireGuardedLines(guarded, lines);
    return null;
  } catch (error) {
    assert.ok(error instanceof SymphonyError && error.code === "agent_unavailable");
    assert.deepEqual(guardNotices(guarded, lines), [`${error.message}; next: ${error.hint}`]);
    return error.hint;
  }
}

describe("lines that are unsafe for a workspace", () => {
  const words = "--setting-sources '' --strict-mcp-config";

  test("claude -p obeys the settings of its folder, so the line must disable them", () => {
    const add = (what: string) => `add to claude's arguments in command.line: ${what}`;
    for (const [line, hint] of [
      [`claude -p ${words}`, null],
      ["claude -p --setting-sources= --strict-mcp-config", null],
      ['claude -p --setting-sources "" --strict-mcp-config', null],
      ["claude -p --setting-sources user --strict-mcp-config", null],
      ["claude -p", add(words)],
      ["claude -p --strict-mcp-config", add("--setting-sources ''")],
      ["claude -p --setting-sources ''", add("--strict-mcp-config")],
      ["claude -p --setting-sources user,project --strict-mcp-config", add("--setting-sources ''")],
      ["claude -p --setting-sources=local --strict-mcp-config", add("--setting-sources ''")],
      ["claude -p --setting-sources $X --strict-mcp-config", add("--setting-sources ''")],
      ["./agent.sh", null],
      ["codex exec -", null],
      // Each claude of a line needs its own arguments.
      [`cd /x && exec claude -p ${words} 2>&1 | tee log`, null],
      [`bash -lc "claude -p ${words}"`, null],
      [`claude -p --append-system-prompt "You are claude; be brief" ${words}`, null],
      [`claude --version ${words}; claude -p`, add(words)],
      [`claude -p ${words} && claude -p hi`, add(words)],
      [`claude -p # ${words}`, add(words)],
      [`claude -p -- ${words}`, add(words)],
      [`\`which claude\` -p ${words}`, add(words)],
      [`"$(which claude)" -p ${words}`, add(words)],
      [`bash -lc "claude -p" ${words}`, add(words)],
    ] as const) {
      assert.equal(refusalOf("command", line), hint, line);
    }
    assert.equal(refusalOf("command", "./agent.sh", { agent: "claude" }), add(words));
    assert.equal(refusalOf("acp", "claude-agent-acp"), null);
  });

  test("a package runner that starts an agent is refused", () => {
    assert.match(refusalOf("acp", "npx -y some-agent") ?? "", /npm install --global/);
    assert.match(refusalOf("command", "npx @google/gemini-cli") ?? "", /npm install --global/);
    assert.equal(refusalOf("command", "npx tsx agent.ts"), null);
  });

  test("a line must not undo the variables that disarm its agent", () => {
    const name = "OPENCODE_DISABLE_PROJECT_CONFIG";
    const leave = (what: string, key: string) => `remove "${what}" from ${key}`;
    for (const [line, undoing] of [
      ["env -i HOME=$HOME PATH=$PATH opencode acp", "env -i"],
      ["env HOME=/x - opencode acp", "HOME=/x -"],
      ["/usr/bin/env --ignore-environment opencode acp", "/usr/bin/env --ignore-environment"],
      ["env -u X -i opencode acp", "X -i"],
      ["exec -c opencode acp", "exec -c"],
      [`env -u ${name} opencode acp`, `-u ${name}`],
      [`env --unset=${name} opencode acp`, `env --unset=${name}`],
      [`unset ${name}; opencode acp`, `unset ${name}`],
      [`${name}=0 opencode acp`, `${name}=0`],
      [`bash -c 'export ${name}=; opencode acp'`, `${name}=`],
      [`${name}=1 opencode acp`, null],
      ["env HOME=/x opencode acp -i", null],
      ["OPENCODE_PERMISSION={} opencode acp", null],
    ] as const) {
      const hint = undoing === null ? null : leave(undoing, "acp.command");
      assert.equal(refusalOf("acp", line), hint, line);
      const run = line.replace("opencode acp", "opencode run --format json");
      const runHint = undoing === null ? null : leave(undoing, "command.line");
      assert.equal(refusalOf("command", run), runHint, run);
    }
    assert.equal(refusalOf("acp", "env -i ./agent"), leave("env -i", "acp.command"));
    assert.equal(refusalOf("acp", "env -i codex-acp"), null);
    assert.equal(refusalOf("command", "env -i ./agent.sh"), null);
    const mentions = "CLAUDE_CODE_DISABLE_FILE_MENTIONS=";
    assert.equal(
      refusalOf("command", `${mentions} claude -p ${words}`),
      leave(mentions, "command.line"),
    );
  });

  test("a workspace that an agent is told to trust is reported", () => {
    const trust = "GEMINI_CLI_TRUST_WORKSPACE";
    for (const [line, extra, trusts] of [
      ["gemini --acp", {}, false],
      ["gemini --acp --skip-trust", {}, true],
      ["gemini --acp --skip-trust=false", {}, false],
      ["gemini --acp --skipTrust", {}, true],
      ["gemini --acp --skipTrust=false", {}, false],
      ["env -i PATH=$PATH gemini --acp", {}, true],
      [`env -u ${trust} gemini --acp`, {}, true],
      [`${trust}=true gemini --acp`, {}, true],
      [`${trust}=false gemini --acp`, {}, false],
      ["gemini --acp", { env: { [trust]: "true" } }, false],
      ["gemini --acp", { env: { [trust]: "true" }, passthrough: [trust] }, true],
    ] as const) {
      const { guarded, lines } = launch("acp", line, extra);
      assert.equal(guarded.trusts, trusts, line);
      assert.equal(guardNotices(guarded, lines).length, trusts ? 1 : 0);
    }
  });
});

type Files = Readonly<Record<string, string>>;

/** A temporary folder that is in no repository: sandboxes of agents leave an empty `.git` in the system's own. */
function outsideRepositories(): string {
  const hasGit = (dir: string): boolean =>
    existsSync(join(dir, ".git")) || (dir !== dirname(dir) && hasGit(dirname(dir)));
  const found = [tmpdir(), "/var/tmp", "/dev/shm"].find((dir) => existsSync(dir) && !hasGit(dir));
  assert.ok(found, "every temporary folder lies in a repository");
  return found;
}

/** The refused paths in a workspace with these files; paths that begin with `../` are above it. */
async function refused(line: string, files: Files, links: Files = {}, kind = "acp" as const) {
  const root = await realpath(await mkdtemp(join(outsideRepositories(), "symphony-guard-")));
  try {
    const workspace = join(root, "ENG-1");
    await mkdir(workspace);
    for (const [name, text] of Object.entries(files)) {
      if (name.endsWith("/")) {
        await mkdir(join(workspace, name), { recursive: true });
        continue;
      }
      await mkdir(dirname(join(workspace, name)), { recursive: true });
      await writeFile(join(workspace, name), text);
    }
    for (const [name, target] of Object.entries(links))
      await symlink(target, join(workspace, name));
    await requireGuardedWorkspace(workspace, launch(kind, line).guarded, "ENG-1: x");
    return [];
  } catch (error) {
    assert.ok(error instanceof SymphonyError && error.code === "workspace_refused");
    const paths = error.details["paths"];
    assert.ok(Array.isArray(paths));
    for (const path of paths) assert.ok(error.message.includes(path), error.message);
    assert.ok(error.hint?.includes(`rm -rf ${paths.join(" ")}`), error.hint ?? "");
    assert.ok(error.hint?.endsWith("symphony transition ENG-1 queued"), error.hint ?? "");
    return paths;
  } finally {
    await rm(root, { recursive: true });
  }
}

describe("a workspace that could take over the agent", () => {
  const git = { ".git/HEAD": "" };
  const opencode = "opencode acp";

  test("opencode: plugins, and configuration that names plugins, are refused", async () => {
    for (const [files, paths] of [
      [{ ".opencode/plugin/x.js": "" }, [".opencode/plugin"]],
      [{ ".opencode/plugins/x.ts": "" }, [".opencode/plugins"]],
      [{ "opencode.json": '{"plugin":["./x.js"]}' }, ["opencode.json"]],
      [{ "opencode.jsonc": '{ /**/ "plugins" : [] }' }, ["opencode.jsonc"]],
      [{ ".opencode/opencode.json": '{"\\u0070lugin":[]}' }, [".opencode/opencode.json"]],
      [
        { ".opencode/plugin/x.js": "", "opencode.json": '{"plugin":[]}' },
        [".opencode/plugin", "opencode.json"],
      ],
      [{ "opencode.json": '{"instructions":["docs/plugins.md"],"mcp":{}}' }, []],
      [{ ".opencode/agent/x.md": "", ".opencode/tool/x.ts": "", "AGENTS.md": "" }, []],
    ] as [Files, string[]][]) {
      assert.deepEqual(await refused(opencode, { ...git, ...files }), paths);
    }
  });

  test("a link is refused without following it, and so is everything that is not a file", async () => {
    const files = { ...git, "other/x.js": "" };
    assert.deepEqual(await refused(opencode, files, { ".opencode": "other" }), [".opencode"]);
    assert.deepEqual(await refused(opencode, git, { "opencode.json": "/dev/zero" }), [
      "opencode.json",
    ]);
  });

  test("above the workspace the check goes up to its repository, and no further", async () => {
    const above = { "../.opencode/plugin/x.js": "" };
    assert.deepEqual(await refused(opencode, { ...git, ...above }), []);
    assert.deepEqual(await refused(opencode, above), []);
    assert.deepEqual(await refused(opencode, { "../.git/HEAD": "", ...above }), [
      "../.opencode/plugin",
    ]);
  });

  test("the rules of opencode apply to an agent that is not known, and to no other known agent", async () => {
    const files = { ...git, ".opencode/plugin/x.js": "", ".gemini/settings.json": "", ".env": "" };
    assert.deepEqual(await refused("./my-agent.sh", files), [".opencode/plugin"]);
    for (const line of ["claude-agent-acp", "gemini --acp", "codex-acp"]) {
      assert.deepEqual(await refused(line, files), [], line);
    }
    assert.deepEqual(await refused("gemini --acp --skip-trust", files), [".gemini", ".env"]);
  });

  test("codex: its folder is covered in the sandbox, so only a link is refused", async () => {
    const files = { ...git, ".codex/config.toml": "", "other/config.toml": "" };
    assert.deepEqual(await refused("codex-acp", files), []);
    assert.deepEqual(await refused("codex-acp", git, { ".codex": "other" }), [".codex"]);
  });

  test("codex: above the workspace a folder that is not empty is refused, an empty one is not", async () => {
    const above = { "../.git/HEAD": "" };
    assert.deepEqual(await refused("codex-acp", { ...above, "../.codex/": "" }), []);
    assert.deepEqual(await refused("codex-acp", { ...above, "../.codex/config.toml": "" }), [
      "../.codex",
    ]);
    const linked = { ...above, "../empty/": "" };
    assert.deepEqual(await refused("codex-acp", linked, { "../.codex": "empty" }), ["../.codex"]);
  });
});

test("a text that agents would run as a command gets a line in front of it", () => {
  for (const text of ["/cost", " /cost", "\n\n/cost", "\ufeff/cost", "\u0085/x", "\u200b/x"]) {
    assert.equal(plainPrompt(text), `Text of this message:\n${text}`);
  }
  for (const text of ["", "fix /etc/hosts", "a\n/b"]) assert.equal(plainPrompt(text), text);
});
