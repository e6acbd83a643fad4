import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CodexHomes } from "../../../../../src/core/agent/codex/home.ts";
import { Daemons } from "../../../../../src/core/agent/codex/shared/daemons.ts";
import { sharedDir } from "../../../../../src/core/agent/codex/shared/restart-safe.ts";
import {
  createCodexKind,
  createSharedRuntime,
} from "../../../../../src/core/agent/codex/shared/runtime.ts";
import { agentKinds, requireRestartSafe } from "../../../../../src/core/agent/kinds.ts";
import { systemClock } from "../../../../../src/core/clock.ts";
import type { Config } from "../../../../../src/core/config/config.ts";
import { config } from "../../../../support/makers/issue.ts";
import { Bench } from "../../../../support/worlds/scripted-agent.ts";

async function setUp() {
  const root = await mkdtemp(join(tmpdir(), "symphony-safe-"));
  const codex = join(root, "codex");
  const help = "Options:\n  --listen <URL>  stdio:// (default), unix://, unix://PATH";
  await writeFile(codex, `#!/bin/sh\n[ "$1 $2" = "app-server --help" ] && echo '${help}'\n`);
  await chmod(codex, 0o755);
  const settings = (own: Partial<Config["codex"]> = {}) =>
    config({ codex: { process: "shared", command: `${codex} app-server`, ...own } });
  const env = { PATH: process.env["PATH"], HOME: root };
  return {
    ...{ root, settings, env },
    check: (config: Config, own: { dataDir?: string; platform?: NodeJS.Platform } = {}) =>
      requireRestartSafe(agentKinds, config, { dataDir: root, env, ...own }),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

test("shared codex in a directory of the user's own is restart-safe", async () => {
  await using at = await setUp();
  await at.check(at.settings());
  await mkdir(sharedDir(at.root), { mode: 0o700 });
  await at.check(at.settings());
});

test("A-1: codex is found where only an interactive shell of the user finds it, and no profile runs for its start", async () => {
  await using at = await setUp();
  const env = { PATH: process.env["PATH"], HOME: at.root, SHELL: "/bin/bash", MY_SECRET: "canary" };
  const [tools, seen] = [join(at.root, "tools"), join(at.root, "seen")];
  await mkdir(tools);
  await rename(join(at.root, "codex"), join(tools, "own-codex"));
  await writeFile(join(at.root, ".bashrc"), `PATH="${tools}:$PATH"\n`);
  await writeFile(join(at.root, ".bash_profile"), 'echo x >>"$HOME/reads"\n. ~/.bashrc\n');
  const config = at.settings({ command: "own-codex app-server", home: "inherit" });
  await requireRestartSafe(agentKinds, config, { dataDir: at.root, env });
  // It leaves at once: nothing listens, but it was started.
  await writeFile(join(tools, "own-codex"), `#!/bin/sh\nenv >${seen}\n`, { mode: 0o755 });
  const clock = systemClock;
  const daemons = new Daemons({
    ...{ clock, dir: sharedDir(at.root), onTrouble() {} },
    markOf: (id) => `test/${at.root}/${id}`,
  });
  const place = { env, dataDir: at.root, workspaceRoot: () => at.root };
  const runtime = createSharedRuntime({
    ...{ clock, env, daemons, onTrouble() {} },
    homes: new CodexHomes(place),
    config: () => config.codex,
  });
  const spec = new Bench(at.root, {}).spec();
  await assert.rejects(runtime.start(spec, new AbortController().signal), { code: "port_exit" });
  daemons.close();
  const started = await readFile(seen, "utf8");
  assert.match(started, new RegExp(`^PATH=${tools}:`, "m"));
  assert.doesNotMatch(started, /canary/);
  assert.equal(await readFile(join(at.root, "reads"), "utf8"), "x\n", "for the first reading");
});

test("A11: where a shared codex could have no socket it is not started, and no issue spends a retry on it", async () => {
  await using at = await setUp();
  const of = (dataDir: string, process: "shared" | "per_issue") =>
    createCodexKind({
      ...{ settings: () => at.settings({ process }).codex, workspaceRoot: () => at.root, dataDir },
      ...{ clock: systemClock, env: at.env, lookup: () => undefined, daemons: null },
      ...{ hide() {}, onTrouble() {} },
    });
  const long = `/tmp/${"long/".repeat(20)}`;
  await assert.rejects(async () => of(long, "shared").check?.("safe"), {
    code: "agent_unavailable",
    message: /codex\.process is shared, and a socket cannot be at/,
    hint: "set --data-dir to a shorter path without quotes",
  });
  await of(long, "per_issue").check?.("safe");
  await of(at.root, "shared").check?.("safe");
});

test("each condition that would end turns with the server is named, with what to do", async () => {
  await using at = await setUp();
  const refused = (config: Config, message: RegExp, own = {}) =>
    assert.rejects(at.check(config, own), { code: "invalid_config", message });
  await refused(at.settings({ process: "per_issue" }), /codex\.process is per_issue/);
  await refused(
    config({ agent: { use: "openai" } }),
    /the agent is openai, and only codex outlives/,
  );
  await refused(at.settings(), /it needs Linux, this is darwin/, { platform: "darwin" });
  await refused(at.settings(), /a socket cannot be at/, { dataDir: `/tmp/${"long/".repeat(20)}` });
  await refused(at.settings({ command: "echo" }), /does not accept --listen/);
  await mkdir(sharedDir(at.root), { mode: 0o755 });
  await refused(at.settings(), /is open to other users/);
});
