// Keys that workflow files of other tools have, and what replaces them here.

import { isMap } from "./schema.ts";

/**
 * What ignoring the key would change. The first five stop the start: more would run than its author meant, another agent, or
 * one with more rights.
 */
type Effect =
  | "narrows"
  | "caps"
  | "slots"
  | "agent"
  | "confines"
  | "moves"
  | "structure"
  | "limit"
  | "other";

/** A value translated for another key; several keys where one is not enough. */
export type Translation = Readonly<Record<string, unknown>>;

/** One key of another tool. */
export interface ForeignKey {
  /** The dotted paths at which files have it. */
  readonly paths: readonly string[];
  readonly effect: Effect;
  /** Keys of symphony that do the same, best first; the first one that this version knows is named. */
  readonly to: readonly string[];
  /** What to do where no key does the same, or what to mind. */
  readonly note?: string;
  /** Its value in symphony's keys; null where a person has to decide. `to` is the key that was chosen from the list. */
  translate?(value: unknown, to: string): Translation | null;
}

/** The kinds of agent, as other tools name them, and how each runs here, best first. */
const agents: Readonly<Record<string, readonly Translation[]>> = {
  codex: [{ "agent.kind": "codex" }],
  claude: [{ "agent.kind": "claude" }, { "agent.kind": "command", ...claudeLines() }],
  opencode: [{ "agent.kind": "acp", "acp.command": "opencode acp" }],
  gemini: [{ "agent.kind": "acp", "acp.command": "gemini --experimental-acp" }],
};

function claudeLines(): Translation {
  return {
    "command.line": "claude -p --output-format stream-json --verbose",
    "command.output": "claude",
  };
}

const otherNames: Readonly<Record<string, string>> = {
  "claude-code": "claude",
  claude_code: "claude",
  claudecode: "claude",
  anthropic: "claude",
  "codex-cli": "codex",
  "codex-app-server": "codex",
  codex_app_server: "codex",
  "open-code": "opencode",
  "gemini-cli": "gemini",
};

/** How an agent that another tool names runs here; null for an unknown one. `kinds` are those of this version. */
export function agentNamed(name: string, kinds: readonly string[]): Translation | null {
  const word = name.trim().toLowerCase();
  const ways = agents[otherNames[word] ?? word] ?? [];
  return ways.find((way) => kinds.includes(String(way["agent.kind"]))) ?? null;
}

/** `agent.kind: acp with acp.command: opencode acp`. */
export function wayText(way: Translation): string {
  const [first, ...others] = Object.entries(way).map(([key, value]) => `${key}: ${String(value)}`);
  return others.length === 0 ? String(first) : `${first} with ${others.join(" and ")}`;
}

const same = (value: unknown, to: string): Translation => ({ [to]: value });
const listOf = (value: unknown, to: string): Translation => ({
  [to]: Array.isArray(value) ? value : [value],
});
/** A name, or a map of a name and a model; null for a map that says more. */
const agentOf = (value: unknown): Translation | null => {
  if (typeof value === "string") return { agent: value };
  if (!isMap(value)) return null;
  const { model, ...others } = value;
  const [[key = "", name] = [], ...further] = Object.entries(others);
  if (!agentWords.has(key) || typeof name !== "string" || further.length > 0) return null;
  return { agent: name, ...(typeof model === "string" && { "agent.model": model }) };
};
const agentWords = new Set(["kind", "name", "type", "provider", "default"]);
/** The section of an agent, of which only the model is known here. */
const sectionOf =
  (agent: string, modelKey: string) =>
  (value: unknown): Translation | null => {
    const { model, ...others } = isMap(value) ? value : {};
    if (Object.keys(others).length > 0) return null;
    return { agent, ...(typeof model === "string" && { [modelKey]: model }) };
  };
/** One failure more or less: attempts count the first one, retries do not. */
const retriesOf = (value: unknown, to: string): Translation | null =>
  typeof value === "number" && value >= 1 ? { [to]: value - 1 } : null;
const commandOf = (value: unknown): Translation | null => {
  if (typeof value !== "string") return null;
  if (/^\s*codex\b.*\bapp-server\b/.test(value)) return { "codex.command": value };
  const output = /^\s*claude\b/.test(value) ? { "command.output": "claude" } : {};
  return { "agent.kind": "command", "command.line": value, ...output };
};

/** The same key at the top level, in `tracker` and in `agent`. */
function anywhere(name: string): readonly string[] {
  return [name, `tracker.${name}`, `agent.${name}`];
}

const labelKeys = ["tracker.labels.any", "tracker.required_labels"];

/** Every key of other tools that is recognised. A key that this version has itself is never looked up here. */
export const foreignKeys: readonly ForeignKey[] = [
  {
    paths: ["tracker.pickup_labels"],
    effect: "narrows",
    to: labelKeys,
    translate: listOf,
  },
  { paths: ["tracker.routing_label"], effect: "narrows", to: labelKeys, translate: listOf },
  {
    paths: ["tracker.filter.labels.include"],
    effect: "narrows",
    to: labelKeys,
    translate: listOf,
  },
  {
    paths: ["tracker.team_key", "tracker.provider.team_key"],
    effect: "narrows",
    to: ["tracker.provider.team"],
    note: "tracker.provider.project_slug selects one project",
    translate: same,
  },
  {
    paths: ["tracker.query_filter", "tracker.provider.query_filter"],
    effect: "narrows",
    to: ["tracker.provider.filter"],
    note: "tracker.provider.project_slug and tracker.required_labels narrow what runs",
    translate: (value, to) => (isMap(value) ? { [to]: value } : null),
  },
  {
    paths: ["tracker.blocker_check_states"],
    effect: "narrows",
    to: ["tracker.blocker_states"],
    note: "an issue in Todo with an open blocker does not start",
    translate: listOf,
  },
  {
    paths: ["agent.max_total_tokens"],
    effect: "caps",
    to: ["brakes.tokens_per_issue"],
    translate: same,
  },
  {
    paths: ["agent.max_attempts"],
    effect: "caps",
    to: ["agent.max_retries"],
    note: "it counts failures after the first one, so it is one less",
    translate: retriesOf,
  },
  ...["runner", "engine", "runtime", "agent_runtime"].map(
    (name): ForeignKey => ({
      paths: [name, `agent.${name}`],
      effect: "agent",
      to: ["agent.kind"],
      translate: agentOf,
    }),
  ),
  {
    paths: ["agents"],
    effect: "agent",
    to: ["agent.by_label", "agent.by_state"],
    note: "agent.kind names the default, agent.by_label and agent.by_state choose others",
    translate: (value) => (typeof value === "string" ? agentOf(value) : null),
  },
  {
    paths: ["agent.command"],
    effect: "agent",
    to: ["command.line"],
    note: "codex.command is the line of codex; command.line with agent.kind: command is that of any other program",
    translate: commandOf,
  },
  {
    paths: ["opencode"],
    effect: "agent",
    to: ["acp.command"],
    note: "agent.kind: acp with acp.command: opencode acp",
    translate: sectionOf("opencode", "acp.model"),
  },
  {
    paths: ["claude"],
    effect: "agent",
    to: ["agent.kind"],
    note: `agent.kind: command with command.output: claude and command.line: ${claudeLines()["command.line"]}`,
    translate: sectionOf("claude", "agent.model"),
  },
  {
    paths: anywhere("on_pickup_state"),
    effect: "moves",
    to: ["tracker.in_progress"],
    translate: same,
  },
  {
    paths: anywhere("in_progress_state"),
    effect: "moves",
    to: ["tracker.in_progress"],
    translate: same,
  },
  ...["on_complete_state", "handoff_state", "success_state"].map(
    (name): ForeignKey => ({
      paths: anywhere(name),
      effect: "moves",
      to: ["tracker.on_success"],
      translate: same,
    }),
  ),
  {
    paths: ["stages"],
    effect: "structure",
    to: ["prompts", "agent.by_state"],
    note: "states of the tracker are the stages: tracker.active_states, tracker.on_success and agent.by_state",
  },
  {
    paths: ["trackers"],
    effect: "structure",
    to: ["tracker"],
    note: "one server has one tracker: run one symphony serve for each, each with its own WORKFLOW.md",
    translate: (value) => {
      const all = Array.isArray(value) ? value : [];
      return all.length === 1 && isMap(all[0]) ? { tracker: all[0] } : null;
    },
  },
  ...["turn_timeout_ms", "stall_timeout_ms", "read_timeout_ms"].map(
    (name): ForeignKey => ({
      paths: [`agent.${name}`],
      effect: "limit",
      to: [`codex.${name}`],
      note: "each kind of agent has its own limits, in its own section",
      translate: same,
    }),
  ),
  {
    paths: ["codex.reasoning_effort"],
    effect: "limit",
    to: ["agent.reasoning_effort"],
    translate: same,
  },
  {
    paths: ["qa"],
    effect: "other",
    to: ["delivery.checks"],
    note: "its commands must succeed before work is offered",
  },
  {
    paths: ["observability"],
    effect: "other",
    to: [],
    note: "nothing has to be set: the page at / and GET /metrics are always there",
  },
];

/** Effects that stop the start when the key is ignored. */
const stopping: ReadonlySet<Effect> = new Set(["narrows", "caps", "slots", "agent", "confines"]);

export function stopsStart({ effect }: Pick<ForeignKey, "effect">): boolean {
  return stopping.has(effect);
}

const effectWords: Readonly<Record<Effect, string>> = {
  narrows: "narrows which issues run",
  caps: "limits what may be spent",
  slots: "limits how many agents run at once",
  agent: "chooses the agent",
  confines: "limits what agents may do",
  moves: "moves issues between states",
  structure: "divides the work",
  limit: "limits the agent",
  other: "sets up something else",
};

/** What a key of another tool does there, such as `narrows which issues run`. */
export function effectText({ effect }: Pick<ForeignKey, "effect">): string {
  return effectWords[effect];
}

/** What replaces the key here. `isKnown` says whether this version has a key. */
export function replacementText(
  { to, note }: ForeignKey,
  isKnown: (path: string) => boolean,
): string | null {
  const key = to.find(isKnown);
  if (key === undefined) return note ?? null;
  return note === undefined ? `use ${key}` : `use ${key} (${note})`;
}

/** The value in the keys of this version; null where a person has to decide. */
export function translationOf(
  foreign: ForeignKey,
  value: unknown,
  { isKnown, kinds }: { isKnown(path: string): boolean; readonly kinds: readonly string[] },
): Translation | null {
  const key = foreign.to.find(isKnown);
  if (key === undefined) return null;
  const translated = foreign.translate?.(value, key) ?? null;
  if (translated === null) return null;
  const { agent, ...others } = translated;
  // In a translation it names an agent as the other tool does.
  if (agent === undefined) return others;
  const way = agentNamed(String(agent), kinds);
  return way === null ? null : { ...way, ...others };
}

/** Names that other tools give to what narrows the scope, or limits the cost, although no tool in the table has them. */
const guesses: readonly (Omit<ForeignKey, "paths" | "translate"> & { readonly at: RegExp })[] = [
  {
    at: /^tracker\.(?:.*\.)?(?:active_state|\w*states|status(?:es)?)$/,
    effect: "narrows",
    to: ["tracker.active_states"],
  },
  {
    at: /^(?:tracker\.(?:.*\.)?)?(?:\w*assign(?:ed|ees?)\w*|only_mine)$/,
    effect: "narrows",
    to: ["tracker.provider.assignee"],
    note: "of a tracker with assignees",
  },
  {
    at: /^tracker\.(?:.*\.)?(?:\w*labels?|\w*filters?|query|jql|wiql|search|team\w*|projects?|project_\w+|sprints?|epics?|assign\w+|creators?|authors?|reporters?|owners?|cycles?|milestones?|components?|issue_types?|min_priority|max_issues|(?:exclude|include|ignore|skip)\w*|only(?:_\w+)?|pickup\w*|\w+_(?:since|after|before))$|^(?:\w*labels?|\w*filters?|query|jql|team\w*|projects?|project_\w+|sprints?|epics?|milestones?|assign\w+|exclude\w*|only(?:_\w+)?)$/,
    effect: "narrows",
    to: ["tracker.labels", "tracker.required_labels", "tracker.provider"],
  },
  {
    at: /^(?:agent|limits|budgets?|costs?)\.(?:.*\.)?\w*(?:budget|max_tokens|tokens_max|max_cost|cost_limit|cost_max|max_usd|max_spend|spend_limit|spending|token_limit|tokens?_per)\w*$|^brakes\.[\w.]+$|^(?:\w*budgets?(?:_\w+)?|(?:\w+_)?(?:limits?|quotas?)|(?:max|limit)_(?:costs?|tokens?|spend|usd|dollars|attempts)(?:_\w+)?|(?:costs?|tokens?|usd|spend|attempts)_(?:max|cap|per\w*))$/,
    effect: "caps",
    to: ["brakes.tokens_per_issue"],
  },
  {
    at: /^(?:\w+\.)?(?:\w*concurren\w*|\w*parallel\w*|max_(?:\w+_)?(?:agents|workers|jobs|tasks|runs|sessions|slots)|max_issues|(?:agent|worker)_(?:slots|limit|count)|slots)$/,
    effect: "slots",
    to: ["agent.max_concurrent_agents"],
  },
  {
    at: /^agent\.by_(?:state|label)\..+\.(?:agent|name|type|runner|engine)$/,
    effect: "agent",
    to: [],
    note: "write use: for an agent of the file, kind: for a kind of agent",
  },
  {
    at: /^agent\.(?:type|name|backend|tool|cli|program|provider)$|^(?:runners?|engines?|runtimes?|executors?|backends?|providers?|coders?|coding_agents?|drivers?|harness|ai|llm|(?:agent|ai|coder|runner|worker|executor)_(?:kind|type|name|backend|engine|provider|command|cli))$/,
    effect: "agent",
    to: ["agent.kind"],
  },
  {
    at: /^(?:git\.)?(?:repo|repository|repo_url|repository_url|clone_url|remote|remotes|repos|repositories)$/,
    effect: "other",
    to: ["git.repositories"],
  },
];

/** Keys of this version whose names say less than they do. */
const own: readonly (readonly [RegExp, Effect])[] = [
  [/^agent\.(?:kind|by_state|by_label|use|fallback)\b|^agents\b/, "agent"],
  [
    /^agent\.(?:level|network|approvals|active_hours)$|^codex\.(?:\w*sandbox\w*|approval_policy)$/,
    "confines",
  ],
];

/** What a mistyped key was meant to do; null: nothing whose loss stops a start. */
export function meantBy(path: string): ForeignKey | null {
  const [, effect = null] = own.find(([at]) => at.test(path)) ?? [];
  const meant = effect === null ? guessedKey(path) : { paths: [path], effect, to: [] };
  return meant !== null && stopsStart(meant) ? meant : null;
}

/** A key that no table has, by what its name says; null for a name that says nothing. */
export function guessedKey(path: string): ForeignKey | null {
  const found = guesses.find(({ at }) => at.test(path));
  if (found === undefined) return null;
  const { at: _, ...rest } = found;
  return { paths: [path], ...rest };
}
