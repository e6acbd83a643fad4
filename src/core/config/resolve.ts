import type { z } from "zod";
import { renamed } from "../model/names.ts";
import { parseJson } from "../text/text.ts";
import { agentConfigOf, brakesConfigOf, usageConfigOf } from "./agents.ts";
import type { CommonConfig, Config } from "./config.ts";
import { deliveryConfigOf, onSuccessOf } from "./delivery.ts";
import type { Problem } from "./finding.ts";
import { fleetConfigOf } from "./fleet.ts";
import { gitConfigOf } from "./git.ts";
import { hostLimitsOf } from "./host.ts";
import {
  type Layer,
  mergeLayers,
  normalLayers,
  type Origin,
  originsOf,
  refusedKeysIn,
} from "./layers.ts";
import { agentProblems, namedAgentsOf } from "./named-agents.ts";
import { notifyRulesOf } from "./notify.ts";
import { invalidConfig, isMap, isStateLimit, mapOf, readWritten, type Written } from "./schema.ts";
import { type ForAllAgents, type Sections, serverSection, trackerSection } from "./sections.ts";
import { type Known, unknownKeysOf } from "./unknown-keys.ts";
import { workerConfigOf } from "./worker.ts";
import { workspaceConfigOf } from "./workspace.ts";

/** Options of the command line that are configuration. */
export interface ConfigFlags {
  readonly port?: number;
  readonly host?: string;
}

/** All sources of a configuration; later ones override earlier ones. */
export interface ConfigSources {
  /** The front matter of the workflow file. */
  readonly workflow: Readonly<Record<string, unknown>>;
  /** The front matter of the files that it is based on, nearest first. */
  readonly bases?: readonly Readonly<Record<string, unknown>>[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The operator's overrides, in the written form. */
  readonly overlay?: Readonly<Record<string, unknown>>;
  readonly flags: ConfigFlags;
}

export interface Resolved {
  readonly written: Written;
  /** By dotted path, for every leaf of `written`. */
  readonly origins: Readonly<Record<string, Origin>>;
  /** Settings that have no effect, one line each. */
  readonly warnings: readonly string[];
}

/** A problem and the layer that it is in. */
export interface LayerProblem extends Problem {
  readonly origin: Layer["origin"];
}

/** A configuration with everything that is wrong with it. */
export interface Inspected extends Omit<Resolved, "warnings"> {
  /** Errors and warnings. With an error, `written` has the default in place of each value at fault. */
  readonly problems: readonly LayerProblem[];
}

/** Merges the sources and checks the result. Throws `invalid_config`, naming every invalid key. */
export function resolveConfig(sources: ConfigSources, sections: Sections): Resolved {
  const { problems, ...resolved } = inspectConfig(sources, sections);
  const isFault = ({ severity = "error" }: Problem) => severity === "error";
  const faults = problems.filter(isFault);
  if (faults.length > 0) throw invalidConfig(faults);
  const warnings = problems.map(({ message }) => message);
  return { ...resolved, warnings };
}

/** As `resolveConfig`, but it reports what is wrong in place of throwing, all of it at once. */
export function inspectConfig(
  sources: ConfigSources,
  sections: Sections,
  { allowUnknown = false }: { readonly allowUnknown?: boolean } = {},
): Inspected {
  const given = layersOf(sources, sections);
  const refused = given.flatMap(({ origin, values }) =>
    refusedKeysIn(values).map((one) => ({ ...one, origin })),
  );
  const layers = normalLayers(refused.length > 0 ? given.map(plainKeys) : given, sections);
  const meant = layers.map((layer) => withoutStrangers(layer, sections));
  const { written, problems: ofSections } = readWritten(mergeLayers(meant, sections), sections);
  const problems = [...ofSections, ...agentProblems(written, sections)];
  return {
    written,
    origins: originsOf(written, meant, sections),
    problems: [
      ...refused,
      ...problems.map((one) => ({ ...one, origin: originIn(meant, one.path) })),
      ...layers.flatMap((layer) => ignoredIn(layer, sections, allowUnknown)),
      ...unusedSections(layers, written, sections),
      ...unusedKind(layers, written),
    ],
  };
}

/** The layer that a value at `path` comes from; a missing one is missing in the workflow file. */
function originIn(layers: readonly Layer[], path: string): Layer["origin"] {
  const found = layers.findLast(({ values }) => hasDotted(values, path));
  return found?.origin ?? "workflow";
}

function hasDotted(values: unknown, path: string): boolean {
  if (path === "") return true;
  if (Array.isArray(values)) {
    const [index = ""] = path.split(".", 1);
    return index in values && hasDotted(values[Number(index)], path.slice(index.length + 1));
  }
  if (!isMap(values)) return false;
  return Object.keys(values).some(
    (key) =>
      path === key ||
      (path.startsWith(`${key}.`) && hasDotted(values[key], path.slice(key.length + 1))),
  );
}

/** Without the keys that are refused at any depth, so that everything else can be checked too. */
function plainKeys(layer: Layer): Layer {
  const clean = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(clean);
    if (!isMap(value)) return value;
    const kept = Object.entries(value).filter(
      ([key]) => refusedKeysIn({ [key]: null }).length === 0,
    );
    return Object.fromEntries(kept.map(([key, child]) => [key, clean(child)]));
  };
  return { ...layer, values: mapOf(clean(layer.values)) };
}

function layersOf(
  { workflow, bases = [], env, overlay, flags }: ConfigSources,
  { keys }: Pick<Known, "keys">,
): readonly Layer[] {
  const { port = null, host = null } = flags;
  return [
    ...[workflow, ...bases].toReversed().map((values): Layer => ({ origin: "workflow", values })),
    envLayer(env, keys),
    { origin: "overlay", values: overlay ?? {} },
    { origin: "flag", values: { server: { port, host } } },
  ];
}

const pattern = /^SYMPHONY_([A-Z0-9]+(?:_[A-Z0-9]+)*)__([A-Z0-9_]+)$/;

/** The variable that sets a dotted key, such as `SYMPHONY_AGENT__MAX_TURNS`. */
export function variableOf(path: string): string {
  return `SYMPHONY_${path.replaceAll(".", "__").toUpperCase()}`;
}

/**
 * The layer of `SYMPHONY_<SECTION>__<KEY>` variables; a further `__` goes one map deeper. A value is parsed
 * as JSON where its key accepts that, else read as text. An empty variable counts as unset.
 */
function envLayer(env: ConfigSources["env"], keys: Known["keys"]): Layer {
  let values: Record<string, unknown> = {};
  for (const name of Object.keys(env).sort()) {
    const text = env[name];
    const match = pattern.exec(name);
    if (!match || text === undefined || text === "") continue;
    const path = `${match[1]}__${match[2]}`.toLowerCase().split("__");
    values = withValue(values, path, readValue(text, keys.get(path.join("."))));
  }
  return { origin: "env", values };
}

function readValue(text: string, field: z.ZodType | undefined): unknown {
  const json = parseJson(text);
  const value = json === undefined ? text : json;
  // A name that looks like a number is still a name where only text is valid.
  const isText = field && !field.safeParse(value).success && field.safeParse(text).success;
  return isText ? text : value;
}

function withValue(
  values: Readonly<Record<string, unknown>>,
  path: readonly string[],
  value: unknown,
): Record<string, unknown> {
  const [key, ...rest] = path;
  if (key === undefined) return { ...values };
  const below = Object.hasOwn(values, key) ? values[key] : undefined;
  const child = rest.length === 0 ? value : withValue(isMap(below) ? below : {}, rest, value);
  // Unlike an assignment, this keeps a key such as `__proto__` as a key, to be refused later.
  return Object.fromEntries([...Object.entries(values), [key, child]]);
}

/** Settings of a layer without effect: unknown keys (requirement W-15) and per-state limits that are dropped (W-11). */
function ignoredIn(
  { origin, values }: Layer,
  known: Known,
  allowUnknown: boolean,
): readonly LayerProblem[] {
  const isVariable = origin === "env";
  const shown = (path: string) => (isVariable ? variableOf(path) : path);
  const unknown = unknownKeysOf({ values }, { known, allowUnknown, shown, isVariable });
  const dropped = droppedLimits(values).map((state): Problem => {
    const path = "agent.max_concurrent_agents_by_state";
    const message = `${path}: the limit of "${state}" is not a whole number greater than 0 and is ignored`;
    return { path: `${path}.${state}`, message, severity: "warning" };
  });
  return [...unknown, ...dropped].map((one) => ({ ...one, origin }));
}

/** Sections of agents of which nothing would start one. */
function unusedSections(
  layers: readonly Layer[],
  { agent, agents: named }: Written,
  { agents }: Sections,
): readonly LayerProblem[] {
  const picks = [...Object.values(agent.by_state), ...Object.values(agent.by_label)];
  const entries = Object.entries(named).map(([name, one]) =>
    typeof one === "string" ? one : (one.kind ?? name),
  );
  const picked = picks.flatMap(({ kind, use }) => [kind, use]);
  const used = new Set([agent.use ?? agent.kind, ...agent.fallback, ...picked, ...entries]);
  return layers.flatMap(({ origin, values }) =>
    agents
      .filter(({ kind, section }) => !section.forAll && !used.has(kind) && isMap(values[kind]))
      .map(({ kind }) => ({
        path: kind,
        origin,
        isKey: true,
        severity: "warning" as const,
        message: `${kind} is configured, but nothing uses it: agent.${agent.use === null ? "kind" : "use"} is ${agent.use ?? agent.kind}`,
      })),
  );
}

/** `agent.kind` next to `agent.use`, which takes precedence. */
function unusedKind(layers: readonly Layer[], { agent: { use, kind } }: Written) {
  if (use === null || use === kind) return [];
  return layers
    .filter(({ values: { agent } }) => isMap(agent) && typeof agent["kind"] === "string")
    .map(({ origin }) => ({
      ...{ path: "agent.kind", origin, isKey: true, severity: "warning" as const },
      message: `agent.kind has no effect: agent.use is ${use}`,
    }));
}

/** Other programs use the environment, too, so only the known keys of its layer are kept. */
function withoutStrangers(layer: Layer, { keys, names }: Pick<Known, "keys" | "names">): Layer {
  if (layer.origin !== "env") return layer;
  const knownOf = (name: string, section: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(section).filter(([key]) => keys.has(`${name}.${key}`)));
  const known = Object.entries(layer.values)
    // A list of rules cannot be written in variables.
    .filter(([name]) => names.has(name) && name !== "notify")
    // The names of agents are the author's.
    .map(([name, section]) => [
      name,
      isMap(section) && name !== "agents" ? knownOf(name, section) : section,
    ]);
  return { origin: "env", values: Object.fromEntries(known) };
}

function droppedLimits(values: Readonly<Record<string, unknown>>): readonly string[] {
  const { agent } = values;
  const limits = isMap(agent) ? agent["max_concurrent_agents_by_state"] : undefined;
  if (!isMap(limits)) return [];
  return Object.entries(limits).flatMap(([state, limit]) => (isStateLimit(limit) ? [] : [state]));
}

/** The form that the rest of core reads. `root` is the absolute path of `workspace.root`. */
export function toConfig(written: Written, root: string, { agents }: Sections): Config {
  const own = agents.map(({ kind, section }) => ({
    kind,
    section,
    settings: section.settings(mapOf(written[kind])),
  }));
  const said = own.map(({ section, settings }) => section.forAll?.(settings));
  const forAll = said.find((one) => one !== undefined) ?? { stallTimeoutMs: 0, envPassthrough: [] };
  const config: CommonConfig = {
    ...commonOf(written, root, forAll),
    agents: namedAgentsOf(written, { agents }),
    ...Object.fromEntries(own.map(({ kind, settings }) => [kind, settings])),
  };
  // The folder of each kind declares the type of its section in `Config`.
  return config as Config;
}

function commonOf(
  written: Written,
  root: string,
  forAll: ForAllAgents,
): Omit<CommonConfig, "agents"> {
  const { tracker, polling, hooks, history, server } = written;
  const git = gitConfigOf(written.git);
  const delivery = deliveryConfigOf(written.delivery, git.repositories.length > 0);
  return {
    tracker: {
      ...trackerOf(tracker),
      activeStates: tracker.active_states,
      terminalStates: tracker.terminal_states,
      commentMention: tracker.comment_mention.trim(),
      onSuccess: onSuccessOf(tracker.on_success, delivery.mode),
    },
    polling: { intervalMs: polling.interval_ms },
    workspace: workspaceConfigOf(written.workspace, root),
    hooks: {
      afterCreate: scriptOf(hooks.after_create),
      beforeRun: scriptOf(hooks.before_run),
      afterRun: scriptOf(hooks.after_run),
      beforeRemove: scriptOf(hooks.before_remove),
      timeoutMs: hooks.timeout_ms,
      envPassthrough: forAll.envPassthrough,
    },
    git,
    delivery,
    agent: agentConfigOf(written.agent, forAll.stallTimeoutMs),
    brakes: brakesConfigOf(written.brakes),
    usage: usageConfigOf(written.usage),
    notify: notifyRulesOf(written.notify),
    history: { retentionDays: history.retention_days },
    server: renamed(serverSection, server),
    host: hostLimitsOf(written.storage, written.host),
    fleet: fleetConfigOf(written.fleet),
    worker: workerConfigOf(written.worker, { written: written.workspace.root, root }),
    promptStates: Object.keys(mapOf(written["prompts"])),
  };
}

/** `required_labels` and `labels.all` are one list. */
function trackerOf(written: Written["tracker"]) {
  const { labels, ...tracker } = renamed(trackerSection, written);
  return {
    ...tracker,
    requiredLabels: [...new Set([...tracker.requiredLabels, ...labels.all])],
    anyLabels: labels.any,
    excludedLabels: labels.exclude,
  };
}

function scriptOf(written: string | null): string | null {
  return written === null || written.trim() === "" ? null : written;
}
