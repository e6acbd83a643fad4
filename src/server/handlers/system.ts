// One handler for each route, which translates between the contract and core.

import type { Api } from "../../contract/api.ts";
import type { openApiDocument } from "../../contract/openapi.ts";
import { models as modelRoutes } from "../../contract/system.ts";
import { agentCommand, outlivesServer, rowOf } from "../../core/agent/kinds.ts";
import { asOf } from "../../core/as-of.ts";
import { type Clock, limited } from "../../core/clock.ts";
import { kindOf, modelOf, wantsToken } from "../../core/config/config.ts";
import type { Core } from "../../core/core.ts";
import { findStatus, namesOf } from "../../core/find-issue.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import { writerOf } from "../../core/model/names.ts";
import type { Refreshed } from "../../core/orchestrator/operations.ts";
import { docsPage } from "../docs.ts";
import type { Metrics } from "../metrics.ts";
import type { Handlers } from "../mount.ts";
import { Prepared, StateAnswer, strongTag, viewOf } from "../replies.ts";
import { streamEvents } from "../sse.ts";
import { snapshotView, time, trackerView } from "../views.ts";

const writeModels = writerOf(modelRoutes.list.reply);

type OpenApi = ReturnType<typeof openApiDocument>;

interface SystemDeps {
  readonly core: Core;
  readonly clock: Clock;
  /** The address the server is bound to. */
  readonly host: string;
  readonly document: () => OpenApi;
  readonly metrics: Metrics;
}

const statusTargets = [
  { name: "queued", kind: "status", terminal: false },
  { name: "held", kind: "status", terminal: false },
  { name: "completed", kind: "status", terminal: true },
] as const;

/** A script may refresh in a loop, and each read of a delivery asks the forge. */
const sharedMs = 5_000;

/** `work`, at most once in 5 s; who asks in between shares the last one. */
function shared(work: () => Promise<void>, clock: Clock): () => Promise<void> {
  let last = { at: Number.NEGATIVE_INFINITY, done: Promise.resolve() };
  return () => {
    const at = clock.now();
    if (at - last.at >= sharedMs) last = { at, done: work() };
    return last.done;
  };
}

type Refreshing = Parameters<Handlers<Api["system"]>["refresh"]>[0]["query"];

/** The poll, and with it what no poll of the tracker reads: agents, models, branches and pull requests. */
function refreshing(core: Core, clock: Clock) {
  const look = shared(() => core.deliveries.lookAtAll(), clock);
  return async ({ wait, timeout_ms: limitMs }: Refreshing) => {
    core.models.forget();
    const [checked, looked] = [core.checkAgents(), look()];
    if (wait === "false") return { asked: core.orchestrator.refresh(), refreshed: null };
    await checked;
    const until = clock.now() + limitMs;
    const refreshed = await core.orchestrator.refreshed(limitMs);
    const late = () => {
      const message = `the poll has ended; the branches and pull requests are not all read within ${limitMs / 1_000} s, and their read continues`;
      throw new SymphonyError("timed_out", message);
    };
    await limited(looked, Math.max(until - clock.now(), 0), late, clock);
    return { asked: refreshed, refreshed };
  };
}

export function systemHandlers(deps: SystemDeps): Handlers<Api["system"]> {
  const { core, clock } = deps;
  // As the server does: a change is applied at the next start.
  const { auth } = core.config.current.config.server;
  const states = new StateAnswer(core, clock);
  const refresh = refreshing(core, clock);
  let document: { readonly tag: string; readonly reply: Prepared<OpenApi> } | null = null;
  return {
    async state({ query }, exchange) {
      if (query.at !== undefined) return stateThen(core, query.at, query.limit);
      const { tag, reply } = states.get(query.limit);
      exchange.repeat(() => states.get(query.limit));
      exchange.setHeader("ETag", tag);
      return reply;
    },
    runtime: (_, exchange) => runtimeView(deps, { port: exchange.localPort, auth }),
    async refresh({ query }, exchange) {
      const { asked, refreshed } = await refresh(query);
      // 202 would say that the work is still to be done.
      if (refreshed !== null) exchange.replaced();
      return refreshView(asked, refreshed);
    },
    async pause({ body }, exchange) {
      const reason = body.reason === undefined ? null : core.redact(body.reason);
      const pause = await core.dispatch.pause(reason, exchange.actor);
      return { paused: true, reason: pause.reason, by: pause.by, since: time(pause.sinceWall) };
    },
    async resume(_, exchange) {
      const ended = await core.dispatch.resume(exchange.actor);
      const since = ended && time(ended.sinceWall);
      return { paused: false, was_paused: ended !== null, since };
    },
    transitions: ({ query }) => transitionsView(core, query.issue ?? null),
    events({ query, headers }, response) {
      const wish = {
        since: headers["last-event-id"] ?? query.since ?? null,
        issues: query.issue === undefined ? null : issuesNamed(core, query.issue),
        types: query.type ?? null,
      };
      streamEvents(
        {
          bus: core.bus,
          history: core.history,
          clock,
          gauge: deps.metrics.streams,
          backlog: deps.metrics.backlog,
          redact: core.redact,
        },
        wish,
        response,
      );
    },
    openapi(_, exchange) {
      // Built by this program alone and always the same, so it is serialized once.
      document ??= prepared(deps.document());
      exchange.repeat(() => document);
      exchange.setHeader("ETag", document.tag);
      return document.reply;
    },
    metrics(_, exchange) {
      exchange.repeat(deps.metrics.kept);
      return deps.metrics.text();
    },
    async docs(_, exchange) {
      const { html, policy } = await docsPage();
      exchange.setHeader("Content-Security-Policy", policy);
      return html;
    },
  };
}

function issuesNamed(core: Core, names: readonly string[]) {
  const known = names.map((name) => namesOf(core, name));
  return {
    identifiers: known.flatMap(({ identifiers }) => identifiers),
    ids: known.flatMap(({ id }) => id ?? []),
  };
}

/** Workspaces that were kept, and where work was delivered, are not part of the record. */
async function stateThen(core: Core, at: string, limit: number) {
  const { wall, event: seq, view } = await asOf(core, at);
  return snapshotView(view(limit), {
    wall,
    seq,
    limit,
    kept: [],
    unrecorded: null,
    deliveryOf: () => null,
    away: () => null,
  });
}

type Requested = ReturnType<Core["orchestrator"]["refresh"]>;

function refreshView({ coalesced, requestedWall }: Requested, done: Refreshed | null) {
  const attemptsOf = (all: Refreshed["started"]) =>
    all.map(({ issueIdentifier, attemptId }) => ({
      issue_identifier: issueIdentifier,
      attempt_id: attemptId,
    }));
  const operations: ("poll" | "reconcile")[] = ["poll", "reconcile"];
  return {
    queued: true as const,
    coalesced,
    requested_at: time(requestedWall),
    operations,
    done: done && {
      finished_at: time(done.finishedWall),
      started: attemptsOf(done.started),
      stopped: attemptsOf(done.stopped),
    },
  };
}

function prepared(document: OpenApi) {
  const bytes = Buffer.from(JSON.stringify(document));
  return { tag: strongTag(document), reply: new Prepared<OpenApi>(bytes) };
}

function runtimeView(
  { core, clock, host }: SystemDeps,
  { port, auth }: { readonly port: number; readonly auth: string },
) {
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
    server: {
      ...{ host, port },
      auth: wantsToken({ auth, level: config.agent.level }) ? "token" : "none",
    },
    tracker: trackerView(viewOf(core, 1).tracker),
    agent: {
      name: config.agent.use,
      kind: kindOf(config, config.agent.use),
      model: modelOf(config, config.agent.use),
      command: agentCommand(core.kinds.agents, config),
      level: config.agent.level,
    },
    features: {
      events: true,
      local_issues: core.localIssues() !== null,
      webhooks: core.webhooks.configured,
      shared_agents: outlivesServer(core.kinds.agents, config),
      models: (rowOf(core.kinds.agents, config)?.models ?? null) !== null,
    },
  };
}

async function transitionsView(core: Core, identifier: string | null) {
  const issue = identifier === null ? null : (await findStatus(core, identifier)).issue;
  const { trackerStates, issues } = await core.orchestrator.transitions(issue);
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

export function modelHandlers({ models }: Core): Handlers<Api["models"]> {
  return {
    async list({ query }) {
      const catalog = query.cached === "true" ? models.remembered() : await models.list();
      return writeModels({ ...catalog, learned: models.learned() });
    },
  };
}

/** Counted from the history at each request, so the numbers are never stale. */
