import type { Api } from "../../contract/api.ts";
import type { openApiDocument } from "../../contract/openapi.ts";
import type { Clock } from "../../core/clock.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import type { View } from "../../core/orchestrator/answers.ts";
import { docsPage } from "../docs.ts";
import { weakTag } from "../etag.ts";
import type { Metrics } from "../metrics.ts";
import type { Handlers } from "../mount.ts";
import { streamEvents } from "../sse.ts";
import { snapshotView, time, trackerView } from "../views.ts";

interface SystemParts {
  readonly core: Core;
  readonly clock: Clock;
  /** The address the server is bound to. */
  readonly host: string;
  readonly document: () => ReturnType<typeof openApiDocument>;
  readonly metrics: Metrics;
}

const statusTargets = [
  { name: "queued", kind: "status", terminal: false },
  { name: "held", kind: "status", terminal: false },
  { name: "completed", kind: "status", terminal: true },
] as const;

export function systemHandlers(parts: SystemParts): Handlers<Api["system"]> {
  const { core, clock } = parts;
  return {
    state({ query }, exchange) {
      const view = viewOf(core, query.limit);
      const reply = snapshotView(view, { wall: clock.wall(), seq: core.bus.lastSeq });
      const { generated_at: _, codex_totals: totals, ...rest } = reply;
      // What only says that time went by is no change.
      exchange.setHeader("ETag", weakTag([rest, { ...totals, seconds_running: 0 }]));
      return reply;
    },
    runtime: (_, exchange) => runtimeView(parts, exchange.localPort),
    refresh() {
      const { coalesced, requestedWall } = core.orchestrator.refresh();
      const operations: ("poll" | "reconcile")[] = ["poll", "reconcile"];
      return { queued: true, coalesced, requested_at: time(requestedWall), operations };
    },
    transitions: ({ query }) => transitionsView(core, query.issue ?? null),
    events({ query, headers }, response) {
      const wish = {
        since: headers["last-event-id"] ?? query.since ?? null,
        issues: query.issue ?? null,
        types: query.type ?? null,
      };
      streamEvents(
        { bus: core.bus, history: core.history, clock, gauge: parts.metrics.streams },
        wish,
        response,
      );
    },
    openapi: () => parts.document(),
    metrics: () => parts.metrics.text(),
    async docs(_, exchange) {
      const { html, policy } = await docsPage();
      exchange.setHeader("Content-Security-Policy", policy);
      return html;
    },
  };
}

/** The orchestrator's view; rejects with `unavailable` when none can be had (H-8). */
export function viewOf(core: Core, limit: number): View {
  try {
    return core.orchestrator.view(limit);
  } catch (cause) {
    if (cause instanceof SymphonyError) throw cause;
    throw new SymphonyError("unavailable", "no snapshot can be had now; try again", { cause });
  }
}

function runtimeView({ core, clock, host }: SystemParts, port: number) {
  const { config } = core.config.current;
  return {
    version: core.version,
    node_version: process.version,
    platform: process.platform,
    pid: process.pid,
    started_at: time(core.startedWall),
    uptime_seconds: Math.max(clock.wall() - core.startedWall, 0) / 1_000,
    data_dir: core.dataDir,
    workflow_path: core.workflowPath,
    server: { host, port, auth: config.server.auth },
    tracker: trackerView(viewOf(core, 1).tracker),
    agent: { kind: config.agent.kind, model: config.codex.model, command: config.codex.command },
    features: {
      events: true,
      local_issues: core.localIssues() !== null,
      webhooks: core.webhooks.configured,
      shared_agents: config.agent.kind === "codex" && config.codex.process === "shared",
    },
  };
}

async function transitionsView(core: Core, identifier: string | null) {
  const { trackerStates, issues } = await core.orchestrator.transitions(identifier);
  return {
    states: [
      ...statusTargets,
      ...trackerStates.map(({ name, terminal }) => ({ name, kind: "tracker" as const, terminal })),
    ],
    issues: Object.fromEntries(
      issues.map(({ identifier: name, status, state, targets }) => [
        name,
        { status, state, transitions: targets.map((target) => ({ ...target })) },
      ]),
    ),
  };
}
