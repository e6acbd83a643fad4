// The table of signals and phases: how each command ends, within what time, and what it leaves. A tracker that hangs, a second
// signal and the demo are in stop.test.ts, followers in live.test.ts, the launcher under an old Node in stub.test.ts.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { before, describe, type TestContext, test } from "node:test";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { liveProcesses } from "../../src/core/process/table.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, isAlive, launch } from "../support/worlds/symphony.ts";

/** Longest time from a signal to the exit. */
const limitMs = 10_000;

/** It ignores every signal but SIGKILL, and so do the programs that it starts. */
const stubborn = `trap '' TERM INT HUP; echo $$ >"$HOME/pid"; while :; do sleep 1; done`;
/** The same, and a process without its cookie, group and parent keeps its pipes. */
const escaped = `45.${process.pid}`;
const escaping = `(env -i setsid sleep ${escaped} &); ${stubborn}`;

type End = (child: ChildProcess) => unknown;
const ends: Readonly<Record<string, End>> = {
  SIGTERM: (child) => child.kill("SIGTERM"),
  SIGINT: (child) => child.kill("SIGINT"),
  SIGHUP: (child) => child.kill("SIGHUP"),
  "SIGINT to the group": ({ pid }) => process.kill(-Number(pid), "SIGINT"),
  "SIGTERM to the group": ({ pid }) => process.kill(-Number(pid), "SIGTERM"),
  // Neither ends it; the signal after them does.
  "SIGPIPE and its output closed": async (child) => {
    child.kill("SIGPIPE");
    for (const stream of [child.stdout, child.stderr]) stream?.destroy();
    child.kill("SIGTERM");
  },
};

interface Row {
  readonly command: "serve" | "serve --once" | "run";
  readonly phase: "idle" | "its agent hangs" | "a process escaped with its agent's pipes";
  /** The exit code by signal. */
  readonly codes: Readonly<Record<string, number>>;
}

const table: readonly Row[] = [
  {
    command: "serve",
    phase: "idle",
    codes: {
      SIGTERM: 0,
      SIGINT: 0,
      SIGHUP: 0,
      "SIGINT to the group": 0,
      "SIGPIPE and its output closed": 0,
    },
  },
  {
    command: "serve",
    phase: "its agent hangs",
    codes: { SIGTERM: 0, SIGINT: 0, "SIGTERM to the group": 0 },
  },
  { command: "serve", phase: "a process escaped with its agent's pipes", codes: { SIGTERM: 0 } },
  { command: "serve --once", phase: "its agent hangs", codes: { SIGTERM: 130, SIGINT: 130 } },
  {
    command: "run",
    phase: "its agent hangs",
    codes: {
      SIGTERM: 130,
      "SIGINT to the group": 130,
      SIGHUP: 130,
      "SIGPIPE and its output closed": 130,
    },
  },
];

let template = "";
before(async (t) => {
  template = await project(t as TestContext, stubborn);
  const create = launch(around(template), ["issue", "create", "--title", "x", "--state", "Todo"]);
  assert.deepEqual(await once(create, "exit"), [0, null]);
});

async function project(t: TestContext, agent: string): Promise<string> {
  const dir = temporaryDir(t);
  const text = `---
tracker: { kind: local }
codex: { command: ${JSON.stringify(agent)}, read_timeout_ms: 600000 }
workspace: { root: workspaces }
storage: { min_free: 0 }
host: { min_memory: 0, max_load: 0 }
---
Work
`;
  await writeFile(join(dir, "WORKFLOW.md"), text);
  return dir;
}

/** The leader of a group of its own. */
function around(cwd: string) {
  const env = { HOME: cwd, SYMPHONY_DATA_DIR: undefined, SYMPHONY_TOKEN: undefined };
  return { cwd, env, through: (command: readonly string[]) => ["setsid", ...command] };
}

const argsOf = {
  serve: ["serve", "--port", "0"],
  "serve --once": ["serve", "--once", "--port", "0"],
  run: ["run", "LOCAL-1"],
};

function isReady({ phase }: Row, dir: string): Promise<string | undefined> {
  if (phase !== "idle") return readFile(join(dir, "pid"), "utf8").then((text) => text.trim());
  const runtime = readFile(join(dir, ".symphony", "runtime.json"), "utf8");
  return runtime.then((text) => JSON.parse(text).url);
}

/** It is found by its arguments alone. Where the kernel's control group held the agent, it has ended with it. */
async function endEscaped(): Promise<void> {
  const found = (await liveProcesses()).map(async ({ pid }) => {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return line === `sleep\0${escaped}\0` ? [pid] : [];
  });
  const pids = (await Promise.all(found)).flat();
  assert.ok(pids.length <= 1);
  for (const pid of pids) process.kill(pid, "SIGKILL");
}

describe("FAULT-16, LIVE-4: signals by phase", {
  concurrency: 4,
  skip: process.platform !== "linux",
}, () => {
  for (const row of table) {
    for (const [name, code] of Object.entries(row.codes)) {
      test(`${row.command} ends with ${code} after ${name} while ${row.phase}`, async (t) => {
        const escapes = row.phase.startsWith("a process");
        const dir = await project(t, escapes ? escaping : stubborn);
        if (row.phase !== "idle") {
          await cp(join(template, ".symphony"), join(dir, ".symphony"), { recursive: true });
        }
        const child = launch(around(dir), argsOf[row.command]);
        t.after(() => child.kill("SIGKILL"));
        let said = "";
        for (const stream of [child.stdout, child.stderr])
          stream?.on("data", (part) => (said += part));
        await eventually("it is ready", () => isReady(row, dir)).catch((cause: unknown) => {
          throw new Error(said, { cause });
        });
        const exit = once(child, "exit", { signal: AbortSignal.timeout(limitMs) });
        await ends[name]?.(child);
        assert.deepEqual(await exit, [code, null], said);
        const files = await readdir(join(dir, ".symphony"));
        assert.deepEqual(
          files.filter((file) => ["runtime.json", "lock.json"].includes(file)),
          [],
        );
        const group = (await liveProcesses()).filter(({ groupId }) => groupId === child.pid);
        assert.deepEqual(group, []);
        if (row.phase !== "idle") {
          const pid = Number(await readFile(join(dir, "pid"), "utf8"));
          assert.equal(isAlive(pid), false);
        }
        if (escapes) await endEscaped();
      });
    }
  }

  // Whatever a start has got to: the moments are those at which these files appear.
  const moments = ["nothing", ".symphony", ".symphony/lock.json", ".symphony/runtime.json"];
  for (const [at, moment] of moments.entries()) {
    test(`serve that has made ${moment} ends after SIGTERM with nothing left`, async (t) => {
      const { code, left, said } = await endedIn(t, ["serve", "--port", "0"], moment);
      // Before its first line has run, a program ends by the signal itself.
      assert.ok(code === 0 || (at === 0 && code === "SIGTERM"), `${code}\n${said}`);
      assert.deepEqual(left, []);
    });
  }

  for (const moment of moments.slice(1, 3)) {
    test(`serve whose start fails ends after SIGINT at ${moment} with nothing left`, async (t) => {
      const taken = createServer().listen(0, "127.0.0.1");
      t.after(() => taken.close());
      await once(taken, "listening");
      const { port } = taken.address() as AddressInfo;
      const args = ["serve", "--port", String(port)];
      const { code, left, said } = await endedIn(t, args, moment);
      assert.ok(code === 0 || code === 1, `${code}\n${said}`);
      assert.deepEqual(left, []);
    });
  }
});

async function endedIn(t: TestContext, args: readonly string[], moment: string) {
  const dir = await project(t, "sleep 600");
  const child = launch(around(dir), args);
  t.after(() => child.kill("SIGKILL"));
  const exit = once(child, "exit");
  let said = "";
  child.stderr?.on("data", (part) => (said += part));
  while (moment !== "nothing" && child.exitCode === null && !existsSync(join(dir, moment)))
    await setImmediate();
  child.kill(args.at(-1) === "0" ? "SIGTERM" : "SIGINT");
  const late = delay(limitMs, null, { ref: false });
  const [code, signal] = (await Promise.race([exit, late])) ?? ["it did not end", null];
  const files = await readdir(join(dir, ".symphony")).catch(() => []);
  const left = files.filter((file) => ["runtime.json", "lock.json"].includes(file));
  return { code: code ?? signal, left, said };
}
