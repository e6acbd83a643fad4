import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { SessionSpec } from "../../../../src/core/agent/agent.ts";
import { CodexHomes } from "../../../../src/core/agent/codex/home.ts";
import type { CodexConfig } from "../../../../src/core/agent/codex/settings.ts";
import {
  type Reaction,
  type Reactions,
  received,
  reply,
  wireAgent,
} from "../../../support/fakes/wire-agent.ts";
import { Bench, bench, codexConfig } from "../../../support/worlds/scripted-agent.ts";

interface Parts {
  /** What the program reports as its CODEX_HOME: symphony's private home, none, or another directory. */
  readonly says?: "ours" | "none" | "another";
  readonly probe?: readonly Reaction[];
  readonly config?: Partial<CodexConfig>;
}

const holds = [reply({ exitCode: 0, stdout: "ran\n", stderr: "" })];

/** A program that acts as codex in a private home and answers the probe with `probe`. */
async function setUp({ says = "ours", probe = holds, config = {} }: Parts) {
  const made = await bench([]);
  const { root } = made;
  const homes = new CodexHomes({
    env: { HOME: root, CODEX_HOME: join(root, "operator") },
    dataDir: join(root, "data"),
    workspaceRoot: () => root,
  });
  const home = await homes.prepare(codexConfig, { onLog() {} });
  const codexHome = { ours: home?.path, none: undefined, another: "/home/ann/.codex" }[says];
  const reactions: Reactions = {
    initialize: [reply(codexHome === undefined ? {} : { codexHome })],
    "command/exec": probe,
  };
  const command = await wireAgent(made, reactions);
  const b = new Bench(root, { config: { command, ...config }, homes });
  return {
    b,
    async threads(...specs: readonly Partial<SessionSpec>[]) {
      for (const spec of specs) {
        await using _session = await b.start(spec);
      }
      const messages = await received(b);
      const params = messages.filter(({ method }) => method === "thread/start");
      return {
        probes: messages.filter(({ method }) => method === "command/exec").length,
        sent: params.map(({ params: sent }) => sent?.["permissions"] ?? sent?.["sandbox"]),
        configs: params.map(({ params: sent }) => Object(sent?.["config"])),
      };
    },
    [Symbol.asyncDispose]: () => b[Symbol.asyncDispose](),
  };
}

describe("the sandbox in which codex runs commands", () => {
  test("the profile of the level is sent without a sandbox mode, and is probed once for each level", async () => {
    await using p = await setUp({});
    const { probes, sent, configs } = await p.threads({}, {}, { level: "networked" });
    assert.deepEqual(sent, ["symphony-safe", "symphony-safe", "symphony-networked"]);
    assert.equal(probes, 2);
    assert.deepEqual(
      configs.map(({ web_search: search }) => search),
      ["disabled", "disabled", undefined],
    );
    assert.deepEqual(configs[0].projects, { [p.b.workspace]: { trust_level: "untrusted" } });
  });

  test("a thread may read the mirror of its workspace, by a rule for this thread alone", async () => {
    await using p = await setUp({});
    const mirror = "/data/mirrors/0a1b/repository.git";
    const { configs } = await p.threads({ borrowed: [mirror] }, {});
    assert.deepEqual(configs[0].permissions, {
      "symphony-safe": { filesystem: { "/data/mirrors/0a1b": "write", [mirror]: "read" } },
    });
    assert.equal(configs[1].permissions, undefined);
  });

  test("commits to a repository are allowed unless the operator forbids them", async () => {
    for (const [allowGit, profile] of [
      [true, "symphony-safe-git"],
      [false, "symphony-safe"],
    ] as const) {
      await using p = await setUp({ config: { allowGit } });
      await mkdir(join(p.b.workspace, ".git", "hooks"), { recursive: true });
      await writeFile(join(p.b.workspace, ".git", "config"), "");
      assert.deepEqual((await p.threads({})).sent, [profile]);
    }
  });

  test("a sandbox that leaks, does not run, or cannot be probed fails each attempt", async () => {
    for (const [probe, message] of [
      [reply({ exitCode: 0, stdout: "ran\nread /data\n" }), /does not hold, a command could read/],
      [reply({ exitCode: 0, stdout: "" }), /does not run commands here/],
      [
        reply({ exitCode: 1, stderr: "bwrap: setting up uid map\n" }),
        /here: bwrap: setting up uid/,
      ],
      [{ send: { id: "$id", error: { code: -32600, message: "unknown method" } } }, /be probed/],
    ] as const) {
      await using p = await setUp({ probe: [probe] });
      for (const runId of [`${p.b.runId}_1`, `${p.b.runId}_2`]) {
        await assert.rejects(
          p.b.start({ runId }),
          (error: { code?: string; message: string; hint?: string }) => {
            assert.equal(error.code, "agent_unavailable");
            assert.match(error.message, message);
            assert.match(error.hint ?? "", /user namespaces.*agent\.level danger/);
            return true;
          },
        );
      }
      const { probes, sent } = await p.threads();
      assert.deepEqual([probes, sent], [2, []]);
    }
  });

  test("level danger has no sandbox and needs no probe", async () => {
    await using p = await setUp({ probe: [reply({ exitCode: 1 })] });
    const { probes, sent, configs } = await p.threads({ level: "danger" });
    assert.deepEqual([probes, sent], [0, ["danger-full-access"]]);
    assert.equal(configs[0].projects, undefined);
  });

  test("a program that is not codex keeps the previous sandbox setting, and the log reports it", async () => {
    await using p = await setUp({ says: "none" });
    const { probes, sent } = await p.threads({});
    assert.deepEqual([probes, sent], [0, ["workspace-write"]]);
    assert.match(p.b.logs.join("\n"), /is not codex: its sandbox was not probed/);
  });

  test("the operator's settings take precedence, and the events report what is lost", async () => {
    for (const [parts, sent, told] of [
      [{ config: { threadSandbox: "read-only" } }, "read-only", /codex\.thread_sandbox replaces/],
      [
        { config: { turnSandboxPolicy: { type: "readOnly" } } },
        "workspace-write",
        /codex\.turn_sandbox_policy replaces/,
      ],
      [{ says: "another" }, "workspace-write", /sets CODEX_HOME to \/home\/ann/],
      [{ config: { home: "inherit" } }, "workspace-write", /codex\.home is inherit/],
    ] as const) {
      await using p = await setUp(parts);
      const threads = await p.threads({});
      assert.deepEqual([threads.probes, threads.sent], [0, [sent]]);
      // Programs that a repository names would run outside of every codex sandbox.
      assert.deepEqual(threads.configs[0].projects, {
        [p.b.workspace]: { trust_level: "untrusted" },
      });
      await p.b.until("notice", ({ message }) => told.test(message));
    }
  });

  test("the network of level networked is available without the profile too", async () => {
    await using p = await setUp({ says: "none" });
    const { configs } = await p.threads({ level: "networked" });
    assert.equal(configs[0]["sandbox_workspace_write.network_access"], true);
  });
});
