import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import type { View } from "../../src/core/process/view.ts";
import { breach, type Prey, probes } from "../support/makers/hostile-probes.ts";
import {
  type Confined,
  type ConfinedOptions,
  confinedKinds,
} from "../support/worlds/confined-kinds.ts";

type Kind = keyof typeof confinedKinds;

const table: readonly (readonly [Kind, View["level"]])[] = [
  ["openai", "safe"],
  ["openai", "networked"],
  ["command", "safe"],
  ["command", "networked"],
  ["acp", "safe"],
  ["acp", "networked"],
];

const plain: ConfinedOptions = { env: {}, passthrough: [] };
/** Probes of the limits on processes and files, which only the built-in agent's commands have. */
const bounded = /^starts|large/;
/** Probes of the network, which only level safe blocks. */
const network = /^asks|^connects/;
/** Runs on the double of Seatbelt too (seatbelt.test.ts), which has neither namespaces nor a rule for one port. */
const isMac = process.platform === "darwin";
const ofLinux = /namespace|session|memory|covers off/;
/** Probes that do no damage if they succeed. */
const harmless =
  /master key|token|login|another workspace|another user|machine|namespace|git hook|link/;

interface Hunt extends AsyncDisposable {
  readonly prey: Prey;
  /** Requests that reached the API. */
  reached(): number;
}

/** Everything that the probes are after, in and around the workspace. */
async function hunt({ dataDir, home, root, workspace, workspaceRoot }: Confined): Promise<Hunt> {
  let reached = 0;
  const api = createServer((_, response) => {
    reached++;
    response.end("welcome");
  });
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
  // Outside of temporary folders and of the packages that programs of these tests come from.
  const apart = await mkdtemp(join(process.cwd(), ".neighbour-"));
  const prey: Prey = {
    ...{ dataDir, home },
    otherWorkspace: join(workspaceRoot, "ENG-2"),
    outside: join(root, "outside"),
    neighbour: join(apart, "diary"),
    apiUrl: `http://127.0.0.1:${(api.address() as AddressInfo).port}`,
    canary: "canary-in-the-server",
  };
  const server = spawn("sleep", ["120"], {
    env: { PATH: process.env["PATH"], KEY: prey.canary },
  });
  for (const dir of [prey.outside, join(workspace, ".git", "hooks")])
    await mkdir(dir, { recursive: true });
  for (const file of [
    ...["token", "runtime.json", "master.key"].map((name) => join(dataDir, name)),
    join(home, ".codex", "auth.json"),
    join(prey.otherWorkspace, "theirs"),
    join(workspace, ".git", "config"),
    prey.neighbour,
  ]) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, "prey\n");
  }
  return {
    prey,
    reached: () => reached,
    async [Symbol.asyncDispose]() {
      server.kill("SIGKILL");
      api.closeAllConnections();
      api.close();
      await rm(apart, { recursive: true, force: true });
    },
  };
}

describe("THREAT-1, THREAT-7: the ways out of a workspace are closed", () => {
  for (const [kind, level] of table) {
    test(`for ${kind} at level ${level}`, async () => {
      await using agent = await confinedKinds[kind]({ ...plain, hasProvider: level === "safe" });
      await using hunted = await hunt(agent);
      const { prey } = hunted;
      const ways = probes(prey).filter(
        ({ name }) =>
          (kind === "openai" || !bounded.test(name)) &&
          (level === "safe" || !network.test(name)) &&
          !(isMac && (ofLinux.test(name) || (kind === "acp" && network.test(name)))),
      );
      const outputs = await agent.run(
        ways.map(({ command }) => command),
        { level },
      );
      assert.equal(outputs.length, ways.length);
      for (const [index, { name }] of ways.entries()) {
        assert.doesNotMatch(outputs[index] ?? breach, new RegExp(`^${breach}$`, "m"), name);
      }
      if (kind === "openai") {
        const many = ways.findIndex(({ name }) => name.startsWith("starts"));
        assert.match(outputs[many] ?? "", /too many processes/);
      }
      if (!isMac) assert.equal(hunted.reached(), 0);
      assert.deepEqual(await readdir(prey.outside), []);
      assert.deepEqual(await readdir(join(agent.workspace, ".git", "hooks")), []);
      await assert.rejects(stat("/evil"), { code: "ENOENT" });
    });
  }

  for (const kind of ["openai", "command", "acp"] as const) {
    test(`without the sandbox they are open for ${kind}, which shows that the probes work`, async () => {
      await using agent = await confinedKinds[kind](plain);
      await using hunted = await hunt(agent);
      const ways = probes(hunted.prey).filter(({ name }) => harmless.test(name));
      assert.equal(ways.length, 9);
      const outputs = await agent.run(
        ways.map(({ command }) => command),
        { level: "danger" },
      );
      for (const [index, { name }] of ways.entries()) {
        assert.match(outputs[index] ?? "", new RegExp(`^${breach}$`, "m"), name);
      }
    });
  }

  test("acp without a known provider is not started at level safe", async () => {
    await using agent = await confinedKinds.acp(plain);
    await assert.rejects(agent.run(["true"], { level: "safe" }), {
      code: "agent_unavailable",
      message: /agent\.level safe/,
    });
  });
});

describe("THREAT-2: the environment is only the allow-list", () => {
  const canaries = Object.fromEntries(
    [
      ...["OPENAI_API_KEY", "LINEAR_API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"],
      ...["SSH_AUTH_SOCK", "SYMPHONY_MASTER_KEY", "SYMPHONY_TOKEN", "NODE_OPTIONS_X", "DBUS_X"],
    ].map((name) => [name, `canary-${name}`]),
  );
  const ofBash = ["PWD", "SHLVL", "_", "OLDPWD"];
  const ofSymphony = /^(SYMPHONY_(RUN_ID|ISSUE_\w+|WORKSPACE|TURN)|CLAUDE_CODE_DISABLE_\w+)$/;
  const disarming = ["GEMINI_CLI_TRUST_WORKSPACE", "OPENCODE_DISABLE_PROJECT_CONFIG"];
  for (const [kind, level] of table) {
    test(`for ${kind} at level ${level}`, async () => {
      await using agent = await confinedKinds[kind]({
        env: { ...canaries, CI: "1", LANG: "C" },
        passthrough: ["CI", "LINEAR_API_KEY", "DEPLOY_WORD"],
        stored: { DEPLOY_WORD: "a-stored-secret", LINEAR_API_KEY: "canary", OTHER: "canary" },
        hasProvider: level === "safe",
      });
      const profile = Object.keys(canaries).map((name) => `export PROFILE_${name}=canary`);
      await writeFile(join(agent.home, ".profile"), profile.join("\n"));
      const [outputs = ""] = await agent.run(["env -0 | tr '\\0' '\\n'"], {
        level,
        secretEnvNames: ["LINEAR_API_KEY"],
      });
      assert.doesNotMatch(outputs, /canary|sk-test/);
      assert.match(outputs, /^DEPLOY_WORD=a-stored-secret$/m);
      const names = outputs
        .split("\n")
        .filter((line) => line.includes("="))
        .map((line) => line.slice(0, line.indexOf("=")))
        .filter((name) => !ofBash.includes(name) && !ofSymphony.test(name))
        .filter((name) => !disarming.includes(name));
      const allowed = [
        ...["CI", "DEPLOY_WORD", "HOME", "LANG"],
        // Its provider's address on the sandbox's loopback, and the token of the attempt.
        ...(kind === "acp" && level === "safe" ? ["MODEL_KEY", "MODEL_URL"] : []),
        "PATH",
      ];
      assert.deepEqual(
        names.sort(),
        kind === "openai" && !isMac ? allowed : [...allowed, "TMPDIR"],
      );
    });
  }
});
