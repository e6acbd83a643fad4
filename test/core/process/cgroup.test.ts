import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Bounds, leastFreeBytes } from "../../../src/core/process/bounds.ts";
import { groupOf, makeGroup } from "../../../src/core/process/cgroup.ts";
import { runCommand } from "../../../src/core/process/run.ts";
import { liveProcesses } from "../../../src/core/process/table.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const mib = 1024 ** 2;

/** A machine with the files that the kernel would make, which are plain ones here. */
function machine(t: TestContext, groups: string, files: Readonly<Record<string, string>>): string {
  const root = temporaryDir(t);
  for (const [name, text] of Object.entries({ "proc/self/cgroup": groups, ...files })) {
    mkdirSync(join(root, name, ".."), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

test("THREAT-18: where a group is delegated, the server moves out of the way and an agent gets one with its limits", async (t) => {
  const own = "sys/fs/cgroup/user.slice/symphony.service";
  const root = machine(t, "0::/user.slice/symphony.service\n", {
    [`${own}/cgroup.controllers`]: "cpu memory pids\n",
    [`${own}/cgroup.subtree_control`]: "cpu\n",
    [`${own}/symphony-old/keep`]: "",
  });
  const group = makeGroup({ maxMemoryBytes: 512 * mib }, 64, root);
  const at = (...names: string[]) => join(root, own, ...names);
  assert.equal(readFileSync(at("symphony-server", "cgroup.procs"), "utf8"), String(process.pid));
  assert.equal(readFileSync(at("cgroup.subtree_control"), "utf8"), "+pids +memory");
  const [name = ""] = readdirSync(at()).filter((one) => /^symphony-[0-9a-f-]{36}$/.test(one));
  assert.equal(readFileSync(at(name, "pids.max"), "utf8"), "64");
  assert.equal(readFileSync(at(name, "memory.max"), "utf8"), String(512 * mib));
  assert.match(
    group?.line ?? "",
    new RegExp(`echo \\$\\$ 2>/dev/null >'?${at(name, "cgroup.procs")}`),
  );
  assert.equal(group?.ranOutOfMemory(), false);
  writeFileSync(at(name, "memory.events"), "low 0\noom 1\noom_kill 1\n");
  assert.equal(group?.ranOutOfMemory(), true);
});

test("a group of version 1 is made for each controller, and where nothing is delegated there is none", (t) => {
  const root = machine(t, "8:pids:/a\n4:memory:/b\n3:cpu:/\n0::/\n", {
    "sys/fs/cgroup/pids/a/tasks": "",
    "sys/fs/cgroup/memory/b/tasks": "",
  });
  assert.equal(makeGroup({ maxMemoryBytes: mib }, 8, root)?.line.split("\n").length, 2);
  const [name = ""] = readdirSync(join(root, "sys/fs/cgroup/memory/b")).filter((one) =>
    one.startsWith("symphony-"),
  );
  const limit = join(root, "sys/fs/cgroup/memory/b", name, "memory.limit_in_bytes");
  assert.equal(readFileSync(limit, "utf8"), String(mib));
  assert.equal(makeGroup({ maxMemoryBytes: mib }, 8, machine(t, "0::/x\n", {})), null);
});

const bounds: Bounds = {
  ...{ maxProcesses: 8, maxMemoryBytes: 256 * mib, maxFileBytes: null, leastFreeBytes },
};
const trial = groupOf(bounds);
await trial?.end();

test("THREAT-18: the kernel holds the processes and the memory of a command, as root too, and none leaves it", {
  skip: trial === null ? "no control group is delegated here" : false,
}, async (t) => {
  const cwd = temporaryDir(t);
  const escaped = `46.${process.pid}`;
  const run = (line: string) =>
    runCommand({
      argv: ["bash", "-c", line],
      ...{ cwd, timeoutMs: 30_000, outputBytes: 4_000, env: { PATH: process.env["PATH"] } },
      // The look would end it first.
      limits: { runId: "cgroup-test", workspace: cwd, bounds: { ...bounds, maxProcesses: 8 } },
    });
  await run(`env -i /usr/bin/setsid sleep ${escaped} & echo $! > pid; sleep 0.2`);
  const pid = Number(readFileSync(join(cwd, "pid"), "utf8"));
  await eventually("it is gone", async () =>
    (await liveProcesses()).every((one) => one.pid !== pid),
  );
  const full = await run(
    "set -o pipefail; head -c 900000000 /dev/zero | tail -c 900000000 | wc -c",
  );
  assert.equal(full.stoppedFor, "memory", full.output);
  const many = await run("for i in $(seq 700); do sleep 20 & done; echo over");
  assert.ok(
    many.stoppedFor === "processes" || /Resource temporarily/.test(many.output),
    many.output,
  );
  assert.equal(existsSync("/sys/fs/cgroup/pids/symphony-server"), false);
});
