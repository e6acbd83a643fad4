import { systemClock } from "../src/core/clock.ts";
import { noTokens } from "../src/core/model/attempt.ts";
import type { Exit } from "../src/core/orchestrator/messages.ts";
import { Orchestrator, type Ports } from "../src/core/orchestrator/orchestrator.ts";
import { restoredState } from "../src/core/orchestrator/records.ts";
import { step } from "../src/core/orchestrator/step.ts";
import { createLinearTracker } from "../src/core/tracker/linear/tracker.ts";
import { partsOf } from "../src/core/tracker/reads.ts";
import { startFakeLinear } from "../test/support/fakes/fake-linear.ts";
import { config } from "../test/support/makers/issue.ts";

// How long a freed slot stays empty, and what that costs the tracker: the real shell over the real adapter, with a double of
// Linear in this process. Part of `bench/orchestrator.ts`.

export interface Refill {
  /** From the end of one attempt to the start of the next. */
  readonly ms: number;
  readonly requests: number;
}

interface Start {
  readonly at: number;
  readonly issueId: string;
  end(exit: Exit): void;
}

/** What frees the slot, and how its attempt ends. */
export const causes = {
  failure: { kind: "failed", code: "turn_failed", message: "boom", git: null },
  question: {
    ...{ kind: "needs", code: "needs_answer", git: null },
    needs: { kind: "question", prompt: "which one?", options: [] },
  },
  brake: { kind: "stopped", git: null },
  abort: { kind: "stopped", git: null },
} as const satisfies Record<string, Exit>;

/** `rounds` times: the only slot becomes free by `cause`, with a long queue and an hour to the next poll. */
export async function measureRefills(
  cause: keyof typeof causes,
  rounds: number,
): Promise<readonly Refill[]> {
  const names = Array.from({ length: 200 }, (_, n) => ({ identifier: `ENG-${n + 1}` }));
  await using linear = await startFakeLinear({ issues: names });
  const settings = config({
    polling: { intervalMs: 3_600_000 },
    agent: { maxConcurrentAgents: 1 },
    ...(cause === "brake" && { brakes: { tokensPerIssue: 1_000 } }),
    tracker: {
      kind: "linear",
      provider: { endpoint: linear.url, project_slug: linear.project },
    },
  });
  const tracker = createLinearTracker({
    config: settings.tracker,
    lookup: (name) => (name === "LINEAR_API_KEY" ? linear.apiKey : undefined),
    clock: systemClock,
  });
  let started = Promise.withResolvers<Start>();
  const stops = new Map<string, () => void>();
  const orchestrator: Orchestrator = new Orchestrator(
    {
      ...quiet,
      config: () => ({ config: settings, problem: null }),
      fetchCandidates: () => partsOf(tracker).byStates(settings.tracker.activeStates),
      fetchIssues: (ids) => partsOf(tracker).byIds(ids),
      runAttempt({ issue: { id: issueId }, attemptId }, reports) {
        const exit = Promise.withResolvers<Exit>();
        reports.reported({ type: "turn.started", turnId: "turn" });
        stops.set(attemptId, () => exit.resolve(causes[cause]));
        const end = (how: Exit) => {
          if (cause === "abort")
            orchestrator.apply({ type: "operator.aborted", issueId, reason: null });
          else if (cause === "brake") reports.reported({ type: "tokens", total: overLimit });
          else exit.resolve(how);
        };
        started.resolve({ at: performance.now(), issueId, end });
        return exit.promise;
      },
      stopAttempt: (attemptId) => stops.get(attemptId)?.(),
    },
    restoredState(
      { records: new Map(), totals: { tokens: noTokens, seconds: 0 }, lastAttemptId: null },
      { now: systemClock.now(), wall: systemClock.wall() },
    ),
  );
  orchestrator.start();
  const refills: Refill[] = [];
  let current = await started.promise;
  for (let round = 0; round < rounds; round++) {
    started = Promise.withResolvers<Start>();
    const [from, asked] = [performance.now(), linear.requests.length];
    current.end(causes[cause]);
    current = await started.promise;
    refills.push({ ms: current.at - from, requests: linear.requests.length - asked });
  }
  current.end(causes[cause]);
  await orchestrator.drain();
  tracker.close();
  return refills;
}

const overLimit = { ...noTokens, input: 2_000, total: 2_000 };

const quiet: Omit<
  Ports,
  "config" | "fetchCandidates" | "fetchIssues" | "runAttempt" | "stopAttempt"
> = {
  clock: systemClock,
  decide: step,
  preflight: async () => null,
  offerWork() {},
  moveIssue() {},
  steerAttempt: async () => ({ turnId: "turn" }),
  answerAttempt() {},
  settleSteer() {},
  async removeWorkspace() {},
  async saveRecord() {},
  async saveRecordFirst() {},
  saveAttempt: () => true,
  saveUsed() {},
  prior: () => ({ count: 0, resume: null, thread: null, tokens: 0, idle: null }),
  publish() {},
  failed(what, error) {
    throw new Error(what, { cause: error });
  },
};
