import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { toConfig } from "../../src/core/config/resolve.ts";
import { parseWritten } from "../../src/core/config/schema.ts";
import { HostWatch, shortagesOf } from "../../src/core/host.ts";
import { sections } from "../../src/core/kinds.ts";
import type { HostTrouble } from "../../src/core/model/gates.ts";
import { type HostSample, sampleHost } from "../../src/core/process/host.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { temporaryDir } from "../support/makers/storage.ts";

const gib = 1024 ** 3;
const mib = 1024 ** 2;

function limitsOf(values: object = {}) {
  const written = parseWritten({ tracker: { kind: "local" }, ...values }, sections);
  return toConfig(written, "/nowhere", sections).host;
}

function sample(parts: Partial<HostSample> = {}): HostSample {
  return {
    memory: { availableBytes: 8 * gib },
    load: 1,
    disks: [{ path: "/data", freeBytes: 100 * gib, totalBytes: 500 * gib }],
    refusal: null,
    ...parts,
  };
}

const disk = (freeBytes: number, totalBytes: number): Partial<HostSample> => ({
  disks: [{ path: "/data", freeBytes, totalBytes }],
});

const names = (found: HostSample, limits = limitsOf()) =>
  shortagesOf(found, limits, []).map(({ name }) => name);

test("by default the smaller of 1 GiB and 5 % must be free, 256 MiB available, and the load below 8", () => {
  assert.deepEqual(names(sample()), []);
  assert.deepEqual(names(sample(disk(1.1 * gib, 1_000 * gib))), []);
  assert.deepEqual(names(sample(disk(0.9 * gib, 1_000 * gib))), ["disk /data"]);
  assert.deepEqual(names(sample(disk(0.6 * gib, 10 * gib))), []);
  assert.deepEqual(names(sample(disk(0.4 * gib, 10 * gib))), ["disk /data"]);
  assert.deepEqual(names(sample({ memory: { availableBytes: 200 * mib } })), ["memory"]);
  assert.deepEqual(names(sample({ load: 8.1 })), ["load"]);
  assert.deepEqual(names(sample({ memory: null, load: null, disks: [] })), [], "unknown is open");
});

test("limits are set by bytes or by a share, and 0 turns one off", () => {
  const limits = limitsOf({
    storage: { min_free: "10%" },
    host: { min_memory: "1GiB", max_load: 2 },
  });
  const found = { ...sample(disk(40 * gib, 500 * gib)), memory: { availableBytes: gib - 1 } };
  assert.deepEqual(names({ ...found, load: 2.5 }, limits), ["disk /data", "memory", "load"]);
  const off = limitsOf({ storage: { min_free: 0 }, host: { min_memory: 0, max_load: 0 } });
  const nothing = { ...sample(disk(0, gib)), memory: { availableBytes: 0 }, load: 99 };
  assert.deepEqual(names(nothing, off), []);
  assert.throws(() => limitsOf({ storage: { min_free: "much" } }), /storage\.min_free must be/);
});

test("what is short stays so until it is clearly better, and only a changed answer is reported", async () => {
  const clock = new FakeClock();
  const told: (HostTrouble | null)[] = [];
  let found = sample();
  const watch = new HostWatch({
    clock,
    limits: () => limitsOf(),
    places: () => ({ paths: ["/data"] }),
    changed: (trouble) => told.push(trouble),
    sample: async () => found,
  });
  await watch.start();
  const look = async (availableBytes: number) => {
    found = sample({ memory: { availableBytes } });
    await watch.look();
    return told.length;
  };
  assert.equal(await look(300 * mib), 0);
  assert.equal(await look(250 * mib), 1);
  assert.match(
    told[0]?.detail ?? "",
    /^the host is short: 250 MiB of memory available, at least 256 MiB \(host\.min_memory\)$/,
  );
  assert.equal(await look(260 * mib), 1, "it does not flap");
  assert.equal(await look(240 * mib), 1);
  assert.equal(await look(330 * mib), 2);
  assert.equal(told[1], null);
  watch.close();
});

/** A /proc and a /sys with one control group. */
function machine(t: import("node:test").TestContext, files: Readonly<Record<string, string>>) {
  const root = temporaryDir(t);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, name, ".."), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return sampleHost({ paths: [], root });
}

const meminfo = "MemTotal: 24684092 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n";

test("memory is what the machine and each control group have left", async (t) => {
  const group2 = "sys/fs/cgroup/a/b";
  const two = await machine(t, {
    "proc/meminfo": meminfo,
    "proc/self/cgroup": "0::/a/b\n",
    [`${group2}/memory.max`]: "max\n",
    [`${group2}/memory.current`]: "1000\n",
    "sys/fs/cgroup/a/memory.max": `${gib}\n`,
    "sys/fs/cgroup/a/memory.current": `${gib - 100}\n`,
    "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 400\n",
  });
  assert.equal(two.memory?.availableBytes, 500);
  const one = await machine(t, {
    "proc/meminfo": meminfo,
    "proc/self/cgroup": "4:cpu,memory:/gone/in/a/container\n1:name=systemd:/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": `${2 * gib}\n`,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": `${gib}\n`,
  });
  assert.equal(one.memory?.availableBytes, gib);
  const free = await machine(t, { "proc/meminfo": meminfo });
  assert.equal(free.memory?.availableBytes, 4 * gib);
  assert.equal((await machine(t, {})).memory, null);
});

test("a directory that does not exist yet is on the disk of its nearest parent", async (t) => {
  const dir = temporaryDir(t);
  const { disks, load } = await sampleHost({ paths: [dir, join(dir, "not/yet")] });
  assert.deepEqual([disks.length, disks[0]?.totalBytes], [2, disks[1]?.totalBytes]);
  assert.ok((disks[0]?.freeBytes ?? 0) > 0 && load !== null);
});

test("a directory for workspaces that takes no files is said, also before it exists", async (t) => {
  const dir = temporaryDir(t);
  const refusalOf = async (written: string) => (await sampleHost({ paths: [], written })).refusal;
  assert.equal(await refusalOf(join(dir, "new", "root")), null);
  writeFileSync(join(dir, "file"), "", { mode: 0o777 });
  const refusal = await refusalOf(join(dir, "file", "root"));
  assert.equal(refusal, `${join(dir, "file", "root")} cannot be written: not a directory`);
  const [shortage] = shortagesOf(sample({ refusal }), limitsOf(), []);
  assert.equal(shortage?.text, `no place for workspaces: ${refusal} (workspace.root)`);
});
