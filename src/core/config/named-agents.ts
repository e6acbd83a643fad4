// Agents that the workflow gives a name: a kind with its own model and provider.

import { either, type NamedAgent } from "./agents.ts";
import type { Problem } from "./finding.ts";
import { mapOf, type Written } from "./schema.ts";
import type { AgentSection, Sections } from "./sections.ts";

type Kinds = Pick<Sections, "agents">;

/** An entry in its long form. */
function entryOf(name: string, written: unknown, { agents }: Kinds) {
  const own = typeof written === "string" ? { kind: written } : mapOf(written);
  const isKind = agents.some(({ kind }) => kind === name);
  const { kind = isKind ? name : null, model = null, reasoning_effort: effort = null } = own;
  return { kind: kind ?? (isKind ? name : null), model, effort, provider: mapOf(own["provider"]) };
}

/** The agents by name that are valid, each with the settings of its kind. */
export function namedAgentsOf(written: Written, kinds: Kinds): ReadonlyMap<string, NamedAgent> {
  const valid = Object.entries(written.agents).flatMap(([name, entry]) => {
    const { kind, model, effort, provider } = entryOf(name, entry, kinds);
    const section = kinds.agents.find((row) => row.kind === kind)?.section;
    if (!section || typeof kind !== "string") return [];
    const parsed = section.schema.safeParse(settingsOver(mapOf(written[kind]), provider));
    if (!parsed.success) return [];
    const { approvals } = written.agent;
    const whole = section.withApprovals?.(parsed.data, approvals) ?? parsed.data;
    const own = { kind, model: textOr(model ?? provider["model"]), effort: textOr(effort) };
    return [[name, { ...own, settings: section.settings(whole) }] as const];
  });
  return new Map(valid);
}

/**
 * The settings of a named agent: the section of its kind, and `provider` over it. With its own `base_url` it begins from the
 * defaults: the key and the headers of one provider must not go to another one.
 */
function settingsOver(
  base: Readonly<Record<string, unknown>>,
  provider: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return "base_url" in provider ? provider : { ...base, ...provider };
}

/** What is wrong with the agents by name, and with every key that names an agent. */
export function agentProblems(written: Written, kinds: Kinds): readonly Problem[] {
  const names = agentNames(written, kinds);
  return [
    ...Object.entries(written.agents).flatMap(([name, entry]) =>
      entryProblems(name, entry, { written, kinds }),
    ),
    ...namings(written).flatMap(([path, name]): readonly Problem[] =>
      name === null || names.includes(name)
        ? []
        : [{ path, message: `must be ${either(names)}`, isRule: true, allowed: names }],
    ),
  ];
}

/** Every name that `agent.use` may have. */
function agentNames(written: Written, { agents }: Kinds): readonly string[] {
  return [...new Set([...Object.keys(written.agents), ...agents.map(({ kind }) => kind)])];
}

/** Every key that names an agent, with what it names. */
function namings({ agent }: Written): readonly (readonly [string, string | null])[] {
  const picks = (["by_state", "by_label"] as const).flatMap((key) =>
    Object.entries(agent[key]).map(([one, { use }]) => [`agent.${key}.${one}.use`, use] as const),
  );
  const fallback = agent.fallback.map((name, at) => [`agent.fallback.${at}`, name] as const);
  return [["agent.use", agent.use], ...fallback, ...picks];
}

function entryProblems(
  name: string,
  entry: unknown,
  { written, kinds }: { readonly written: Written; readonly kinds: Kinds },
): readonly Problem[] {
  const { kind, provider } = entryOf(name, entry, kinds);
  const known = kinds.agents.map((row) => row.kind);
  const path = typeof entry === "string" ? `agents.${name}` : `agents.${name}.kind`;
  const section = kinds.agents.find((row) => row.kind === kind)?.section;
  if (!section || typeof kind !== "string") {
    const message = kind === null ? `is required: ${either(known)}` : `must be ${either(known)}`;
    return [{ path, message, isRule: true, allowed: known }];
  }
  if (known.includes(name) && kind !== name) {
    const message = `must be ${name}: an agent with the name of a kind is of that kind`;
    return [{ path, message, isRule: true }];
  }
  return settingsProblems(section, settingsOver(mapOf(written[kind]), provider))
    .filter(({ path: [key] }) => key !== undefined && Object.hasOwn(provider, key))
    .map(({ path: within, message }) => ({
      path: ["agents", name, "provider", ...within].join("."),
      message,
      isRule: true,
    }));
}

function settingsProblems({ schema }: AgentSection, values: Readonly<Record<string, unknown>>) {
  const { error } = schema.safeParse(values);
  return (error?.issues ?? []).map(({ path, message }) => ({ path: path.map(String), message }));
}

function textOr(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
