import { normalState } from "../model/issue.ts";
import type { Problem } from "./finding.ts";
import { isMap, withoutNulls } from "./schema.ts";
import type { Sections } from "./sections.ts";

/** The source of an effective value; a later layer overrides an earlier one. */
export type Origin = "default" | "workflow" | "env" | "overlay" | "flag";

/** The values of one source, in the written form. */
export interface Layer {
  readonly origin: Exclude<Origin, "default">;
  readonly values: Readonly<Record<string, unknown>>;
}

/** An assignment to one of these would affect every object of the process. */
const refusedKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Keys that are refused at any depth. */
export function refusedKeysIn(value: unknown, path: readonly string[] = []): Problem[] {
  if (Array.isArray(value))
    return value.flatMap((item, at) => refusedKeysIn(item, [...path, `${at}`]));
  if (!isMap(value)) return [];
  return Object.entries(value).flatMap(([key, child]) => {
    const at = [...path, key];
    const here = refusedKeys.has(key.trim())
      ? [{ path: at.join("."), message: "is not allowed as a key", isRule: true, isKey: true }]
      : [];
    return [...here, ...refusedKeysIn(child, at)];
  });
}

/** Every layer in one spelling, so that the same key is equal in all layers. */
export function normalLayers(
  layers: readonly Layer[],
  { trackers }: Pick<Sections, "trackers">,
): readonly Layer[] {
  const plain = layers.map(({ origin, values }) => ({ origin, values: withoutNulls(values) }));
  const chosen = plain.map(({ values }) => kindOf(values)).findLast(Boolean);
  const flatKeys = trackers.find(({ kind }) => kind === chosen)?.section.flatKeys ?? [];
  return plain.map(({ origin, values }) => ({
    origin,
    values: withNormalStates(withLongAgents(withoutFlatKeys(values, flatKeys))),
  }));
}

/** The layers merged in order: maps are merged, everything else is replaced. */
export function mergeLayers(
  layers: readonly Layer[],
  { wholeMaps }: WholeMaps,
): Record<string, unknown> {
  let merged: Record<string, unknown> = {};
  for (const { values } of layers) merged = merge(merged, values, { wholeMaps });
  return merged;
}

/** Every leaf by its dotted path; an empty map, a list and a policy of the agent are leaves. */
export function leavesOf(values: object, rules: WholeMaps): ReadonlyMap<string, unknown> {
  return new Map(pathsOf(values, rules).map((path) => [path.join("."), valueAt(values, path)]));
}

/** The origin of every leaf of `effective`, by dotted path. */
export function originsOf(
  effective: object,
  layers: readonly Layer[],
  rules: WholeMaps,
): Record<string, Origin> {
  const origins = pathsOf(effective, rules).map((path): [string, Origin] => {
    const from = layers.findLast(({ values }) => hasPath(values, path));
    return [path.join("."), from?.origin ?? "default"];
  });
  return Object.fromEntries(origins);
}

type WholeMaps = Pick<Sections, "wholeMaps">;

/** A map that a later layer replaces; in the settings of a named agent, each one. */
function isWhole(path: string, { wholeMaps }: WholeMaps): boolean {
  return wholeMaps.has(path) || /^agents\.[^.]+\.provider\.[^.]+$/.test(path);
}

function merge(
  below: Readonly<Record<string, unknown>>,
  above: Readonly<Record<string, unknown>>,
  { wholeMaps, path = "" }: WholeMaps & { readonly path?: string },
): Record<string, unknown> {
  const merged = new Map(Object.entries(below));
  for (const [key, value] of Object.entries(above)) {
    const at = path === "" ? key : `${path}.${key}`;
    const old = merged.get(key);
    const both = isMap(old) && isMap(value) && !isWhole(at, { wholeMaps });
    merged.set(key, both ? merge(old, value, { wholeMaps, path: at }) : value);
  }
  return Object.fromEntries(merged);
}

function pathsOf(
  value: unknown,
  { wholeMaps }: WholeMaps,
  path: readonly string[] = [],
): string[][] {
  const isLeaf =
    !isMap(value) || Object.keys(value).length === 0 || isWhole(path.join("."), { wholeMaps });
  if (isLeaf) return path.length === 0 ? [] : [[...path]];
  return Object.entries(value).flatMap(([key, child]) =>
    pathsOf(child, { wholeMaps }, [...path, key]),
  );
}

export function valueAt(values: unknown, path: readonly string[]): unknown {
  return path.reduce((value, key) => (isMap(value) ? value[key] : undefined), values);
}

export function hasPath(values: unknown, path: readonly string[]): boolean {
  const [key, ...rest] = path;
  if (key === undefined) return true;
  return isMap(values) && Object.hasOwn(values, key) && hasPath(values[key], rest);
}

function kindOf(values: Readonly<Record<string, unknown>>): unknown {
  return isMap(values["tracker"]) ? values["tracker"]["kind"] : undefined;
}

function withoutFlatKeys(
  values: Readonly<Record<string, unknown>>,
  flatKeys: readonly string[],
): Record<string, unknown> {
  const { tracker } = values;
  if (!isMap(tracker)) return { ...values };
  const { provider = {}, ...own } = tracker;
  const isAlias = ([key]: [string, unknown]) => flatKeys.includes(key);
  const aliases = Object.fromEntries(Object.entries(own).filter(isAlias));
  if (Object.keys(aliases).length === 0 || !isMap(provider)) return { ...values };
  const others = Object.fromEntries(Object.entries(own).filter((entry) => !isAlias(entry)));
  return { ...values, tracker: { ...others, provider: { ...aliases, ...provider } } };
}

function withNormalStates(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { agent } = values;
  const limits = isMap(agent) ? agent["max_concurrent_agents_by_state"] : undefined;
  if (!isMap(agent) || !isMap(limits)) return { ...values };
  const normal = Object.entries(limits).map(([state, limit]) => [normalState(state), limit]);
  return {
    ...values,
    agent: { ...agent, max_concurrent_agents_by_state: Object.fromEntries(normal) },
  };
}

/** `agents` with every entry in its long form, so that the layers can be merged. */
function withLongAgents(
  values: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const { agents } = values;
  if (!isMap(agents)) return values;
  const long = Object.entries(agents).map(([name, entry]) => [
    name,
    typeof entry === "string" ? { kind: entry } : entry,
  ]);
  return { ...values, agents: Object.fromEntries(long) };
}
