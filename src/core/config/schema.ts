import { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import {
  type Approvals,
  acpSection,
  agentSection,
  brakesSection,
  commandSection,
  map,
  oneOf,
  openaiSection,
  positive,
  section,
  solidText,
  text,
  texts,
  usageSection,
  variableName,
  wholeNumber,
} from "./agents.ts";
import { gitSection } from "./git.ts";

/** One reason why a configuration cannot be used; `path` is the dotted key. */
export interface ConfigProblem {
  readonly path: string;
  readonly message: string;
}

const script = text.nullable().default(null);

/** The known keys, as they are written in `WORKFLOW.md`. Other keys are kept and mean nothing. */
const sections = {
  tracker: section({
    kind: solidText,
    provider: map.default({}),
    required_labels: texts.default([]),
    active_states: texts.optional(),
    terminal_states: texts.optional(),
    comment_steering: z
      .enum(["off", "mention", "all"], "must be off, mention or all")
      .default("off"),
    comment_mention: solidText.default("@symphony"),
  }),
  polling: section({ interval_ms: positive.default(30_000) }),
  workspace: section({ root: text.optional() }),
  hooks: section({
    after_create: script,
    before_run: script,
    after_run: script,
    before_remove: script,
    timeout_ms: positive.default(60_000),
  }),
  git: gitSection,
  agent: agentSection,
  brakes: brakesSection,
  usage: usageSection,
  codex: section({
    command: solidText.default("codex app-server"),
    home: solidText.default("private"),
    allow_git: z.boolean("must be true or false").default(false),
    model: solidText.nullable().default(null),
    approval_policy: z.union([text, map], "must be text or a map").optional(),
    thread_sandbox: text.default("workspace-write"),
    turn_sandbox_policy: map.nullable().default(null),
    turn_timeout_ms: positive.default(3_600_000),
    read_timeout_ms: positive.default(5_000),
    stall_timeout_ms: wholeNumber.default(300_000),
    env_passthrough: z.array(variableName, "must be a list").default([]),
    process: oneOf("per_issue", "shared").default("per_issue"),
    threads_per_process: positive.default(20),
    orphan_limit_ms: positive.default(600_000),
  }),
  command: commandSection,
  acp: acpSection,
  openai: openaiSection,
  history: section({
    retention_days: positive.max(36_500, "must not be over 36500").nullable().default(90),
  }),
  server: section({
    host: solidText.default("127.0.0.1"),
    port: wholeNumber
      .min(0, "must be between 0 and 65535")
      .max(65_535, "must be between 0 and 65535")
      .default(4000),
    allowed_hosts: z.array(solidText, "must be a list").default([]),
    auth: oneOf("none", "token").default("none"),
    rate_limit: positive.nullable().default(300),
  }),
};

/** The written form with its defaults. `null` must be taken out before; see `withoutNulls`. */
export const writtenSchema = z.looseObject({
  tracker: sections.tracker,
  polling: sections.polling.prefault({}),
  workspace: sections.workspace.prefault({}),
  hooks: sections.hooks.prefault({}),
  git: sections.git.prefault({}),
  agent: sections.agent.prefault({}),
  brakes: sections.brakes.prefault({}),
  usage: sections.usage.prefault({}),
  codex: sections.codex.prefault({}),
  command: sections.command.prefault({}),
  acp: sections.acp.prefault({}),
  openai: sections.openai.prefault({}),
  history: sections.history.prefault({}),
  server: sections.server.prefault({}),
});

type Parsed = z.output<typeof writtenSchema>;

/** The whole configuration in its written form: defaults filled in, lists and keys normalised. */
export interface Written extends Parsed {
  readonly tracker: Parsed["tracker"] & {
    readonly active_states: string[];
    readonly terminal_states: string[];
  };
  readonly agent: Parsed["agent"] & {
    readonly approvals: Approvals;
    readonly max_concurrent_agents_by_state: Record<string, number>;
  };
  readonly codex: Parsed["codex"] & {
    readonly approval_policy: string | Record<string, unknown>;
  };
}

/** Every known dotted key with what it takes. */
export const writtenKeys: ReadonlyMap<string, z.ZodType> = new Map(
  Object.entries(sections).flatMap(([name, { shape }]) =>
    Object.entries(shape).map(([key, field]): [string, z.ZodType] => [`${name}.${key}`, field]),
  ),
);

/** The keys whose written `null` says something of its own: no end, or no limit. */
const nullMeansSomething: ReadonlySet<string> = new Set([
  "agent.max_retries",
  "history.retention_days",
  "server.rate_limit",
]);

/** States of a tracker whose file names none (requirement L-2). Other kinds have no defaults. */
const defaultStates = {
  active: ["Todo", "In Progress"],
  terminal: ["Closed", "Cancelled", "Canceled", "Duplicate", "Done"],
};
const kindsWithDefaultStates: ReadonlySet<string> = new Set(["local", "linear"]);

/** A written `null` counts as left out, at any depth (requirement W-8); lists are left as they are. */
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
export function parseWritten(values: Readonly<Record<string, unknown>>): Written {
  const result = writtenSchema.safeParse({ tracker: {}, ...withoutNulls(values) });
  if (!result.success) throw invalidConfig(result.error.issues.map(problemOf));
  const { tracker, agent, codex } = result.data;
  const { approvals, policy } = approvalsOf(agent.approvals, codex.approval_policy);
  const usual = kindsWithDefaultStates.has(tracker.kind)
    ? defaultStates
    : { active: [], terminal: [] };
  return {
    ...result.data,
    tracker: {
      ...tracker,
      required_labels: labelsOf(tracker.required_labels),
      active_states: tracker.active_states ?? usual.active,
      terminal_states: tracker.terminal_states ?? usual.terminal,
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
    codex: { ...codex, approval_policy: policy },
  };
}

/** Each of the two says something of the other where that is left out: codex asks nobody unless somebody is to be asked. */
function approvalsOf(
  approvals: Approvals | undefined,
  policy: string | Record<string, unknown> | undefined,
): { approvals: Approvals; policy: string | Record<string, unknown> } {
  const asks = policy !== undefined && policy !== "never";
  return {
    approvals: approvals ?? (asks ? "ask" : "auto"),
    policy: policy ?? (approvals === "ask" ? "on-request" : "never"),
  };
}

/** Whether a per-state limit counts; one that does not is dropped, the file stays valid (requirement W-11). */
export function isStateLimit(limit: unknown): limit is number {
  return positive.safeParse(limit).success;
}

/** A refusal that names every key at fault. */
export function invalidConfig(problems: readonly ConfigProblem[]): SymphonyError {
  const list = problems.map(({ path, message }) => `${path} ${message}`).join("; ");
  return new SymphonyError("invalid_config", `the configuration cannot be used: ${list}`, {
    details: { problems },
  });
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function problemOf({ path, message }: z.core.$ZodIssue): ConfigProblem {
  return { path: path.join("."), message };
}

/** A blank label is kept: it matches no issue, so nothing is dispatched (requirement W-13). */
function labelsOf(labels: readonly string[]): string[] {
  return [...new Set(labels.map((label) => label.trim().toLowerCase()))];
}
