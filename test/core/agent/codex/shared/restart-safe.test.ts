import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sharedDir } from "../../../../../src/core/agent/codex/shared/restart-safe.ts";
import { agentKinds, requireRestartSafe } from "../../../../../src/core/agent/kinds.ts";
import type { Config } from "../../../../../src/core/config/config.ts";
import { config } from "../../../../support/makers/issue.ts";

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
    ...{ root, settings },
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
