import type { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import { normalState } from "../model/issue.ts";
import { type Approvals, positive } from "./agents.ts";
import { type Problem, sentenceOf } from "./finding.ts";
import { noState, type Sections, type WrittenSchema } from "./sections.ts";

type Parsed = z.output<WrittenSchema>;

/** The whole configuration in its written form: defaults filled in, lists and keys normalized. */
export interface Written extends Parsed {
  readonly tracker: Parsed["tracker"] & {
    readonly active_states: string[];
    readonly terminal_states: string[];
  };
  readonly agent: Parsed["agent"] & {
    readonly approvals: Approvals;
    readonly max_concurrent_agents_by_state: Record<string, number>;
  };
}

/** The keys for which a written `null` has its own meaning: no limit. */
const nullMeansSomething: ReadonlySet<string> = new Set([
  "agent.max_retries",
  "history.retention_days",
  "server.rate_limit",
]);

/** Removes every written `null`, at any depth, because it means the default (requirement W-8); lists are kept unchanged. */
export function withoutNulls(
  values: Readonly<Record<string, unknown>>,
  path = "",
): Record<string, unknown> {
  const kept = Object.entries(values).flatMap(([key, value]): [string, unknown][] => {
    const at = path === "" ? key : `${path}.${key}`;
    if (value === null) return nullMeansSomething.has(at) ? [[key, value]] : [];
    return [[key, isMap(value) ? withoutNulls(value, at) : value]];
  });
  return Object.fromEntries(kept);
}

/** Checks the written form and fills in defaults. Throws `invalid_config` with every problem in `details.problems`. */
export function parseWritten(
  values: Readonly<Record<string, unknown>>,
  sections: Sections,
): Written {
  const { written, problems } = readWritten(values, sections);
  if (problems.length > 0) throw invalidConfig(problems);
  return written;
}

/** As `parseWritten`, but each value at fault is replaced by its default, so that everything else can be checked too. */
export function readWritten(
  values: Readonly<Record<string, unknown>>,
  sections: Sections,
): { readonly written: Written; readonly problems: readonly Problem[] } {
  const given = { tracker: {}, ...withoutNulls(values) };
  const result = sections.schema.safeParse(given);
  const invalid = result.success ? [] : result.error.issues.map(problemOf);
  const parsed = result.success
    ? result.data
    : sections.schema.parse(mended(given, result.error.issues));
  const written = normalWritten(parsed, sections);
  const problems = [
    ...invalid,
    ...labelProblems(written.tracker),
    ...stateProblems(parsed, written.tracker),
    ...pollProblems(written, sections),
  ];
  const { active_states: active } = written.tracker;
  const isKnown = sections.trackers.some(({ kind }) => kind === written.tracker.kind);
  if (active.length > 0 || !isKnown) return { written, problems };
  const missing: Problem = { path: "tracker.active_states", message: noState, isRule: true };
  return { written, problems: [...problems, missing] };
}

/** A kind that needs nothing else, in place of one that cannot be read. */
const standIn = "local";

/** The values without those at fault: a section's key each, or the whole section. */
function mended(
  given: Readonly<Record<string, unknown>>,
  issues: readonly z.core.$ZodIssue[],
): Record<string, unknown> {
  const kept = new Map(Object.entries(given));
  for (const { path } of issues) {
    const [name, key] = path.map(String);
    if (name === undefined) continue;
    const section = kept.get(name);
    if (!isMap(section) || key === undefined) kept.delete(name);
    else kept.set(name, Object.fromEntries(Object.entries(section).filter(([one]) => one !== key)));
  }
  const tracker = mapOf(kept.get("tracker"));
  kept.set("tracker", { kind: standIn, ...tracker });
  return Object.fromEntries(kept);
}

function normalWritten(parsed: Parsed, sections: Sections): Written {
  const { tracker, agent } = parsed;
  const { approvals, ofAgents } = withApprovals(parsed, sections.agents);
  const section = sections.trackers.find(({ kind }) => kind === tracker.kind)?.section;
  const states = section?.statesFor?.(tracker.provider) ?? section?.states;
  return {
    ...parsed,
    ...ofAgents,
    tracker: {
      ...tracker,
      ...labelsIn(tracker),
      active_states: tracker.active_states ?? states?.active ?? [],
      terminal_states: tracker.terminal_states ?? states?.terminal ?? [],
    },
    agent: {
      ...agent,
      approvals,
      max_concurrent_agents_by_state: Object.fromEntries(
        Object.entries(agent.max_concurrent_agents_by_state)
          .filter((entry): entry is [string, number] => isStateLimit(entry[1]))
          .map(([state, limit]) => [normalState(state), limit]),
      ),
    },
  };
}

/** Each kind of tracker has its floor: below it, polls alone would use up what a service allows in an hour. */
function pollProblems({ tracker, polling }: Parsed, { trackers }: Sections): readonly Problem[] {
  const { interval_ms: intervalMs } = polling;
  const minMs = trackers.find(({ kind }) => kind === tracker.kind)?.section.minPollMs ?? 0;
  if (intervalMs >= minMs) return [];
  const message = `must be at least ${minMs} with tracker.kind ${tracker.kind}, and is ${intervalMs}`;
  return [{ path: "polling.interval_ms", message, isRule: true }];
}

/** `agent.approvals` and the agents' own sections: each supplies a default for the other. */
function withApprovals(parsed: Parsed, agents: Sections["agents"]) {
  const own = agents.map(({ kind, section }) => ({ kind, section, written: mapOf(parsed[kind]) }));
  const said = own.map(({ section, written }) => section.approvals?.(written) ?? null);
  const approvals: Approvals = parsed.agent.approvals ?? said.find((one) => one !== null) ?? "auto";
  const entries = own.map(({ kind, section, written }) => [
    kind,
    section.withApprovals?.(written, approvals) ?? written,
  ]);
  const ofAgents: Record<string, unknown> = Object.fromEntries(entries);
  return { approvals, ofAgents };
}

/** Whether a per-state limit is valid; an invalid one is dropped, and the file stays valid (requirement W-11). */
export function isStateLimit(limit: unknown): limit is number {
  return positive.safeParse(limit).success;
}

/** An error that names every invalid key. */
export function invalidConfig(problems: readonly Problem[]): SymphonyError {
  const list = problems.map(sentenceOf).join("; ");
  const shown = problems.map(({ path, message }) => ({ path, message }));
  return new SymphonyError("invalid_config", `the configuration cannot be used: ${list}`, {
    details: { problems: shown },
    hint: "symphony config check says where; symphony config get lists every key",
  });
}

/** A section by its name, already checked by the schema. */
export function mapOf(value: unknown): Record<string, unknown> {
  return isMap(value) ? value : {};
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function problemOf(issue: z.core.$ZodIssue): Problem {
  const { path, message } = issue;
  const allowed = issue.code === "invalid_value" ? { allowed: issue.values.map(String) } : {};
  return { path: path.join("."), message, isRule: true, ...allowed };
}

function labelsIn({ required_labels, labels }: Parsed["tracker"]) {
  const { any, all, exclude } = labels;
  return {
    required_labels: labelsOf(required_labels),
    labels: { any: labelsOf(any), all: labelsOf(all), exclude: labelsOf(exclude) },
  };
}

/** Labels that no issue can ever have together. */
function labelProblems({ required_labels, labels }: Parsed["tracker"]): readonly Problem[] {
  const { any, all, exclude } = labels;
  const isExcluded = (label: string) => exclude.includes(label);
  const both = [...required_labels, ...all].filter(isExcluded);
  const none = any.length > 0 && any.every(isExcluded) ? any : both;
  if (none.length === 0) return [];
  const words = [...new Set(none)].map((label) => `"${label}"`).join(", ");
  const where = both.length > 0 ? "tracker.labels.all or required_labels" : "tracker.labels.any";
  const message = `excludes ${words}, which ${where} asks for: no issue could run`;
  return [{ path: "tracker.labels.exclude", message, isRule: true }];
}

/** A state is of one kind, and without one in which issues are over none ever releases its workspace. */
function stateProblems({ tracker }: Parsed, written: Written["tracker"]): readonly Problem[] {
  const over = new Set(written.terminal_states.map(normalState));
  const both = written.active_states.filter((state) => over.has(normalState(state)));
  if (both.length > 0) {
    const words = both.map((state) => `"${state}"`).join(", ");
    const message = `names ${words}, which tracker.terminal_states names too: an issue there would be over`;
    return [{ path: "tracker.active_states", message, isRule: true }];
  }
  if (tracker.terminal_states?.length !== 0) return [];
  const message = "names no state: no issue is ever over, and no workspace is released";
  return [{ path: "tracker.terminal_states", message, severity: "warning", isRule: true }];
}

/** A blank label is kept: it matches no issue, so nothing is dispatched (requirement W-13). */
function labelsOf(labels: readonly string[]): string[] {
  return [...new Set(labels.map((label) => label.trim().normalize().toLowerCase()))];
}
