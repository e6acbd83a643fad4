import { basename } from "node:path";
import type { AgentRuntime } from "./agent/agent.ts";
import { rowOf } from "./agent/kinds.ts";
import { priorOf } from "./attempt/recovery.ts";
import type { AttemptDeps } from "./attempt/run.ts";
import { kindOf, settingsOf } from "./config/config.ts";
import type { ConfigService } from "./config/service.ts";
import type { CoreDeps } from "./core.ts";
import { madeBy } from "./delivery/made.ts";
import { messageOf, SymphonyError } from "./model/errors.ts";
import { choiceOfTurn } from "./orchestrator/choice.ts";
import { conflictGate, dayGate } from "./orchestrator/gates.ts";
import type { AttemptOrder } from "./orchestrator/messages.ts";
import type { Ports } from "./orchestrator/orchestrator.ts";
import type { Fault } from "./orchestrator/state.ts";
import { runIdOf } from "./process/table.ts";
import { earlierWork } from "./prompt/prompt.ts";
import { templateMissing } from "./prompt/templates.ts";
import { SavedLater } from "./store/durable.ts";
import { withoutKeyLines } from "./text/redact.ts";
import { partsOf, sharedReads } from "./tracker/reads.ts";

export function portsOf(deps: CoreDeps): Ports {
  const { clock, log, config, store, bus, trackers, attempts } = deps;
  const { history, records } = store;
  return {
    clock,
    decide: (state, input, context) => deps.recorder.decide(state, input, context),
    config: () => inForce(config),
    async preflight() {
      await config.reload();
      return inForce(config).problem;
    },
    fetchCandidates: () =>
      partsOf(trackers.tracker).byStates(config.current.config.tracker.activeStates),
    pollPace: () => {
      const { intervalMs } = config.current.config.polling;
      return trackers.tracker.pollPace?.(intervalMs) ?? null;
    },
    fetchIssues: sharedReads((ids) => partsOf(trackers.tracker).byIds(ids)),
    whyGone: (id) => trackers.tracker.whyGone?.(id) ?? null,
    runAttempt: (order, reports) => attempts.run(order, attemptDepsOf(deps, order), reports),
    stopAttempt: (id, reason, graceMs) => attempts.stop(id, reason, graceMs),
    steerAttempt: (id, steerId, message) => attempts.steer(id, steerId, message),
    answerAttempt: (id, askId, answer) => attempts.answer(id, askId, answer),
    settleSteer: (id) => history.markDelivered(id),
    detachAttempt: (id) => attempts.detach(id),
    offerWork: (order) => deps.deliveries.offer(order),
    moveIssue: (issue, to, key) => deps.deliveries.moveTo(issue, to, key),
    async removeWorkspace(issue, path) {
      // Its branch may still be being pushed from it.
      await deps.deliveries.settled(issue.id);
      await deps.kept.clear(issue, path);
    },
    examineWorkspace: (issue, path) => deps.kept.report(issue, path),
    saveRecord: (id, record) => records.put(id, record),
    saveRecordFirst: (id, record) => deps.recordsAtOnce.put(id, record),
    savePauses: (pauses) => store.agentPauses.put(pauses),
    saveAttempt: (attempt) => history.saveAttempt(attempt),
    saveUsed: (used) => history.saveUsed(used),
    prior: (id, after) => priorOf(history, id, after),
    publish: (event) => bus.publish(event),
    polled: (outcome, durationMs) => deps.meter.report({ type: "poll", outcome, durationMs }),
    failed(what, error, { issueId, attemptId }) {
      // The event `storage.error` reports it, once.
      if (error instanceof SavedLater) return;
      const name = {
        ...(issueId && { issue_id: issueId }),
        ...(attemptId && { attempt_id: attemptId }),
      };
      log.error("effect failed", { effect: what, ...name, reason: messageOf(error) });
    },
  };
}

/** The configuration in force, why nothing new may start, and what else is wrong. */
export function inForce(service: ConfigService) {
  const { current, problem, warnings } = service;
  return { config: current.config, problem: faultOf(problem), warnings };
}

/** The dependencies of one attempt: tracker and prompt as they are at its start (T-14). */
function attemptDepsOf(
  deps: CoreDeps,
  { attemptId, templateId, agent, issue, worker }: AttemptOrder,
): AttemptDeps {
  const { config, log } = deps;
  const current = () => config.current.config;
  const template = deps.templates.find(templateId);
  const ssh = worker === undefined ? null : deps.ssh();
  return {
    tracker: deps.trackers.tracker,
    runtime: () =>
      worker === undefined
        ? deps.runtimes.get(agent)
        : ssh === null
          ? remoteRuntimeOf(deps, { attemptId, agent, issue, worker })
          : Promise.resolve(
              ssh.runtime({
                ...{ attemptId, issueId: issue.id, agent, host: worker },
                kind: kindOf(current(), agent),
                settings: () => settingsOf(current(), agent),
              }),
            ),
    workspaces:
      ssh === null || worker === undefined
        ? deps.workspaces
        : ssh.workspacesOn(worker, deps.workspaces),
    promptAt: template?.at ?? null,
    get promptTemplate() {
      if (!template) throw templateMissing(templateId);
      return template.body;
    },
    config: current,
    runId: runIdOf(deps.dataDir, attemptId),
    choice: (id) => choiceOfTurn(deps.orchestrator().state, id, current()),
    earlierWork: (id, other) => earlierWorkOn(deps, id, other),
    mayContinue() {
      const { state } = deps.orchestrator();
      const gate = dayGate(state.day, current()) ?? conflictGate(state, issue, current());
      return gate === null;
    },
    undelivered: (id) => deps.store.history.undelivered(id),
    ready: (id) => deps.deliveries.ready(id),
    feedback: (id, attempt) => deps.deliveries.feedback(id, attempt),
    given: (id, feedback, attempt) => deps.deliveries.given(id, feedback, attempt),
    made: (turn) => madeBy(turn, deps.made),
    redact: (text) => deps.made.redact(text),
    leases: deps.recovery.leases,
    giveUp: (id) => deps.recovery.giveUp(id),
    log: withoutKeyLines((line) => log.debug("agent output", { attempt_id: attemptId, line })),
  };
}

/** The agent on a worker of the fleet, with the settings as they are when it starts. */
async function remoteRuntimeOf(
  { config, fleet, kinds, workspaces, ...deps }: CoreDeps,
  {
    attemptId,
    agent,
    issue,
    worker,
  }: { worker: string } & Pick<AttemptOrder, "attemptId" | "agent" | "issue">,
): Promise<AgentRuntime> {
  const places = fleet();
  if (places === null) throw new SymphonyError("worker_lost", "the server has no fleet");
  const { remoteRuntime } = await import("./fleet/remote.ts");
  const { config: current } = config.current;
  const { prepare, maxCopyBytes: maxCopy } = current.fleet;
  const row = rowOf(kinds.agents, current, agent);
  if (!row) throw new SymphonyError("agent_unavailable", `there is no agent ${agent}`);
  const { env, dataDir, clock } = deps;
  return remoteRuntime({
    ...{ attemptId, agent, prepare, maxCopy, prepareMs: current.hooks.timeoutMs },
    kind: row.kind,
    settings: () => settingsOf(current, agent),
    async records(workspace) {
      const own = { env, dataDir, clock, workspace };
      return (await row.records?.(settingsOf(current, agent), own)) ?? null;
    },
    key: basename(workspaces.placeOf(issue)),
    place: (id) => places.place(worker, id),
  });
}

const eventsRead = 5_000;

const attemptsRead = 6;
const endedWell: ReadonlySet<string> = new Set(["succeeded", "no_changes"]);

/**
 * A summary of the attempt before the live one and of those before it, up to one that ended well. `other`: only of attempts
 * of another agent than this one, and of none that ended well.
 */
function earlierWorkOn(
  { store: { history }, bus }: CoreDeps,
  issueId: string,
  other: string | null,
): string | null {
  bus.flush();
  const [, ...before] = history.attemptsOf(issueId, attemptsRead, 0).attempts;
  const well = before.findIndex(({ status }) => endedWell.has(status));
  const open = before.slice(0, well === -1 ? before.length : well);
  const read = other === null && open.length === 0 ? before.slice(0, 1) : open;
  const events = read
    .filter(({ agent }) => agent !== other)
    .toReversed()
    .flatMap(({ id }) => history.events({ afterSeq: 0, limit: eventsRead, attemptId: id }));
  return earlierWork(events);
}

function faultOf(error: SymphonyError | null): Fault | null {
  return error && { code: error.code, message: error.message };
}
