import type { z } from "zod";
import { renamed } from "../model/names.ts";
import { parseJson } from "../text/text.ts";
import { agentConfigOf, brakesConfigOf, usageConfigOf } from "./agents.ts";
import type { CommonConfig, Config } from "./config.ts";
import { deliveryConfigOf, onSuccessOf } from "./delivery.ts";
import { gitConfigOf } from "./git.ts";
import {
  type Layer,
  mergeLayers,
  normalLayers,
  type Origin,
  originsOf,
  refusedKeysIn,
} from "./layers.ts";
import {
  type ConfigProblem,
  invalidConfig,
  isMap,
  isStateLimit,
  mapOf,
  parseWritten,
  type Written,
} from "./schema.ts";
import { type ForAllAgents, type Sections, serverSection, trackerSection } from "./sections.ts";
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

/** Merges the sources and checks the result. Throws `invalid_config`, naming every invalid key. */
export function resolveConfig(sources: ConfigSources, sections: Sections): Resolved {
  const given = layersOf(sources, sections);
  const refused = given.flatMap(({ values }) => refusedKeysIn(values));
  if (refused.length > 0) throw invalidConfig(refused);
  const layers = normalLayers(given, sections);
  const meant = layers.map((layer) => withoutStrangers(layer, sections));
  const written = parseWritten(mergeLayers(meant, sections), sections);
  return {
    written,
    origins: originsOf(written, meant, sections),
    warnings: layers.flatMap((layer) => warningsOf(layer, sections)),
  };
}

function layersOf(
  { workflow, env, overlay, flags }: ConfigSources,
  { keys }: Known,
): readonly Layer[] {
  const { port = null, host = null } = flags;
  return [
    { origin: "workflow", values: workflow },
    envLayer(env, keys),
    { origin: "overlay", values: overlay ?? {} },
    { origin: "flag", values: { server: { port, host } } },
  ];
}

const pattern = /^SYMPHONY_([A-Z0-9]+(?:_[A-Z0-9]+)*)__([A-Z0-9_]+)$/;

/** The variable that sets a dotted key, such as `SYMPHONY_AGENT__MAX_TURNS`. */
function variableOf(path: string): string {
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

/** The names of sections and keys. */
type Known = Pick<Sections, "keys" | "names">;

/** Settings of a layer without effect: unknown keys (requirement W-15) and per-state limits that are dropped (W-11). */
function warningsOf({ origin, values }: Layer, known: Known): readonly string[] {
  const shown = (path: string) => (origin === "env" ? variableOf(path) : path);
  return [
    ...unknownKeys(values, { known, areVariables: origin === "env" }).map(
      (path) => `${shown(path)} is not a known key and is ignored${guess(path, known, shown)}`,
    ),
    ...droppedLimits(values).map(
      (state) =>
        `agent.max_concurrent_agents_by_state: the limit of "${state}" is not a whole number greater than 0 and is ignored`,
    ),
  ];
}

/** The same unknown keys as errors: an overlay is written for symphony only. */
function strangersIn(
  values: Readonly<Record<string, unknown>>,
  known: Known,
): readonly ConfigProblem[] {
  return unknownKeys(values, { known, areVariables: false }).map((path) => ({
    path,
    message: `is not a known key${guess(path, known, (meant) => meant)}`,
  }));
}

/** Other programs use the environment, too, so only the known keys of its layer are kept. */
function withoutStrangers(layer: Layer, { keys, names }: Known): Layer {
  if (layer.origin !== "env") return layer;
  const knownOf = (name: string, section: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(section).filter(([key]) => keys.has(`${name}.${key}`)));
  const known = Object.entries(layer.values)
    .filter(([name]) => names.has(name))
    .map(([name, section]) => [name, isMap(section) ? knownOf(name, section) : section]);
  return { origin: "env", values: Object.fromEntries(known) };
}

/** The known name nearest to `word`, if it is near enough to be a typing error. */
export function nearest(word: string, known: Iterable<string>): string | null {
  let best: { readonly name: string; readonly distance: number } | null = null;
  for (const name of known) {
    const distance = editDistance(word, name);
    const near = distance <= Math.max(1, Math.floor(name.length / 4));
    if (near && (best === null || distance < best.distance)) best = { name, distance };
  }
  return best?.name ?? null;
}

/** A variable always names a key inside a section; in a file an unknown section is one fault. */
function unknownKeys(
  values: Readonly<Record<string, unknown>>,
  { known, areVariables }: { readonly known: Known; readonly areVariables: boolean },
): readonly string[] {
  const { keys, names } = known;
  const paths = Object.entries(values).flatMap(([name, section]) => {
    if (!names.has(name) && !areVariables) return [name];
    return isMap(section) ? Object.keys(section).map((key) => `${name}.${key}`) : [];
  });
  return paths.filter((path) => !names.has(path) && !keys.has(path) && !isExtension(path));
}

/** Keys that begin with `x-` are reserved for the file's author. */
function isExtension(path: string): boolean {
  return path.split(".").some((part) => part.startsWith("x-"));
}

function guess(path: string, { keys, names }: Known, shown: (path: string) => string): string {
  const last = path.slice(path.lastIndexOf(".") + 1);
  const found =
    nearest(path, path.includes(".") ? keys.keys() : names) ??
    [...keys.keys()].find((known) => known.endsWith(`.${last}`)) ??
    null;
  return found === null ? "" : `; did you mean ${shown(found)}?`;
}

function droppedLimits(values: Readonly<Record<string, unknown>>): readonly string[] {
  const { agent } = values;
  const limits = isMap(agent) ? agent["max_concurrent_agents_by_state"] : undefined;
  if (!isMap(limits)) return [];
  return Object.entries(limits).flatMap(([state, limit]) => (isStateLimit(limit) ? [] : [state]));
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The operator's overrides of the workflow file, in the written form. */
export type Overlay = Readonly<Record<string, unknown>>;

const deepest = 32;
/** Keys whose text is a credential. */
export const credentialKey = /(?:^|_)(?:api_?key|token|password|secret)$/i;
const reference = /^\$[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Refuses what an overlay must not hold, whatever the other layers say: unknown keys (except under `tracker.provider` and
 * those that begin with `x-`), keys such as `__proto__`, a plain credential. Throws `invalid_config`, naming every path.
 */
export function checkOverlay(overlay: Overlay, known: Pick<Sections, "keys" | "names">): void {
  if (isDeeper(overlay, deepest)) {
    throw invalidConfig([{ path: "", message: `goes more than ${deepest} levels deep` }]);
  }
  const problems = [
    ...refusedKeysIn(overlay),
    ...strangersIn(overlay, known),
    ...credentialsIn(overlay),
  ];
  if (problems.length > 0) throw invalidConfig(problems);
}

/** The overlay without the value at a dotted path and without maps this leaves empty; null when there is no such value. */
export function withoutPath(overlay: Overlay, path: string): Overlay | null {
  if (Object.hasOwn(overlay, path)) return without(overlay, path);
  // A key may itself contain dots, as the name of a state may.
  const ways = Object.keys(overlay).filter((key) => path.startsWith(`${key}.`));
  for (const key of ways.sort((a, b) => b.length - a.length)) {
    const below = overlay[key];
    const rest = isMap(below) ? withoutPath(below, path.slice(key.length + 1)) : null;
    if (rest === null) continue;
    return Object.keys(rest).length === 0 ? without(overlay, key) : { ...overlay, [key]: rest };
  }
  return null;
}

/** `values` with every plain credential replaced, and every text passed through `redact`. */
export function withoutCredentials(
  values: Readonly<Record<string, unknown>>,
  redact: (text: string) => string,
): Record<string, unknown> {
  const entries = Object.entries(values).map(([key, value]) => [
    key,
    isCredential(key, value) ? "[redacted]" : shown(value, redact),
  ]);
  return Object.fromEntries(entries);
}

function shown(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === "string") return redact(value);
  if (Array.isArray(value)) return value.map((item) => shown(item, redact));
  return isMap(value) ? withoutCredentials(value, redact) : value;
}

function without(overlay: Overlay, key: string): Overlay {
  return Object.fromEntries(Object.entries(overlay).filter(([name]) => name !== key));
}

/** The overlay is shown unchanged to every operator, so it may hold only names of secrets. */
function credentialsIn(values: Overlay, path: readonly string[] = []): readonly ConfigProblem[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const at = [...path, key];
    if (isMap(value)) return credentialsIn(value, at);
    const message = "must name a secret or a variable, as in $TRACKER_API_KEY";
    return isCredential(key, value) ? [{ path: at.join("."), message }] : [];
  });
}

function isCredential(key: string, value: unknown): boolean {
  if (typeof value !== "string" || value.trim() === "") return false;
  return credentialKey.test(key.trim()) && !reference.test(value.trim());
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
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
    ...Object.fromEntries(own.map(({ kind, settings }) => [kind, settings])),
  };
  // The folder of each kind declares the type of its section in `Config`.
  return config as Config;
}

function commonOf(written: Written, root: string, forAll: ForAllAgents): CommonConfig {
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
    history: { retentionDays: history.retention_days },
    server: renamed(serverSection, server),
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
