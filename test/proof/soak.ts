// `npm run soak [-- --minutes N]`: a real server that works on issues without a pause, is stopped or killed every 30 s, and pushes
// what its agents make. Ends with 1 when work is lost or done twice, events are lost or repeated, or processes are left.
import assert from "node:assert/strict";
import { mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { liveProcesses, runIdOf } from "../../src/core/process/table.ts";
import { gitIn, origin } from "../support/makers/git-repository.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

const restartMs = 30_000;
const pauseMs = 1_000;
/** Also an agent that is killed in its turn is started again, after its backoff. */
const settleMs = 180_000;
const page = 500;
/** Below this, agents always have work, and a slow machine can still end all of it. */
const enoughQueued = 4;

const { values: given } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const minutes = Number(given.minutes);
assert.ok(minutes > 0, "--minutes is a number above 0");

const dir = await mkdtemp(join(tmpdir(), "symphony-soak-"));
const bare = origin(dir);
const place = {
  workflowPath: join(dir, "WORKFLOW.md"),
  dataDir: join(dir, ".symphony"),
  env: { HOME: dir },
};
await writeFile(
  place.workflowPath,
  `---
tracker: { kind: local }
polling: { interval_ms: 1000 }
workspace: { root: workspaces }
git: { repositories: [{ name: app, url: ${bare} }] }
agent: { kind: command, level: safe, max_concurrent_agents: 4, max_retry_backoff_ms: 2000 }
command: { protocol: text, line: 'sleep 0.3; date > "made-$SYMPHONY_ISSUE_IDENTIFIER"; sleep 0.3; echo done' }
host: { min_memory: 0, max_load: 0 }
---
Work on {{ issue.title }}
`,
);

/** Of every process that the server starts for its agents. */
const cookie = runIdOf(await realpath(dir).then((path) => join(path, ".symphony")), "");
const faults: string[] = [];
const memory: number[] = [];
const seen = { last: 0, count: 0 };
let made = 0;
let again = 0;
let stops = 0;
let kills = 0;

/** Every event since the last one that was read, each once and without a gap. */
async function readEvents(served: Served): Promise<void> {
  for (;;) {
    const answer = await fetch(`${served.url}/api/v1/events?since=${seen.last}`, {
      headers: { accept: "text/event-stream" },
      signal: AbortSignal.timeout(10_000),
    });
    const before = seen.last;
    await takeEvents(answer, before);
    if (seen.last - before < page) return;
  }
}

/** What the stream sends at once; later events are read later. */
async function takeEvents(answer: Response, before: number): Promise<void> {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let isQuiet = false;
  while (reader !== undefined && !isQuiet && seen.last - before < page) {
    const part = await Promise.race([reader.read(), delay(300, null)]);
    isQuiet = part === null || part.done;
    rest += part?.value ?? "";
    const blocks = rest.split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const seq = Number(/^id: (\d+)$/m.exec(block)?.[1] ?? Number.NaN);
      if (Number.isNaN(seq)) continue;
      if (seq !== seen.last + 1) faults.push(`event ${seq} came after event ${seen.last}`);
      seen.last = seq;
      seen.count += 1;
    }
  }
  await reader?.cancel();
}

async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024;
}

/** Makes issues until it is time for the next restart. */
async function work(served: Served, until: number): Promise<void> {
  while (Date.now() < until) {
    const { counts } = await served.client.system.state({ query: {} });
    if (counts.queued < enoughQueued) {
      await served.client.issues.create({ body: { title: `Issue ${made + 1}` } });
      made += 1;
    }
    await delay(pauseMs);
  }
  memory.push(await residentMb(served.child.pid ?? 0));
  await readEvents(served);
}

async function notInReview({ client }: Served): Promise<readonly string[]> {
  const others: string[] = [];
  for (let offset = 0; offset < made; offset += page) {
    const { issues } = await client.issues.list({ query: { limit: page, offset } });
    for (const { identifier, status } of issues) {
      if (status !== "review") others.push(`${identifier} is ${status}, not in review`);
    }
  }
  return others;
}

/** Each issue has its branch with a commit of each attempt at most, and waits for its person. */
async function compare(): Promise<void> {
  await using served = await Served.start(place);
  const until = Date.now() + settleMs;
  const ask = async () => {
    const others = await notInReview(served);
    return others.length === 0 || Date.now() > until ? others : null;
  };
  faults.push(...(await eventually("issues are in review", ask, 2 * settleMs)));
  await readEvents(served);
  const git = gitIn(bare);
  for (let at = 1; at <= made; at++) {
    const branch = `symphony/LOCAL-${at}-issue-${at}`;
    const commits = Number(git("rev-list", "--count", `main..${branch}`));
    const params = { id: `LOCAL-${at}` };
    const { total } = await served.client.issues.attempts({ params, query: {} });
    // A kill right after a commit makes the next attempt work, and commit, again.
    if (commits < 1 || commits > total)
      faults.push(`${branch}: ${commits} commits, ${total} attempts`);
    again += commits - 1;
  }
  const branches = git("for-each-ref", "--format=x", "refs/heads/symphony").split("\n").length;
  if (branches !== made) faults.push(`${branches} branches for ${made} issues`);
}

try {
  const end = Date.now() + minutes * 60_000;
  for (let round = 0; Date.now() < end; round++) {
    const served = await Served.start(place);
    await work(served, Math.min(end, Date.now() + restartMs));
    if (round % 2 === 0) {
      await served.crash();
      kills += 1;
    } else {
      const code = await served.stop();
      if (code !== 0) faults.push(`a stop ended with ${code}:\n${served.log.slice(-2_000)}`);
      stops += 1;
    }
    console.log(
      `${made} issues, ${seen.count} events, ${kills} kills, ${stops} stops, ${Math.round(memory.at(-1) ?? 0)} MB`,
    );
  }
  await compare();
  for (const { pid, runId } of await liveProcesses()) {
    if (runId?.startsWith(cookie) === true) faults.push(`process ${pid} of ${runId} is left`);
  }
} finally {
  await rm(dir, { recursive: true, force: true });
}
console.log(
  [
    `${minutes} minutes: ${made} issues, each on one branch, ${again} commits again after a kill; ${seen.count} events, each once`,
    `${kills} kills and ${stops} stops; resident memory before each ${memory.map(Math.round).join(", ")} MB`,
    faults.length === 0 ? "no fault" : `FAULTS:\n${faults.slice(0, 50).join("\n")}`,
  ].join("\n"),
);
process.exitCode = faults.length === 0 ? 0 : 1;
