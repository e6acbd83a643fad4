// `npm run crash [-- --kills N] [--seed N] [--seconds N]`: kills a real server again and again, in the middle of writes of every
// kind, and looks after each restart for what it had acknowledged. Ends with 1 when something is lost or damaged.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { randomFrom } from "../support/worlds/simulation.ts";
import { Served, symphony } from "../support/worlds/symphony.ts";
import { baseIssues, isRefusal, writesOf } from "./writes.ts";

const workflow = `---
tracker: { kind: local, required_labels: [ready] }
polling: { interval_ms: 1000 }
workspace: { root: workspaces }
codex: { command: sleep 600 }
# More than any machine has: nothing is started, so all values are those that were written.
host: { min_memory: 1000000000000000, max_load: 0 }
---
Work on {{ issue.title }}
`;
/** A kill comes at any time of this many ms after the first write. */
const longestMs = 1_000;
const writers = 4;

const { values: given } = parseArgs({
  options: {
    kills: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    seconds: { type: "string", default: "3600" },
  },
});
const [kills, seed, seconds] = [given.kills, given.seed, given.seconds].map((text) => {
  const number = Number(text);
  assert.ok(Number.isInteger(number) && number > 0, `${text} is not a count`);
  return number;
}) as [number, number, number];

const random = randomFrom(seed);
const dir = await mkdtemp(join(tmpdir(), "symphony-crash-"));
const place = {
  workflowPath: join(dir, "WORKFLOW.md"),
  dataDir: join(dir, ".symphony"),
  env: { HOME: dir },
};
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

await using first = await Served.start(place);
for (let at = 0; at < baseIssues; at++)
  await first.client.issues.create({ body: { title: "base", labels: ["ready"] } });
await first.stop();

try {
  while (done < kills && Date.now() < until) {
    const since = performance.now();
    const served = await Served.start(place);
    readyMs.push(performance.now() - since);
    lost.push(...(await writes.missing(served, place.dataDir)));
    let isOver = false;
    const writing = Array.from({ length: writers }, () => writeOn(served, () => isOver));
    await delay(random() * longestMs);
    isOver = true;
    await served.crash();
    await Promise.all(writing);
    done += 1;
    if (done % 20 === 0) console.log(`${done} kills, ${acknowledged} acknowledged writes`);
    if (lost.length > 0) break;
  }
  await using served = await Served.start(place);
  lost.push(...(await writes.missing(served, place.dataDir)));
  await served.stop();
  const audit = await symphony({ cwd: dir, dataDir: place.dataDir }, "audit", "verify");
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
