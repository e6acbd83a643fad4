import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { SymphonyError } from "../../../src/core/model/errors.ts";
import {
  type Bounds,
  boundLines,
  boundsOf,
  mayExceed,
  privateBytes,
  usedBytes,
} from "../../../src/core/process/bounds.ts";
import { agentEnvironment, runCookie } from "../../../src/core/process/environment.ts";
import { familiesOf } from "../../../src/core/process/families.ts";
import { AgentProcess } from "../../../src/core/process/program.ts";
import { isOfRun, liveProcesses } from "../../../src/core/process/table.ts";

const mib = 1024 ** 2;
let dir = "";
before(async () => {
  dir = await mkdtemp(join(tmpdir(), "symphony-bounds-"));
  await mkdir(join(dir, "ENG-1"));
});
after(() => rm(dir, { recursive: true, force: true }));

let runs = 0;
const none: Bounds = {
  ...{ maxProcesses: null, maxMemoryBytes: null, maxFileBytes: null },
  leastFreeBytes: 0,
};

/** The error that a program ends with, after which no process of it is left. */
async function endOf(
  line: string,
  bounds: Bounds,
  onLine: (line: string) => void = () => {},
): Promise<SymphonyError> {
  const runId = `att_bounds_${process.pid}_${runs++}`;
  const ended = Promise.withResolvers<SymphonyError>();
  const agent = new AgentProcess({
    line,
    cwd: join(dir, "ENG-1"),
    env: agentEnvironment({ env: process.env, passthrough: [], secretNames: [], runId }),
    runId,
    ...{ bounds, onLine },
    onStderr() {},
    onEnd: ended.resolve,
  });
  const error = await ended.promise;
  await agent.stop();
  const left = (await liveProcesses()).filter((entry) => isOfRun(entry.runId, runId));
  assert.deepEqual(left, []);
  return error;
}

// Each probe is bounded by itself: it harms no machine on which a limit does not work.
describe("THREAT-18, THREAT-19: what one agent may use of the machine", () => {
  test("a fork bomb ends the agent, and nothing of it is left, also without its cookie", async () => {
    const mark = `60.${process.pid}`;
    const bomb = `for i in $(seq 300); do env -i setsid sleep ${mark} & done; wait`;
    const error = await endOf(bomb, { ...none, maxProcesses: 40 });
    const pids = (await liveProcesses()).map(({ pid }) => pid);
    const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""));
    assert.deepEqual(
      (await Promise.all(lines)).filter((line) => line.includes(mark)),
      [],
    );
    assert.equal(error.code, "agent_limit");
    const said =
      /^the agent had (\d+) processes at the same time, at most 40 \(agent\.max_processes\)$/;
    assert.ok(Number(said.exec(error.message)?.[1]) > 40, error.message);
    assert.match(error.hint ?? "", /symphony config overlay set/);
  });

  test("memory counts over all its processes, and what they share counts once", async () => {
    const hold = 'my $n = 40; my $held = "x" x ($n << 20);';
    const alone = `perl -e '${hold} for (1..6) { fork or do { my $more = "y" x ($n << 20); sleep 60; exit } } sleep 60'`;
    const error = await endOf(alone, { ...none, maxMemoryBytes: 150 * mib });
    assert.equal(error.code, "agent_limit");
    assert.match(
      error.message,
      /^the agent used (\d+ MiB of memory, at most|more than) 150 MiB (of memory )?\(agent\.max_memory\)$/,
    );
    const shared = `perl -e '${hold} for (1..6) { fork or do { sleep 2; exit } } sleep 2; exit 7'`;
    assert.equal(
      (await endOf(shared, { ...none, maxMemoryBytes: 150 * mib })).details["status"],
      7,
    );
  });

  test("a file that is larger than allowed ends the program that writes it", async () => {
    const line = "ulimit -f; exec head -c 3000000 /dev/zero >large";
    const error = await endOf(line, { ...none, maxFileBytes: mib });
    assert.equal(error.code, "agent_limit");
    assert.match(error.message, /a file of more than 1 MiB \(agent\.max_file_size\)$/);
  });

  test("of a disk that fills, the one is ended that filled it, not one that wrote before or to a pipe", async () => {
    let least = 0;
    let looks = 0;
    const wrote = Promise.withResolvers<void>();
    const looked = Promise.withResolvers<void>();
    const bounds = {
      ...none,
      get leastFreeBytes() {
        looks += 1;
        if (looks > lookedAt + 1) looked.resolve();
        return least;
      },
    };
    let lookedAt = Number.POSITIVE_INFINITY;
    // There the kernel does not tell pipes from files.
    const inMemory = (await statfs(dir)).type === 0x01021994;
    const pipe = inMemory ? "sleep 2" : "timeout 2 cat /dev/zero | cat >/dev/null";
    const quiet = endOf(
      `head -c 60000000 /dev/zero >before; echo wrote; ${pipe}; exit 7`,
      bounds,
      () => wrote.resolve(),
    );
    await wrote.promise;
    lookedAt = looks;
    await looked.promise;
    // More than any disk has, so that no other program of the machine decides.
    least = 2 ** 60;
    const fill = "for i in $(seq 30); do head -c 10000000 /dev/zero >fill-$i; sleep 0.1; done";
    const error = await endOf(fill, bounds);
    assert.equal(error.code, "agent_limit");
    assert.match(error.message, /left on the disk of \S+, at least .*: the agent was ended/);
    assert.equal((await quiet).details["status"], 7);
  });
});

describe("THREAT-18: whose a process is", () => {
  const [a, b, shared] = [
    { runId: "host/a", root: 10 },
    { runId: "host/b", root: 20 },
    { runId: "host/c", root: 0 },
  ];
  /** The ids of the processes of each, for processes as `[pid, parent, cookie]`. */
  const idsOf = (...list: readonly (readonly [number, number, string?])[]) => {
    const entries = list.map(([pid, parentPid, runId = null]) => {
      return { ...{ pid, parentPid, runId }, groupId: pid, daemon: null };
    });
    const families = familiesOf(entries, [a, b, shared]);
    return [a, b, shared].map((one) => families.get(one)?.map(({ pid }) => pid));
  };

  test("descent decides, and a cookie only where it says nothing", () => {
    assert.deepEqual(
      idsOf(
        ...([
          [10, 2, "host/a"],
          [11, 10, "host/b"],
          [12, 11],
          [20, 2, "host/b"],
        ] as const),
        ...([
          [30, 1, "host/b/command"],
          [31, 1, "host/bb"],
          [32, 1],
          [40, 41],
          [41, 40],
        ] as const),
      ),
      [[10, 11, 12], [20, 30], []],
    );
  });

  test("of a shared agent the command's cookie counts for all below it", () => {
    assert.deepEqual(
      idsOf([50, 1, ""], [51, 50, "host/c"], [52, 51], [53, 52, "host/a"], [54, 50]),
      [[], [], [51, 52, 53]],
    );
  });

  test("a cookie of thousands of parts costs nothing and counts for none", () => {
    const long = `host/b/${"/".repeat(100_000)}`;
    const before = performance.now();
    const found = idsOf(...Array.from({ length: 900 }, (_, n) => [100 + n, 1, long] as const));
    assert.deepEqual(found, [[], [], []]);
    // It took minutes when each part was looked up.
    assert.ok(performance.now() - before < 5_000);
    assert.deepEqual(
      idsOf([30, 1, "host/b/1/2/3/4/5/6"], [31, 1, "host/b/1/2/3/4/5/6/7"])[1],
      [30],
    );
  });
});

test("of an environment 64 KiB are read, and a cookie that is cut off there is none", {
  skip: process.platform !== "linux",
}, async () => {
  const padding = { A: "a".repeat(33_000), B: "b".repeat(32_500) };
  const cookie = { [runCookie]: `host/${"x".repeat(200)}` };
  const children = [
    { ...cookie, ...padding },
    { ...padding, ...cookie },
  ].map((env) => spawn("/bin/sleep", ["60"], { env, stdio: "ignore" }));
  try {
    await Promise.all(children.map((child) => once(child, "spawn")));
    const found = await liveProcesses();
    const seen = children.map(({ pid }) => found.find((entry) => entry.pid === pid)?.runId);
    assert.deepEqual(seen, [cookie[runCookie], null]);
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
});

test("swapped memory counts, and pages of files do not", () => {
  const meminfo = { MemTotal: 100, MemAvailable: 70, SwapTotal: 50, SwapFree: 10 };
  assert.equal(usedBytes(meminfo), 70 * 1024);
  const rollup = { Pss: 900, Pss_Anon: 100, Pss_File: 790, Pss_Shmem: 10, SwapPss: 5 };
  assert.equal(privateBytes(rollup), 115 * 1024);
  assert.equal(privateBytes({}), null);
});

test("who used less than half of its limits is looked at again when the machine grew by half, or later", () => {
  const bounds = { ...none, maxProcesses: 100, maxMemoryBytes: 1_000 };
  const calm = { at: 0, processes: 300, usedBytes: 5_000 };
  assert.ok(!mayExceed(bounds, { at: 0, processes: 100, usedBytes: 1_000 }, null));
  assert.ok(mayExceed(bounds, calm, null));
  assert.ok(!mayExceed(bounds, { at: 1_000, processes: 350, usedBytes: 5_500 }, calm));
  assert.ok(mayExceed(bounds, { at: 1_000, processes: 351, usedBytes: 5_000 }, calm));
  assert.ok(mayExceed(bounds, { at: 1_000, processes: 300, usedBytes: 5_501 }, calm));
  assert.ok(mayExceed(bounds, { ...calm, at: 60_000 }, calm));
});

test("the defaults are 1024 processes, half of the memory and files of 4 GiB; 0 turns one off", () => {
  const off = { maxProcesses: 0, maxMemory: 0, maxFileSize: 0 };
  assert.deepEqual(boundLines(boundsOf(off), true), ["ulimit -c 0 2>/dev/null || :"]);
  const usual = boundsOf({ maxProcesses: 1_024, maxMemory: null, maxFileSize: 4 * 1024 ** 3 });
  assert.ok((usual.maxMemoryBytes ?? 0) > 100 * mib);
  assert.match(boundLines(usual, true).join(), /-f 4194304 .*-u 4096/);
  assert.doesNotMatch(boundLines(usual).join(), /-u/);
});
