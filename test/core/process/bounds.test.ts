import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { SymphonyError } from "../../../src/core/model/errors.ts";
import { type Bounds, boundLines, boundsOf } from "../../../src/core/process/bounds.ts";
import { agentEnvironment } from "../../../src/core/process/environment.ts";
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
async function endOf(line: string, bounds: Partial<Bounds>): Promise<SymphonyError> {
  const runId = `att_bounds_${process.pid}_${runs++}`;
  const ended = Promise.withResolvers<SymphonyError>();
  const agent = new AgentProcess({
    line,
    cwd: join(dir, "ENG-1"),
    env: agentEnvironment({ env: process.env, passthrough: [], secretNames: [], runId }),
    runId,
    bounds: { ...none, ...bounds },
    onLine() {},
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
    const error = await endOf(bomb, { maxProcesses: 40 });
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
    const error = await endOf(alone, { maxMemoryBytes: 150 * mib });
    assert.equal(error.code, "agent_limit");
    assert.match(
      error.message,
      /^the agent used \d+ MiB of memory, at most 150 MiB \(agent\.max_memory\)$/,
    );
    const shared = `perl -e '${hold} for (1..6) { fork or do { sleep 2; exit } } sleep 2; exit 7'`;
    assert.equal((await endOf(shared, { maxMemoryBytes: 150 * mib })).details["status"], 7);
  });

  test("a file that is larger than allowed ends the program that writes it", async () => {
    const line = "ulimit -f; exec head -c 3000000 /dev/zero >large";
    const error = await endOf(line, { maxFileBytes: mib });
    assert.equal(error.code, "agent_limit");
    assert.match(error.message, /a file of more than 1 MiB \(agent\.max_file_size\)$/);
  });

  test("of a disk that fills, the one is ended that filled it", async () => {
    // More than any disk has, so that no other program of the machine decides.
    const least = 2 ** 60;
    const quiet = endOf("sleep 2; exit 7", { leastFreeBytes: least });
    const fill = "for i in $(seq 30); do head -c 10000000 /dev/zero >fill-$i; sleep 0.1; done";
    const error = await endOf(fill, { leastFreeBytes: least });
    assert.equal(error.code, "agent_limit");
    assert.match(error.message, /left on the disk of \S+, at least .*: the agent was ended/);
    assert.equal((await quiet).details["status"], 7);
  });
});

test("the defaults are 1024 processes, half of the memory and files of 4 GiB; 0 turns one off", () => {
  const off = { maxProcesses: 0, maxMemory: 0, maxFileSize: 0 };
  assert.deepEqual(boundLines(boundsOf(off), true), ["ulimit -c 0 2>/dev/null || :"]);
  const usual = boundsOf({ maxProcesses: 1_024, maxMemory: null, maxFileSize: 4 * 1024 ** 3 });
  assert.ok((usual.maxMemoryBytes ?? 0) > 100 * mib);
  assert.match(boundLines(usual, true).join(), /-f 4194304 .*-u 4096/);
  assert.doesNotMatch(boundLines(usual).join(), /-u/);
});
