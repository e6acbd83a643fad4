import type { Config, TrackerConfig } from "../config/config.ts";
import { hoursText } from "../model/hours.ts";
import { type Issue, normalState, type WithheldBy } from "../model/issue.ts";
import { heldStep, nextCommand } from "../model/next-step.ts";
import type { PollPace, ScopeLine } from "../tracker/tracker.ts";
import { choiceFor } from "./choice.ts";
import {
  blockerName,
  blockersText,
  hasSlot,
  openBlockers,
  ringOf,
  slotsFor,
  standingOf,
  stateSets,
} from "./dispatch.ts";
import {
  agentGate,
  conflictGate,
  dayGate,
  type Gate,
  gateOf,
  hostGate,
  hoursGate,
  pausedGate,
  storageGate,
} from "./gates.ts";
import type { IssueRow } from "./issues.ts";
import { wantedFor, whyNoWorker } from "./placement.ts";
import { conflictOf, orderGate } from "./radar.ts";
import { type Fault, isClaimed, type State } from "./state.ts";
import { isUnread } from "./tracker-health.ts";
import { answeredBy, isAsking, waitOf } from "./waits.ts";

/** One rule that an issue must pass to be started, and its result. */
export type Explained = ScopeLine;

/** The configuration in force, and why the file that should replace it cannot. */
export interface Configured {
  readonly config: Config;
  readonly problem: Fault | null;
}

/**
 * Every rule an issue must pass to be started now, in order, each with its result: an issue that passes all of them is started
 * by the next look at the queue, unless one before it takes its slot.
 */
export function dispatchGates(
  issue: Issue,
  state: State,
  { config, problem }: Configured,
): readonly Explained[] {
  return [
    ...trackerGates(issue, state.candidates, config.tracker),
    ...claimGates(issue, state),
    ...serverGates(issue, state, problem),
    ...hostGates(issue, state, config),
  ];
}

/** What the tracker's own data must be. */
function trackerGates(
  issue: Issue,
  listed: readonly Issue[],
  tracker: TrackerConfig,
): readonly Explained[] {
  const { active, terminal } = stateSets(tracker);
  const current = normalState(issue.state);
  return [
    gate("active_state", active.has(current) && !terminal.has(current), {
      detail: `state is ${issue.state}`,
      opens: `move it to ${orList(tracker.activeStates)}`,
    }),
    ...labelGates(issue, tracker),
    dispatchable(issue, listed, tracker),
  ];
}

function labelGates(issue: Issue, tracker: TrackerConfig): readonly Explained[] {
  const { anyLabels, excludedLabels } = tracker;
  const { missing, any, excluded } = labelsOf(issue, tracker);
  const all = gate("required_labels", missing.length === 0, {
    detail: missing.length === 0 ? "has every required label" : `misses ${quoted(missing)}`,
    opens: `add ${quoted(missing)}`,
  });
  const one = gate("any_label", any.length > 0, {
    detail: any.length > 0 ? `has ${quoted(any)}` : `has none of ${quoted(anyLabels)}`,
    opens: `add one of ${quoted(anyLabels)}`,
  });
  const none = gate("excluded_labels", excluded.length === 0, {
    detail:
      excluded.length === 0 ? `has none of ${quoted(excludedLabels)}` : `has ${quoted(excluded)}`,
    opens: `remove ${quoted(excluded)}`,
  });
  return [
    all,
    ...(anyLabels.length > 0 ? [one] : []),
    ...(excludedLabels.length > 0 ? [none] : []),
  ];
}

/** The required labels that the issue misses, and those of the other two lists that it has. */
function labelsOf({ labels }: Issue, tracker: TrackerConfig) {
  const has = (label: string) => labels.includes(label);
  return {
    missing: tracker.requiredLabels.filter((label) => !has(label)),
    any: tracker.anyLabels.filter(has),
    excluded: tracker.excludedLabels.filter(has),
  };
}

function dispatchable(issue: Issue, listed: readonly Issue[], tracker: TrackerConfig): Explained {
  const { withheld, withheldBy } = issue;
  const names = blockersText(openBlockers(issue, tracker));
  const blocked = names === "" ? null : `blockers: ${names}`;
  const why = withheld ?? blocked ?? "the tracker does not allow work now";
  const isBlocked = blocked !== null && withheld === null && !issue.dispatchable;
  const ring = isBlocked ? ringOf(issue, listed, tracker) : [];
  const ends =
    ring.length > 0
      ? `the removal of a relation: ${ring.map(blockerName).join(", ")} wait for each other`
      : `${names} must end`;
  const opens = withheldBy === null ? "a change in the tracker" : withheldOpens[withheldBy];
  return gate("dispatchable", issue.dispatchable, {
    detail: issue.dispatchable ? "the tracker allows work" : why,
    opens: isBlocked ? ends : opens,
  });
}

const withheldOpens: Readonly<Record<WithheldBy, string>> = {
  assignee: "assign it in the tracker",
  type: "give it this type in the tracker",
  milestone: "give it this milestone in the tracker",
  repository: "a read of its repository that does not fail",
};

/** What symphony itself has decided about the issue. */
function claimGates({ id, identifier }: Issue, state: State): readonly Explained[] {
  const row = state.issues.get(id);
  const held = heldReason(row);
  const queue = nextCommand("requeue", identifier);
  return [
    gate("not_held", held === null, {
      detail: held ?? "not held",
      opens: heldOpens(row, identifier),
    }),
    gate("not_failed", row?.claim !== "failed", {
      detail: row?.claim === "failed" ? row.reason : "no",
      opens: queue,
    }),
    ...completedGate(row, identifier),
    gate("not_claimed", !isClaimed(state, id) && row?.claim !== "review", {
      detail: claimText(row),
      opens: claimOpens(row),
    }),
  ];
}

/** What a person types for a held issue; work that is done is accepted, or run again. */
function heldOpens(row: IssueRow | undefined, identifier: string): string {
  const again = nextCommand("requeue", identifier);
  if (row?.claim !== "held") return again;
  const step = heldStep(row);
  if (step !== "look") return nextCommand(step, identifier);
  const accepts = nextCommand("complete", identifier);
  return `${accepts}, or ${again}; ${nextCommand("look", identifier)} shows its work`;
}

/** An issue that is open again, or that an operator completed although it is open. */
function completedGate(row: IssueRow | undefined, identifier: string): readonly Explained[] {
  if (row?.claim !== "completed") return [];
  const { dismissed } = row;
  const detail = dismissed === null ? "it was completed" : `an operator completed it`;
  const opens =
    dismissed === null
      ? "the next poll, if the tracker has it open"
      : `symphony transition ${identifier} queued, or another state in the tracker`;
  return [gate("not_completed", false, { detail, opens })];
}

/** What symphony itself must be able to do. */
function serverGates(
  { id }: Issue,
  { draining, issues, poll, trackerError }: State,
  problem: Fault | null,
): readonly Explained[] {
  const claim = issues.get(id)?.claim;
  const own = claim === "running";
  const hasBegun = poll.phase !== "idle" || poll.lastWall !== null;
  const fault = trackerError ?? (isUnread(id, poll.unread) ? poll.unread : null);
  const failed = fault && `its last read failed: ${fault.message}`;
  const notRead = hasBegun ? failed : "it was not read yet";
  const stopping = gate("server", own, {
    detail: "the server is stopping",
    opens: "its next start",
  });
  const slowed = gate("polls", true, { detail: slowedText(poll.pace), opens: "" });
  return [
    ...(draining ? [stopping] : []),
    gate("workflow", own || problem === null, {
      detail: problem?.message ?? "the workflow file is in force",
      opens: "a workflow file without faults: symphony config check",
    }),
    // A retry reads its issue by itself.
    gate("tracker", own || claim === "retrying" || notRead === null, {
      detail: notRead ?? "it answers",
      opens: "the next poll that reads it",
    }),
    ...(poll.pace === null ? [] : [slowed]),
  ];
}

function slowedText(pace: PollPace | null): string {
  if (pace === null) return "as often as configured";
  return `every ${Math.ceil(pace.intervalMs / 1_000)} s: ${pace.reason}`;
}

/** What must hold for every issue at this moment. */
function hostGates(issue: Issue, state: State, config: Config): readonly Explained[] {
  const { maxConcurrentAgents } = config.agent;
  const own = state.issues.get(issue.id)?.claim === "running";
  const running = state.issues.of("running").size;
  const day = dayGate(state.day, config);
  const noWorker = whyNoWorker(state, config, wantedFor(state, issue, config));
  const hasStart = noWorker === null && hasSlot(slotsFor(state, config), issue);
  return [
    passable("storage", storageGate(state), { own, open: "everything is saved" }),
    passable("paused", pausedGate(state), { own, open: "dispatch is not paused" }),
    passable("active_hours", hoursGate(state), { own, open: openHoursText(state) }),
    passable("host", hostGate(state), { own, open: "the host has enough of everything" }),
    passable("day_budget", day, { own, open: "there are tokens left" }),
    agentLine(state, issue, config),
    conflictLine(state, issue, config),
    gate("free_slot", own || hasStart, {
      detail: noWorker ?? `${running} of ${maxConcurrentAgents} slots in use`,
      opens:
        noWorker === null
          ? "the end of a running attempt, or a higher agent.max_concurrent_agents"
          : "a worker that takes it and has a free place: symphony workers list",
    }),
  ];
}

function openHoursText({ hours }: State): string {
  if (hours === null) return "there are no agent.active_hours";
  return `${hoursText(hours.of)}, until ${new Date(hours.untilWall).toISOString()}`;
}

/** Named after the provider: its limit is what closes it most of the time. */
function agentLine(state: State, issue: Issue, config: Config): Explained {
  const own = state.issues.get(issue.id)?.claim === "running";
  const shut = agentGate(state, issue, config);
  const { agent, standsInFor } = choiceFor(state, issue, config);
  const missing = standsInFor === null ? null : gateOf(state, standsInFor);
  const open =
    missing === null ? "the provider accepts turns" : `${agent} stands in: ${missing.detail}`;
  const line = passable("provider", shut, { own, open });
  if (line.pass || shut?.wait.gate !== "agent") return line;
  return { ...line, opens: "what mends it; then it opens by itself, or with symphony refresh" };
}

function conflictLine(state: State, issue: Issue, config: Config): Explained {
  const { conflicts } = config.delivery;
  const found = conflictOf(state, issue);
  const order = orderGate(state, issue, config);
  const shut =
    conflictGate(state, issue, config)?.detail ?? (order && `it is offered after ${order}`);
  const open =
    found === null
      ? "no live branch conflicts with its own"
      : `warns of ${found} (delivery.conflicts: ${conflicts})`;
  const opens = "the merge or the end of the other branch";
  return gate("conflicts", shut === null, { detail: shut ?? open, opens });
}

function gate(
  name: string,
  pass: boolean,
  { detail, opens }: { readonly detail: string; readonly opens: string },
): Explained {
  return { gate: name, pass, detail, opens: pass ? null : opens };
}

/** A running issue has already passed the gate. */
function passable(
  name: string,
  shut: Gate | null,
  { own, open }: { own: boolean; open: string },
): Explained {
  const until = shut?.untilWall ?? null;
  const byItself =
    until === null ? "it opens by itself" : `it opens ${new Date(until).toISOString()}`;
  const opens = shut?.wait.gate === "paused" ? "symphony resume" : byItself;
  return gate(name, own || shut === null, { detail: shut?.detail ?? open, opens });
}

function claimText(row: IssueRow | undefined): string {
  if (row?.claim === "running") return isAsking(row) ? "waiting for a person" : "running";
  if (row?.claim === "retrying") return "waiting for its retry";
  if (row?.claim === "review") return "its work is offered and waits for people or checks";
  return row?.claim === "blocked" ? "waiting for a person" : "free";
}

/** What ends the wait of offered work. */
export const reviewOpens = "an answer of people or checks to its work";

function claimOpens(row: IssueRow | undefined): string {
  if (row?.claim === "retrying") return `its retry, due ${new Date(row.dueWall).toISOString()}`;
  if (row?.claim === "blocked") return answeredBy(row);
  if (row?.claim === "review") return reviewOpens;
  const [asked] = row?.claim === "running" && isAsking(row) ? waitOf(row) : [];
  return asked ? answeredBy(asked) : "the end of its attempt";
}

/** Why it is held, or will be held once its agent has ended; null when it is not. */
function heldReason(row: IssueRow | undefined): string | null {
  if (row?.claim === "held") return row.reason;
  return row?.claim === "running" && row.stopping?.leadsTo === "hold" ? row.stopping.reason : null;
}

/** Why an issue that could be worked on as `before` may not be worked on as it is now. */
export function whyLeft(before: Issue, now: Issue, tracker: TrackerConfig): string {
  const { active, terminal } = stateSets(tracker);
  const state = normalState(now.state);
  if (terminal.has(state)) return `issue is ${now.state}`;
  if (!active.has(state)) return `issue left: ${now.state}`;
  const label = whyByLabel(before, now, tracker);
  if (label !== null) return label;
  if (now.withheld !== null) return now.withheld;
  const blockers = openBlockers(now, tracker);
  if (!now.dispatchable && blockers.length > 0) {
    return `blocked by ${blockers.map(blockerName).join(", ")}`;
  }
  if (standingOf(now, tracker) === "waiting") return "the tracker does not allow work now";
  return `issue left: ${now.state}`;
}

function whyByLabel(before: Issue, now: Issue, tracker: TrackerConfig): string | null {
  const { anyLabels } = tracker;
  const { missing, any, excluded } = labelsOf(now, tracker);
  if (missing.length > 0) return withoutLabels(missing, before);
  if (anyLabels.length > 0 && any.length === 0) {
    const { any: lost } = labelsOf(before, tracker);
    return withoutLabels(lost.length > 0 ? lost : anyLabels, before);
  }
  if (excluded.length === 0) return null;
  const isNew = excluded.some((label) => !before.labels.includes(label));
  return `${named(excluded)} ${isNew ? "added" : "excluded"}`;
}

/** Removed in the tracker, or missing because the configuration asks for it only now. */
function withoutLabels(labels: readonly string[], before: Issue): string {
  const wasThere = labels.some((label) => before.labels.includes(label));
  return `${named(labels)} ${wasThere ? "removed" : "missing"}`;
}

function named(labels: readonly string[]): string {
  return `${labels.length === 1 ? "label" : "labels"} ${labels.join(", ")}`;
}

function quoted(labels: readonly string[]): string {
  return labels.map((label) => `"${label}"`).join(", ");
}

function orList(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
