import type { AgentRuntime } from "./agent/agent.ts";
import type { Attempts } from "./attempt/attempts.ts";
import type { AttemptWorld } from "./attempt/run.ts";
import type { Bus } from "./bus.ts";
import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import type { ConfigService } from "./config/service.ts";
import type { Logger } from "./logger.ts";
import type { Meter } from "./meter.ts";
import { messageOf, type SymphonyError } from "./model/errors.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import type { Ports } from "./orchestrator/ports.ts";
import type { Fault } from "./orchestrator/state.ts";
import { priorOf } from "./recovery.ts";
import type { Store } from "./store/store.ts";
import type { TrackerInUse } from "./tracker/in-use.ts";
import type { Workspaces } from "./workspace/workspaces.ts";

/** The real world behind the scheduler's edges. */
export interface RealParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly config: ConfigService;
  readonly store: Store;
  readonly bus: Bus;
  readonly meter: Meter;
  readonly trackers: TrackerInUse;
  readonly workspaces: Workspaces;
  readonly attempts: Attempts;
  readonly runtime: AgentRuntime;
  /** Made from these ports, so it is asked for late. */
  orchestrator(): Orchestrator;
}

export function portsOf(parts: RealParts): Ports {
  const { clock, log, config, store, bus, trackers, attempts } = parts;
  const { history, records } = store;
  return {
    clock,
    config: () => inForce(config),
    async preflight() {
      await config.reload();
      return inForce(config).problem;
    },
    fetchCandidates: () =>
      trackers.tracker.fetchIssuesByStates(config.current.config.tracker.activeStates),
    fetchIssues: (ids) => trackers.tracker.fetchIssuesByIds(ids),
    runAttempt: (order, reports) => attempts.run(order, worldOf(parts, order.attemptId), reports),
    stopAttempt: (id, reason) => attempts.stop(id, reason),
    steerAttempt: (id, steerId, message) => attempts.steer(id, steerId, message),
    settleSteer: (id) => history.markDelivered(id),
    async removeWorkspace(issue, path) {
      if (!(await parts.workspaces.remove({ path, issue }))) return;
      bus.publish({
        type: "workspace.removed",
        issueId: issue.id,
        issueIdentifier: issue.identifier,
        message: "workspace removed",
      });
    },
    saveRecord: (id, record) => records.put(id, record),
    saveAttempt: (attempt) => history.saveAttempt(attempt),
    prior: (id) => priorOf(history, id),
    publish: (event) => bus.publish(event),
    polled: (outcome, durationMs) => parts.meter.report({ type: "poll", outcome, durationMs }),
    failed: (what, error) => log.error("effect failed", { effect: what, reason: messageOf(error) }),
  };
}

/** The configuration in force, and why nothing new may start. */
export function inForce(service: ConfigService): { config: Config; problem: Fault | null } {
  return { config: service.current.config, problem: faultOf(service.problem) };
}

/** What one attempt works with: tracker and prompt as they are at its start (T-14). */
function worldOf(parts: RealParts, attemptId: string): AttemptWorld {
  const { config, log } = parts;
  const current = () => config.current.config;
  return {
    tracker: parts.trackers.tracker,
    runtime: parts.runtime,
    workspaces: parts.workspaces,
    promptTemplate: config.current.promptTemplate,
    config: current,
    model: (id) => parts.orchestrator().state.models.get(id)?.model ?? current().codex.model,
    effort: (id) => parts.orchestrator().state.models.get(id)?.effort ?? null,
    undelivered: (id) => parts.store.history.undelivered(id),
    log: (line) => log.debug("agent output", { attempt_id: attemptId, line }),
  };
}

function faultOf(error: SymphonyError | null): Fault | null {
  return error && { code: error.code, message: error.message };
}
