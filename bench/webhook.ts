import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startFakeLinear } from "../test/support/fakes/fake-linear.ts";
import { delivery, issueEvent, webhookSecretValue } from "../test/support/makers/webhook.ts";
import { send } from "../test/support/worlds/server.ts";
import { eventually, Served } from "../test/support/worlds/symphony.ts";

// A real server and signed deliveries: how many are stored and answered, and how soon the agent's process starts:
// `node bench/webhook.ts`.

/** Together below the limit of a minute. */
const alone = 250;
const together = 250;
const abreast = 16;
const starts = 20;

/** With what the shell and this process need to tell the time to the microsecond. */
const nowMs = () => performance.timeOrigin + performance.now();
const startedFile = "started";
const agent = `printf %s "$EPOCHREALTIME" > ${startedFile}.part && mv ${startedFile}.part ${startedFile}; exec sleep 600`;

const root = await mkdtemp(join(tmpdir(), "symphony-bench-"));
const linear = await startFakeLinear();
const provider = {
  endpoint: linear.url,
  project_slug: linear.project,
  webhook_secret: "$HOOK_SECRET",
};
const settings = {
  tracker: { kind: "linear", provider },
  polling: { interval_ms: 600_000 },
  workspace: { root: "./workspaces" },
  agent: { max_concurrent_agents: 50 },
  codex: { command: agent, read_timeout_ms: 600_000 },
};

function say(name: string, times: readonly number[], more = ""): void {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
  const [median, p95, worst] = [0.5, 0.95, 1].map((share) => at(share).toFixed(1).padStart(7));
  process.stdout.write(`${name.padEnd(40)} median ${median} p95 ${p95} max ${worst} ms${more}\n`);
}

async function posted(port: number, event: unknown): Promise<number> {
  const ask = delivery(event);
  const started = nowMs();
  const { status, text } = await send(port, "/webhooks/linear", ask);
  if (status !== 200) throw new Error(text);
  return nowMs() - started;
}

let serial = 0;
const other = () => issueEvent(`other-${serial++}`, Date.now(), { type: "Project" });

async function stored(port: number, count: number, lanes: number): Promise<void> {
  const times: number[] = [];
  const started = nowMs();
  const lane = async () => {
    for (let left = count / lanes; left >= 1; left--) times.push(await posted(port, other()));
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const rate = times.length / ((nowMs() - started) / 1_000);
  say(`stored and answered, ${lanes} at a time`, times, `, ${rate.toFixed(0)} a second`);
}

async function startOf(workspace: string): Promise<number> {
  return eventually("the agent runs", async () => {
    const text = await readFile(join(workspace, startedFile), "utf8").catch(() => "");
    return text === "" ? null : Number(text) * 1_000;
  });
}

async function dispatched(port: number): Promise<void> {
  const answers: number[] = [];
  const processes: number[] = [];
  for (let number = 1; number <= starts; number++) {
    const identifier = `ENG-${number}`;
    const { id } = linear.add({ identifier });
    const began = nowMs();
    answers.push(await posted(port, issueEvent(id, Date.now(), { data: { id, identifier } })));
    processes.push((await startOf(join(root, "workspaces", identifier))) - began);
    await delay(20);
  }
  say("delivery to answer, of a new issue", answers);
  say("delivery to the agent's process", processes);
}

try {
  await mkdir(join(root, "workspaces"));
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(workflowPath, `---\n${JSON.stringify(settings)}\n---\nDo it\n`);
  const env = { LINEAR_API_KEY: linear.apiKey, HOOK_SECRET: webhookSecretValue, HOME: root };
  await using server = await Served.start({ workflowPath, dataDir: join(root, "data"), env });
  await eventually("the first poll is over", async () => {
    const { polling } = await server.client.system.state();
    return polling.last_poll_at !== null;
  });
  const port = Number(new URL(server.url).port);
  await stored(port, alone, 1);
  await stored(port, together, abreast);
  await dispatched(port);
} finally {
  await linear.close();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
}
