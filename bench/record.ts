import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentEvent } from "../src/core/agent/agent.ts";
import { systemClock } from "../src/core/clock.ts";
import { stateAt } from "../src/core/journal/reading.ts";
import type { Decide } from "../src/core/journal/record.ts";
import { Recorder } from "../src/core/journal/recorder.ts";
import { noTokens } from "../src/core/model/attempt.ts";
import type { Context } from "../src/core/orchestrator/decision.ts";
import type { Input } from "../src/core/orchestrator/messages.ts";
import { emptyState, type State } from "../src/core/orchestrator/state.ts";
import { step } from "../src/core/orchestrator/step.ts";
import { createRedactor } from "../src/core/text/redact.ts";
import { config, issue } from "../test/support/makers/issue.ts";

// What the record of decisions costs with 200 agents and 10,000 issues, and how fast an earlier state is read:
// `node bench/record.ts`.

const agents = 200;
const seconds = 20;
/** Events of one agent in a second, as codex sends them while it works: messages, commands, token counts. */
const eventsEach = 2;
const settings = config({ agent: { maxConcurrentAgents: agents, stallTimeoutMs: 0 } });
const issues = Array.from({ length: 10_000 }, (_, n) =>
  issue(`ENG-${n}`, { title: `Make part ${n} of it work`, description: `Text ${n} `.repeat(20) }),
);

class World {
  state: State = emptyState();
  count = 0;
  readonly #decide: Decide;

  constructor(decide: Decide) {
    this.#decide = decide;
  }

  apply(input: Input): void {
    this.count += 1;
    const { state, effects } = this.#decide(this.state, input, context());
    this.state = state;
    for (const effect of effects) {
      if (!("request" in effect)) continue;
      const { request } = effect;
      const read = (ids: readonly string[]) => {
        const wanted = new Set(ids);
        return issues.filter(({ id }) => wanted.has(id));
      };
      if (effect.type === "preflight") {
        this.apply({ type: "preflight.ended", request, problem: null });
      } else if (effect.type === "fetchCandidates") {
        this.apply({ type: "candidates.fetched", request, issues });
      } else if (effect.type === "verifyIssues" || effect.type === "refreshRunning") {
        const { ids } = effect;
        const type = effect.type === "verifyIssues" ? "issues.verified" : "running.refreshed";
        this.apply({ type, request, ids, issues: read(ids) });
      }
    }
  }

  /** One second of all agents, spread over it; resolves with the CPU time of the process. */
  async second(n: number): Promise<number> {
    const before = process.cpuUsage();
    const running = [...this.state.issues.of("running").values()];
    const until = performance.now() + 1_000;
    for (let part = 0; part < 20; part++) {
      for (let k = part; k < running.length * eventsEach; k += 20) {
        const entry = running[k % running.length];
        if (!entry) continue;
        const { attemptId } = entry;
        const event = eventOf(n * eventsEach + Math.floor(k / running.length), k);
        this.apply({ type: "attempt.reported", issueId: entry.issue.id, attemptId, event });
      }
      if (part === 0 && n % 10 === 0) this.apply({ type: "poll.due" });
      const rest = until - performance.now() - (19 - part) * 50;
      await new Promise((resolve) => setTimeout(resolve, Math.max(rest, 0)));
    }
    const used = process.cpuUsage(before);
    return (used.user + used.system) / 1_000;
  }
}

function eventOf(n: number, k: number): AgentEvent {
  const total = { ...noTokens, input: n * 1_000 + k, output: n * 100, total: n * 1_100 + k };
  if (n % 3 === 0) return { type: "tokens", total };
  const text = `I changed src/part-${k}.ts and ran its tests: ${n} of ${n + k} pass now. `.repeat(
    4,
  );
  return { type: "message", text };
}

function context(): Context {
  return {
    config: settings,
    problem: null,
    now: systemClock.now(),
    wall: systemClock.wall(),
    prior: () => ({ count: 0, resume: null, thread: null, tokens: 0, idle: null }),
  };
}

async function measured(decide: Decide) {
  const world = new World(decide);
  world.apply({ type: "poll.due" });
  const { count } = world;
  const running = world.state.issues.of("running").size;
  if (running !== agents) throw new Error(`${running} agents run`);
  // The first list is written once, whatever runs later.
  await world.second(0);
  let cpuMs = 0;
  for (let n = 1; n <= seconds; n++) cpuMs += await world.second(n);
  return { world, inputs: world.count - count, share: cpuMs / (seconds * 1_000) };
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const dir = mkdtempSync(join(tmpdir(), "bench-record-"));
const redactor = createRedactor();
for (let n = 0; n < 10; n++) redactor.add(`a-secret-of-the-bench-${n}-${n * 7919}`);
const recorder = new Recorder({
  file: join(dir, "record.db"),
  version: "0.0.0",
  clock: systemClock,
  redact: (text) => redactor.redact(text),
  secretsKnown: () => redactor.known(),
  lastEvent: () => 0,
  shown: () => ({ config: {}, origins: {} }),
  days: () => 30,
});
const without = await measured(step);
const withRecord = await measured((state, input, at) => recorder.decide(state, input, at));
await recorder.settled();
const bytes = await recorder.read(async (file) => {
  file.compact();
  return statSync(join(dir, "record.db")).size;
});
const readAt = process.cpuUsage();
const then = await recorder.read((file) => stateAt(file, { at: systemClock.wall() - 2_000 }));
const used = process.cpuUsage(readAt);
const readMs = (used.user + used.system) / 1_000;
await recorder.close();
const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
print(
  `${agents} agents, ${issues.length} issues, ${Math.round(withRecord.inputs / seconds)} decisions a second`,
);
print(`CPU without the record ${percent(without.share)}, with it ${percent(withRecord.share)}`);
print(`the record: ${percent(withRecord.share - without.share)} of one CPU`);
print(
  `${(bytes / withRecord.world.count).toFixed(0)} bytes for each decision, the first list included`,
);
print(`the state of 2 s ago, after ${then.input} decisions: ${readMs.toFixed(0)} ms of CPU`);
if (recorder.trouble) throw new Error(recorder.trouble.reason);
rmSync(dir, { recursive: true });
