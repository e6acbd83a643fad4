// `npm run crash [-- --kills N] [--seed N] [--seconds N] [--full-disk]`: kills a real server again and again, in the middle of
// writes of every kind, and looks after each restart for what it had acknowledged. Ends with 1 when something is lost or
// damaged. With `--full-disk` the disk of its data is full, or nearly so, again and again (Linux with user namespaces).
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { SmallDisk } from "../support/makers/small-disk.ts";
import { randomFrom } from "../support/worlds/simulation.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import { baseIssues, isRefusal, writesOf } from "./writes.ts";

const workflow = `---
tracker: { kind: local, required_labels: [ready] }
polling: { interval_ms: 1000 }
workspace: { root: workspaces }
codex: { command: sleep 600 }
# More than any machine has: nothing is started, so all values are those that were written.
host: { min_memory: 1000000000000000, max_load: 0 }
storage: { min_free: 0 }
---
Work on {{ issue.title }}
`;
/** A kill comes at any time of this many ms after the first write. */
const longestMs = 1_000;
const writers = 4;
/** More than the journal of a database grows to before it is taken over. */
const diskSize = "64m";
/** Some blocks: enough for a few writes, or for a part of one. */
const mostRoom = 20 * 4_096;

const { values: given } = parseArgs({
  options: {
    kills: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    seconds: { type: "string", default: "3600" },
    "full-disk": { type: "boolean", default: false },
  },
});
const [kills, seed, seconds] = [given.kills, given.seed, given.seconds].map((text) => {
  const number = Number(text);
  assert.ok(Number.isInteger(number) && number > 0, `${text} is not a count`);
  return number;
}) as [number, number, number];

const random = randomFrom(seed);
const dir = await mkdtemp(join(tmpdir(), "symphony-crash-"));
const dataDir = join(dir, ".symphony");
await using disk = given["full-disk"] ? await SmallDisk.mount(dataDir, diskSize) : null;
const place = {
  ...{ workflowPath: join(dir, "WORKFLOW.md"), dataDir, env: { HOME: dir } },
  ...(disk && {
    dataDirSeen: disk.path(),
    through: (command: readonly string[]) => disk.through(command),
  }),
};
const dataSeen = disk?.path() ?? dataDir;
await writeFile(place.workflowPath, workflow);

const lost: string[] = [];
const readyMs: number[] = [];
let acknowledged = 0;
let unanswered = 0;
let refused = 0;
let done = 0;
const until = Date.now() + seconds * 1_000;
const writes = writesOf(random);

/** Writes until the server is gone; what was not answered may be there or not. */
async function writeOn(served: Served, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    try {
      await writes.next().send(served);
      acknowledged += 1;
    } catch (error) {
      if (isRefusal(error)) refused += 1;
      else if (isOver()) unanswered += 1;
      else throw error;
    }
  }
}

/** Full, then room again, for which the server must accept every write; at the end it may stay full. */
async function fillUp(full: SmallDisk, { client }: Served): Promise<void> {
  await delay(random() * longestMs);
  full.fill(random() < 0.5 ? 0 : Math.floor(random() * mostRoom));
  await delay(random() * longestMs);
  if (random() < 0.3) return;
  full.free();
  await eventually("the server saves again", async () => {
    const { storage } = await client.system.state({ query: {} });
    return storage === null;
  });
  const body = { title: "there is room again" };
  await client.issues.create({ body });
}

await using first = await Served.start(place);
for (let at = 0; at < baseIssues; at++)
  await first.client.issues.create({ body: { title: "base", labels: ["ready"] } });
await first.stop();

try {
  while (done < kills && Date.now() < until) {
    const since = performance.now();
    const served = await Served.start(place);
    readyMs.push(performance.now() - since);
    lost.push(...(await writes.missing(served, dataSeen)));
    let isOver = false;
    const writing = Array.from({ length: writers }, () => writeOn(served, () => isOver));
    if (disk !== null) await fillUp(disk, served);
    await delay(random() * longestMs);
    isOver = true;
    await served.crash();
    await Promise.all(writing);
    disk?.free();
    done += 1;
    if (done % 20 === 0) console.log(`${done} kills, ${acknowledged} acknowledged writes`);
    if (lost.length > 0) break;
  }
  await using served = await Served.start(place);
  lost.push(...(await writes.missing(served, dataSeen)));
  await served.stop();
  const audit = await symphony({ ...place, cwd: dir }, "audit", "verify");
  if (audit.code !== 0) lost.push(`the audit log: ${audit.stderr}${audit.stdout}`);
} finally {
  await rm(dir, { recursive: true, force: true });
}

readyMs.sort((a, b) => a - b);
const at = (share: number) => Math.round(readyMs[Math.floor((readyMs.length - 1) * share)] ?? 0);
console.log(
  [
    `seed ${seed}: ${done} kills, ${acknowledged} acknowledged writes of ${writes.kinds} kinds, ${refused} refused, ${unanswered} without an answer`,
    `ready after ${at(0.5)} ms (median), ${at(0.95)} ms (95 of 100)`,
    lost.length === 0 ? "nothing was lost" : `LOST:\n${lost.join("\n")}`,
  ].join("\n"),
);
process.exitCode = lost.length === 0 && acknowledged > done ? 0 : 1;
