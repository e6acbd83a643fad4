import { noTokens } from "../src/core/model/attempt.ts";
import type { Issue } from "../src/core/model/issue.ts";
import type { Context } from "../src/core/orchestrator/decision.ts";
import type { Effect, Input } from "../src/core/orchestrator/messages.ts";
import { restoredState } from "../src/core/orchestrator/records.ts";
import { snapshot } from "../src/core/orchestrator/snapshot.ts";
import type { State } from "../src/core/orchestrator/state.ts";
import { step } from "../src/core/orchestrator/step.ts";
import { config, issue } from "../test/support/makers/issue.ts";
import { measureRefills } from "./freed-slot.ts";
import { report, summary } from "./kit.ts";

// CPU of the scheduler's own decisions with 10,000 candidates, and the time a freed slot stays empty: `npm run bench`.

const count = 10_000;
const rounds = 15;
const settings = config();

interface Tick {
  readonly state: State;
  readonly cpuMs: number;
}

/** One whole poll; the tracker's answers cost nothing here, so only the scheduler's decisions are measured. */
function tick(from: State, list: readonly Issue[], now: number): Tick {
  const byId = new Map(list.map((entry) => [entry.id, entry]));
  const context = contextAt(now);
  let state = from;
  let cpuMs = 0;
  const inputs: Input[] = [{ type: "poll.due" }];
  for (let input = inputs.shift(); input; input = inputs.shift()) {
    const started = process.cpuUsage();
    const decision = step(state, input, context);
    const used = process.cpuUsage(started);
    cpuMs += (used.user + used.system) / 1_000;
    state = decision.state;
    for (const effect of decision.effects) {
      const answer = answerOf(effect, list, byId);
      if (answer) inputs.push(answer);
    }
  }
  return { state, cpuMs };
}

function contextAt(now: number): Context {
  return {
    config: settings,
    problem: null,
    now,
    wall: 1e12 + now,
    prior: () => ({ count: 0, resume: null, thread: null, tokens: 0, idle: null }),
  };
}

function answerOf(
  effect: Effect,
  list: readonly Issue[],
  byId: ReadonlyMap<string, Issue>,
): Input | null {
  const read = (ids: readonly string[]) => ids.flatMap((id) => byId.get(id) ?? []);
  switch (effect.type) {
    case "preflight":
      return { type: "preflight.ended", request: effect.request, problem: null };
    case "fetchCandidates":
      return { type: "candidates.fetched", request: effect.request, issues: list };
    case "verifyIssues":
    case "refreshRunning": {
      const { request, ids } = effect;
      const type = effect.type === "verifyIssues" ? "issues.verified" : "running.refreshed";
      return { type, request, ids, issues: read(ids) };
    }
    default:
      return null;
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const agentEvents = 1_000;

/** Ten running attempts, a full queue, and as many completed issues as are kept. */
function busyState(): { readonly state: State; readonly list: readonly Issue[] } {
  const [list = []] = lists;
  const completed = Array.from({ length: 1_000 }, (_, n) => ({
    issue: issue(`OLD-${n}`, { state: "Done" }),
    attemptId: null,
    outcome: "succeeded",
    endedWall: 0,
    tokens: noTokens,
  }));
  const totals = { tokens: noTokens, seconds: 0 };
  const fresh = restoredState(
    { records: new Map(), totals, lastAttemptId: null, completed },
    { now: 0, wall: 1e12 },
  );
  const started = Array.from({ length: 10 }, (_, n) => list[n]).filter((one) => one !== undefined);
  const { state } = tick(fresh, started, 0);
  return { state: tick(tick(state, list, 30_000).state, list, 60_000).state, list };
}

/** The cost of messages from live agents. */
function reportedMs(from: State): number {
  const context = contextAt(90_000);
  const live = attemptsOf(from);
  let state = from;
  const started = process.cpuUsage();
  for (let n = 0; n < agentEvents; n++) {
    const run = live[n % live.length];
    if (run === undefined) throw new Error("no attempt is live");
    const event = { type: "message", text: "a word" } as const;
    state = step(state, { type: "attempt.reported", ...run, event }, context).state;
  }
  const used = process.cpuUsage(started);
  return (used.user + used.system) / 1_000;
}

function attemptsOf(state: State): readonly { issueId: string; attemptId: string }[] {
  const rows = state.issues.of("running").values();
  return [...rows].map((row) => ({ issueId: row.issue.id, attemptId: row.attemptId }));
}

const lists = Array.from({ length: 2 }, () =>
  Array.from({ length: count }, (_, n) =>
    issue(`ENG-${n}`, { priority: n % 6, createdAt: 1e12 + ((n * 7_919) % count) }),
  ),
);
const first: number[] = [];
const changed: number[] = [];
const same: number[] = [];
const shown: number[] = [];
for (let round = 0; round < rounds; round++) {
  const [a = [], b = []] = lists;
  const totals = { tokens: noTokens, seconds: 0 };
  const fresh = restoredState(
    { records: new Map(), totals, lastAttemptId: null },
    { now: 0, wall: 1e12 },
  );
  const one = tick(fresh, a, 0);
  const two = tick(one.state, b, 30_000);
  const three = tick(two.state, b, 60_000);
  const started = process.cpuUsage();
  snapshot(three.state, settings, { now: 60_000, limit: 200 });
  const used = process.cpuUsage(started);
  first.push(one.cpuMs);
  changed.push(two.cpuMs);
  same.push(three.cpuMs);
  shown.push((used.user + used.system) / 1_000);
}
const busy = busyState();
const reported = Array.from({ length: rounds }, () => reportedMs(busy.state));
const busySame = Array.from({ length: rounds }, () => tick(busy.state, busy.list, 90_000).cpuMs);
const line = (name: string, values: readonly number[]) =>
  process.stdout.write(`${name.padEnd(46)} ${median(values).toFixed(2).padStart(8)} ms CPU\n`);
line(`first poll, ${count} new candidates`, first);
line(`poll with a new list of ${count} (nothing different)`, changed);
line("poll in which nothing changed (same list)", same);
line("snapshot of 200 rows", shown);
line("the same, 1,000 completed issues known", busySame);
line(`${agentEvents} agent events, 1,000 completed known`, reported);
for (const cause of ["failure", "question", "brake", "abort"] as const) {
  const refills = await measureRefills(cause, 30);
  const requests = refills.reduce((sum, refill) => sum + refill.requests, 0) / refills.length;
  report({
    name: `slot freed by ${/^[aeiou]/.test(cause) ? "an" : "a"} ${cause} to next start`,
    ...summary(refills.map(({ ms }) => ms)),
    unit: "ms",
    aim: { atMost: 20 },
    note: `${requests.toFixed(1)} tracker requests`,
  });
}
