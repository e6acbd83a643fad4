import type { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import { type Approvals, positive } from "./agents.ts";
import type { Sections, WrittenSchema } from "./sections.ts";

/** One reason why a configuration cannot be used; `path` is the dotted key. */
export interface ConfigProblem {
  readonly path: string;
  readonly message: string;
}

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
  const result = sections.schema.safeParse({ tracker: {}, ...withoutNulls(values) });
  if (!result.success) throw invalidConfig(result.error.issues.map(problemOf));
  const { tracker, agent } = result.data;
  const { approvals, ofAgents } = withApprovals(result.data, sections.agents);
  const states = sections.trackers.find(({ kind }) => kind === tracker.kind)?.section.states;
  return {
    ...result.data,
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
          .map(([state, limit]) => [state.trim().toLowerCase(), limit]),
      ),
    },
  };
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
export function invalidConfig(problems: readonly ConfigProblem[]): SymphonyError {
  const list = problems.map(({ path, message }) => `${path} ${message}`).join("; ");
  return new SymphonyError("invalid_config", `the configuration cannot be used: ${list}`, {
    details: { problems },
  });
}

/** A section by its name, already checked by the schema. */
export function mapOf(value: unknown): Record<string, unknown> {
  return isMap(value) ? value : {};
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function problemOf({ path, message }: z.core.$ZodIssue): ConfigProblem {
  return { path: path.join("."), message };
}

/** The labels of the scope. Throws `invalid_config` when no issue can ever have them. */
function labelsIn({ required_labels, labels }: Parsed["tracker"]) {
  const all = labelsOf(labels.all);
  const any = labelsOf(labels.any);
  const exclude = labelsOf(labels.exclude);
  const isExcluded = (label: string) => exclude.includes(label);
  const required = labelsOf([...required_labels, ...all]);
  const both = required.filter(isExcluded);
  const none = any.length > 0 && any.every(isExcluded) ? any : both;
  if (none.length > 0) {
    const words = none.map((label) => `"${label}"`).join(", ");
    const where = both.length > 0 ? "tracker.labels.all or required_labels" : "tracker.labels.any";
    const message = `excludes ${words}, which ${where} asks for: no issue could run`;
    throw invalidConfig([{ path: "tracker.labels.exclude", message }]);
  }
  return { required_labels: labelsOf(required_labels), labels: { any, all, exclude } };
}

/** A blank label is kept: it matches no issue, so nothing is dispatched (requirement W-13). */
function labelsOf(labels: readonly string[]): string[] {
  return [...new Set(labels.map((label) => label.trim().toLowerCase()))];
}
