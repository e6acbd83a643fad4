import type { Middleware } from "koa";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Clock } from "../core/clock.ts";
import type { Core } from "../core/core.ts";
import type { Measure } from "../core/events/meter.ts";
import { type Attempt, noTokens, type Tokens } from "../core/model/attempt.ts";
import type { SymphonyEvent } from "../core/model/event.ts";
import { Backlog } from "./backlog.ts";
import { deliveryMetrics } from "./delivery-metrics.ts";
import type { Repeated } from "./front.ts";
import { gauges } from "./gauges.ts";
import { KeptAnswers, Prepared, withoutSecrets } from "./replies.ts";
import type { StreamGauge } from "./sse.ts";

/** The content of `GET /metrics`. No label ever holds an issue's identifier or a raw path. */
export interface Metrics {
  /** Prometheus text format 0.0.4 without known secrets; the same bytes for 100 ms if nothing was counted in between. */
  text(): Promise<Prepared<string>>;
  readonly streams: StreamGauge;
  /** What waits for the subscribers of the event stream. */
  readonly backlog: Backlog;
  /** As `text`, if its bytes are still right; null: they have to be made. */
  kept(): Repeated | null;
  /** Times every request under the pattern of its route. */
  readonly timed: Middleware;
  /** Counts one request that was answered without `timed`; `startedAt` on the monotonic clock. */
  answered(labels: { route: string; method: string; status: number }, startedAt: number): void;
}

type Families = ReturnType<typeof families>;

/** A separate registry for each application, updated from core's events and measures. */
export function createMetrics(core: Core, clock: Clock): Metrics {
  const registry = new Registry();
  const ofProcess = processText(clock);
  const known = families(registry);
  const backlog = new Backlog();
  gauges(registry, core, backlog);
  for (const limit of ["client", "total"]) known.sseDropped.inc({ limit }, 0);
  // The value is unknown until a tracker has reported it: a 0 would raise an alarm.
  known.trackerRemaining.remove();
  let counted = 0;
  core.bus.subscribe({}, eventCounter(known, core, clock));
  core.bus.subscribe({}, deliveryMetrics(registry, core));
  core.bus.subscribe({}, () => (counted += 1));
  core.meter.listen((measure) => {
    counted += 1;
    count(known, measure);
  });
  const made = async () => {
    const text = `${await registry.metrics()}\n${await ofProcess()}`;
    return new Prepared<string>(
      Buffer.from(
        core.redact(text) === text ? text : withoutSecrets(text, "text/plain", core.redact),
      ),
    );
  };
  const kept = new KeptAnswers<Making>();
  const marks = () => {
    const { orchestrator, workspaces, recorder, secretsKnown } = core;
    const outside = [workspaces.measuredBytes, recorder.lost, secretsKnown(), backlog.bytes];
    const moment = Math.floor(performance.now() / measuredEveryMs);
    return [...orchestrator.marks(), ...outside, counted, moment];
  };
  const answered: Metrics["answered"] = (labels, startedAt) => {
    // A scrape does not make the text of the next one out of date.
    if (labels.route !== "/metrics") counted += 1;
    known.http.observe(labels, (clock.now() - startedAt) / 1_000);
  };
  return {
    text: () => kept.get("", marks(), () => new Making(made())).text,
    kept() {
      const reply = kept.peek("", marks())?.made;
      return reply ? { reply, tag: null } : null;
    },
    backlog,
    streams: {
      opened() {
        counted += 1;
        known.sseClients.inc();
      },
      closed(dropped) {
        counted += 1;
        known.sseClients.dec();
        if (dropped !== null) known.sseDropped.inc({ limit: dropped });
      },
    },
    timed: async (ctx, next) => {
      const startedAt = clock.now();
      try {
        await next();
      } finally {
        const route = String(ctx.state["route"] ?? "none");
        answered({ route, method: ctx.method, status: ctx.status }, startedAt);
      }
    },
    answered,
  };
}

/** A text of the metrics that is being made, and the result once it is there. */
class Making {
  readonly text: Promise<Prepared<string>>;
  made: Prepared<string> | null = null;

  constructor(text: Promise<Prepared<string>>) {
    this.text = text;
    void text.then(
      (made) => (this.made = made),
      () => {},
    );
  }
}

/** Gauges with names of counters: Prometheus rejects them, and the gauges without `_total` have the same sums. */
const misnamed = ["handles", "requests", "resources"].map((kind) => `nodejs_active_${kind}_total`);

/** The delay of the event loop is sampled every 10 ms: within this time there is no new value. */
const measuredEveryMs = 100;

/** Node's own metrics, measured at the request, at most ten times a second. */
function processText(clock: Clock): () => Promise<string> {
  const register = new Registry();
  collectDefaultMetrics({ register });
  for (const name of misnamed) register.removeSingleMetric(name);
  let measured: { readonly at: number; readonly text: Promise<string> } | null = null;
  return () => {
    const now = clock.now();
    if (measured === null || now - measured.at >= measuredEveryMs) {
      measured = { at: now, text: register.metrics() };
    }
    return measured.text;
  };
}

const requestBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];
const attemptBuckets = [1, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 14_400];
const dispatchBuckets = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const pollBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30];

function families(registry: Registry) {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `symphony_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    { buckets, labelNames = [] }: { buckets: number[]; labelNames?: readonly L[] },
  ) => new Histogram<L>({ name: `symphony_${name}`, help, labelNames, buckets, registers });
  const gauge = (name: string, help: string) =>
    new Gauge({ name: `symphony_${name}`, help, registers });
  return {
    attempts: counter("attempts_total", "Attempts that ended", ["outcome", "agent"]),
    attemptDuration: histogram("attempt_duration_seconds", "How long ended attempts took", {
      buckets: attemptBuckets,
    }),
    turns: counter("turns_total", "Turns that ended", ["outcome"]),
    tokens: counter("tokens_total", "Tokens used; input includes cached_input", [
      "direction",
      "model",
    ]),
    pollDuration: histogram("poll_duration_seconds", "How long polls took", {
      buckets: pollBuckets,
    }),
    polls: counter("polls_total", "Polls that ended", ["outcome"]),
    trackerRequests: counter("tracker_requests_total", "Requests to a remote tracker", [
      "kind",
      "outcome",
    ]),
    trackerRemaining: gauge(
      "tracker_rate_limit_remaining",
      "Requests the tracker still allows, by its last answer",
    ),
    dispatch: histogram(
      "dispatch_latency_seconds",
      "From the webhook or poll that found the issue to the start of its agent session",
      {
        buckets: dispatchBuckets,
      },
    ),
    deliveries: counter("webhook_deliveries_total", "Webhook deliveries, by outcome", ["outcome"]),
    notices: counter("notices_total", "Notices by receiver and outcome", ["to", "outcome"]),
    brakes: counter("brakes_total", "Brakes that stopped work", ["brake"]),
    events: counter("events_total", "Events of the stream", ["type"]),
    sseClients: gauge("sse_clients", "Open event streams"),
    sseDropped: counter(
      "sse_dropped_total",
      "Event streams ended because the client did not read, by the limit it passed: its own or that of all",
      ["limit"],
    ),
    http: histogram("http_request_duration_seconds", "Time to answer, by route pattern", {
      buckets: requestBuckets,
      labelNames: ["route", "method", "status"],
    }),
  };
}

function count(known: Families, measure: Measure): void {
  if (measure.type === "poll") {
    known.polls.inc({ outcome: measure.outcome });
    known.pollDuration.observe(measure.durationMs / 1_000);
    return;
  }
  if (measure.type === "webhook.delivery") {
    known.deliveries.inc({ outcome: measure.outcome });
    return;
  }
  known.trackerRequests.inc({ kind: measure.kind, outcome: measure.outcome });
  if (measure.remaining !== null) known.trackerRemaining.set(measure.remaining);
}

/** State of a live attempt, kept until its end. */
interface Live {
  readonly seenAt: number;
  started: boolean;
  tokens: Tokens;
}

const brakeEvents: ReadonlySet<string> = new Set(["issue.held", "budget.reached"]);

function eventCounter(known: Families, { history }: Core, clock: Clock) {
  const live = new Map<string, Live>();
  const announced = new CountedOnce();
  const use = (attempt: Attempt, entry: Live) => {
    countTokens(known, attempt, entry.tokens);
    entry.tokens = attempt.tokens;
  };
  return ({ type, attemptId, issueId, data }: SymphonyEvent): void => {
    known.events.inc({ type });
    if (type === "webhook.received" && issueId !== null) announced.note(issueId, clock.now());
    if (brakeEvents.has(type) && typeof data["brake"] === "string") {
      known.brakes.inc({ brake: data["brake"] });
    }
    if (type === "notice.sent" || type === "notice.failed") {
      known.notices.inc({ to: String(data["to"]), outcome: String(data["outcome"]) });
    }
    if (type === "turn.completed") known.turns.inc({ outcome: "completed" });
    if (type === "turn.failed") known.turns.inc({ outcome: "failed" });
    if (attemptId === null) return;
    if (type === "issue.dispatched") {
      const seenAt = announced.take(issueId, clock.now());
      live.set(attemptId, { seenAt, started: false, tokens: noTokens });
    }
    const entry = live.get(attemptId);
    if (type === "session.started" && entry?.started === false) {
      entry.started = true;
      known.dispatch.observe((clock.now() - entry.seenAt) / 1_000);
    }
    if (type !== "agent.tokens" && type !== "attempt.ended") return;
    const attempt = history.attempt(attemptId);
    if (attempt && entry) use(attempt, entry);
    if (type === "agent.tokens") return;
    live.delete(attemptId);
    countEnd(known, attempt, data);
  };
}

/** The attempt's row holds running totals, so the amount already counted is subtracted. */
function countTokens(known: Families, { model, tokens }: Attempt, before: Tokens): void {
  const directions = {
    input: tokens.input - before.input,
    cached_input: tokens.cachedInput - before.cachedInput,
    output: tokens.output - before.output,
    reasoning_output: tokens.reasoningOutput - before.reasoningOutput,
  };
  for (const [direction, added] of Object.entries(directions)) {
    if (added > 0) known.tokens.inc({ direction, model: model ?? "default" }, added);
  }
}

function countEnd(known: Families, attempt: Attempt | null, data: SymphonyEvent["data"]): void {
  const outcome = attempt?.status ?? String(data["outcome"] ?? "unknown");
  known.attempts.inc({ outcome, agent: attempt?.agent ?? String(data["agent"] ?? "unknown") });
  if (attempt?.endedAt == null) return;
  const seconds = Math.max(attempt.endedAt - attempt.startedAt, 0) / 1_000;
  known.attemptDuration.observe(seconds);
}

const maxCounted = 1_000;
/** A later dispatch has another cause: a poll, or a free slot. */
const countedForMs = 60_000;

/** Issues that a webhook announced and that were not dispatched yet. */
class CountedOnce {
  readonly #at = new Map<string, number>();

  note(issueId: string, now: number): void {
    this.#at.delete(issueId);
    this.#at.set(issueId, now);
    const [oldest] = this.#at.keys();
    if (oldest !== undefined && this.#at.size > maxCounted) this.#at.delete(oldest);
  }

  /** When the issue was announced, if that led to this dispatch; else now. */
  take(issueId: string | null, now: number): number {
    const at = issueId === null ? undefined : this.#at.get(issueId);
    if (issueId !== null) this.#at.delete(issueId);
    return at !== undefined && now - at <= countedForMs ? at : now;
  }
}
