import type { Effective } from "../config/check.ts";
import type { Problem } from "../config/finding.ts";
import { normalState } from "../model/issue.ts";
import { nearest } from "../text/nearest.ts";
import type { ScopeNames } from "./tracker.ts";

/** A name of the configuration, with its key. */
interface Named {
  readonly path: string;
  readonly name: string;
}

/** States and labels of a configuration that no team of the tracker has: such a gate never opens. Warnings, because a team may get them. */
export function nameProblems(effective: Effective, names: ScopeNames): readonly Problem[] {
  const states = [...new Set([...names.teams.values()].flat())];
  if (states.length === 0) return [];
  const known = new Set(states.map(normalState));
  const unknown = statesIn(effective).filter(({ name }) => !known.has(normalState(name)));
  const active = effective.config.tracker.activeStates;
  const none = active.every((name) => !known.has(normalState(name)));
  return [
    ...unknown.map(({ path, name }) => ({
      path,
      severity: "warning" as const,
      message: `${path}: ${nobodyHas(names)} "${name}"; ${statesOf(names)}${meant(name, states)}`,
    })),
    ...(none && effective.origins["tracker.active_states"] === "default"
      ? [missingDefault(active, names)]
      : []),
    ...unknownLabels(effective, names.labels),
  ];
}

function missingDefault(active: readonly string[], names: ScopeNames): Problem {
  const path = "tracker.active_states";
  return {
    path,
    severity: "warning",
    message: `${path} is not set, and ${nobodyHas(names)} ${active.join(" or ")}; ${statesOf(names)}: nothing would ever run`,
  };
}

function nobodyHas({ teams }: ScopeNames): string {
  return teams.has(null) ? "the tracker has no state" : "no team knows";
}

/** `the states of ENG are Backlog, Todo and Done`. */
function statesOf({ teams }: ScopeNames): string {
  return [...teams]
    .map(
      ([team, all]) =>
        `${team === null ? "its states" : `the states of ${team}`} are ${all.join(", ")}`,
    )
    .join("; ");
}

function meant(name: string, known: readonly string[]): string {
  const letters = (text: string) => text.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, "");
  const same = known.find((one) => letters(one) === letters(name));
  const byLowered = new Map(known.map((one) => [one.toLowerCase(), one]));
  const near = same ?? byLowered.get(nearest(name.toLowerCase(), byLowered.keys()) ?? "") ?? null;
  return near === null ? "" : `; did you mean ${near}?`;
}

/** The states that the file or another layer names; the defaults are for many kinds of teams. */
function statesIn({ config, written, origins, prompts }: Effective): readonly Named[] {
  const { tracker, agent } = config;
  const isOwn = (path: string) => (origins[path] ?? "default") !== "default";
  const list = (key: "active_states" | "terminal_states"): readonly Named[] => {
    const path = `tracker.${key}`;
    return isOwn(path) ? written.tracker[key].map((name) => ({ path, name })) : [];
  };
  const one = (path: string, name: string | null): readonly Named[] =>
    name === null ? [] : [{ path, name }];
  const success = tracker.onSuccess.kind === "state" ? tracker.onSuccess.name : null;
  return [
    ...list("active_states"),
    ...list("terminal_states"),
    ...(tracker.blockerStates ?? []).map((name) => ({ path: "tracker.blocker_states", name })),
    ...one("tracker.in_progress", tracker.inProgress),
    ...one("tracker.on_success", success),
    ...one("tracker.on_merged", tracker.onMerged),
    ...[...prompts.keys()].map((name) => ({ path: "prompts", name })),
    ...Object.keys(written.agent.by_state).map((name) => ({ path: "agent.by_state", name })),
    ...Object.keys(agent.maxConcurrentAgentsByState).map((name) => ({
      path: "agent.max_concurrent_agents_by_state",
      name,
    })),
    ...matchesIn(written, "states"),
  ];
}

/** The names of one kind by which repositories are chosen, as written. */
function matchesIn({ git }: Effective["written"], key: "states" | "labels"): readonly Named[] {
  return git.repositories.flatMap(({ match }, at) =>
    (match?.[key] ?? []).map((name) => ({ path: `git.repositories.${at}.match.${key}`, name })),
  );
}

/** The labels that a configuration names; the tracker has to be asked for its own when there are any. */
export function labelsIn({ written }: Effective): readonly Named[] {
  const { tracker, agent } = written;
  const list = (path: string, names: readonly string[]) => names.map((name) => ({ path, name }));
  return [
    ...list("tracker.required_labels", tracker.required_labels),
    ...list("tracker.labels.any", tracker.labels.any),
    ...list("tracker.labels.all", tracker.labels.all),
    ...list("tracker.labels.exclude", tracker.labels.exclude),
    ...list("agent.by_label", Object.keys(agent.by_label)),
    ...matchesIn(written, "labels"),
  ];
}

function unknownLabels(effective: Effective, labels: readonly string[] | null): readonly Problem[] {
  if (labels === null) return [];
  const known = new Set(labels.map((label) => label.trim().toLowerCase()));
  return labelsIn(effective)
    .filter(({ name }) => !known.has(name.trim().toLowerCase()))
    .map(({ path, name }) => ({
      path,
      severity: "warning",
      message: `${path}: the tracker has no label "${name}"${meant(name, labels)}`,
    }));
}
