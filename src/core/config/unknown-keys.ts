import { z } from "zod";
import { nearest } from "../text/nearest.ts";
import { agentsSection } from "./agents.ts";
import type { Finding, Problem } from "./finding.ts";
import {
  agentNamed,
  effectText,
  type ForeignKey,
  foreignKeys,
  guessedKey,
  meantBy,
  replacementText,
  stopsStart,
  translationOf,
  wayText,
} from "./foreign-keys.ts";
import { hasPath, type Layer, valueAt } from "./layers.ts";
import { notifySection } from "./notify.ts";
import { isMap } from "./schema.ts";
import { isChainKey, type Sections } from "./sections.ts";

/** The names of sections and keys. */
export type Known = Pick<Sections, "agents" | "keys" | "names" | "trackers">;

interface Rules {
  readonly known: Known;
  /** Continues although a key that narrows, caps or chooses an agent is ignored. */
  readonly allowUnknown: boolean;
  /** How a path is written in this layer. */
  shown(path: string): string;
  /** The values are from variables, each of which names a key inside a section. */
  readonly isVariable?: boolean;
}

/**
 * Keys of a layer that nothing reads (requirement W-15). One that narrows what runs, caps it or chooses an agent is an
 * error: without it more would run than its author meant.
 */
export function unknownKeysOf(
  layer: Pick<Layer, "values">,
  { known, allowUnknown, shown, isVariable = false }: Rules,
): readonly Problem[] {
  const kinds = known.agents.map(({ kind }) => kind);
  return strangers(layer.values, known, isVariable).map(({ path, siblings, foreign }) => {
    const way = foreign?.effect === "agent" ? wayHere(layer.values, path, { foreign, kinds }) : "";
    const stops = foreign !== null && stopsStart(foreign) && !allowUnknown;
    const severity: Finding["severity"] = stops ? "error" : "warning";
    const isKnown = (key: string) => isKnownKey(key, known);
    const value = valueAt(layer.values, path.split("."));
    const migrates = stops && translationOf(foreign, value, { isKnown, kinds }) !== null;
    const migrate = migrates ? "symphony config migrate FILE writes the translated file; " : "";
    return {
      path,
      severity,
      isKey: true,
      message: messageOf({ path, siblings, foreign, stops }, { known, shown }),
      next: stops ? `${way}${migrate}--allow-unknown starts without the key` : null,
    };
  });
}

/** `write agent.kind: claude; `, for an agent that is known by its name in another tool. */
function wayHere(
  values: unknown,
  path: string,
  { foreign, kinds }: { readonly foreign: ForeignKey; readonly kinds: readonly string[] },
): string {
  const name = foreign.translate?.(valueAt(values, path.split(".")), "agent.kind")?.["agent"];
  const way = typeof name === "string" ? agentNamed(name, kinds) : null;
  return way === null ? "" : `write ${wayText(way)}; `;
}

/** The same keys as errors: an overlay is written for symphony only. */
export function refusedStrangers(
  values: Readonly<Record<string, unknown>>,
  known: Known,
): readonly Problem[] {
  const ofFiles = Object.keys(values).filter(isChainKey);
  const misplaced = ofFiles.map((path) => ({
    ...{ path, isKey: true, isRule: true, message: "is read from workflow files alone" },
  }));
  const unknown = strangers(values, known)
    .filter(({ path }) => !path.startsWith("tracker.provider."))
    .map((one) => {
      const near = nearKey(one, known);
      const guess = near === null ? "" : `; did you mean ${near}?`;
      return { path: one.path, isKey: true, isRule: true, message: `is not a known key${guess}` };
    });
  return [...misplaced, ...unknown];
}

/** A key that nothing reads. */
interface Unread {
  readonly path: string;
  /** The keys that are read in the same map, when it is not a section. */
  readonly siblings: readonly string[];
}

interface Stranger extends Unread {
  /** Its row in the table of foreign keys, or what its name says, or that of the key that was meant. */
  readonly foreign: ForeignKey | null;
}

/** Every unknown key with its row; a row may be about a part of an unknown map, such as tracker.filter.labels.include. */
export function strangers(
  values: Readonly<Record<string, unknown>>,
  known: Known,
  isVariable = false,
): readonly Stranger[] {
  return unknownIn(values, known, isVariable)
    .filter(({ path }) => !isExtension(path) && (isVariable || !isChainKey(path)))
    .flatMap(({ path, siblings }): readonly Stranger[] => {
      const rows = foreignKeys.flatMap((row) =>
        row.paths
          .filter(
            (one) =>
              (one === path || one.startsWith(`${path}.`)) && hasPath(values, one.split(".")),
          )
          .map((one) => ({ path: one, siblings: [], foreign: row })),
      );
      if (rows.length > 0) return rows;
      const foreign = guessedKey(path) ?? typedFor({ path, siblings }, values, known);
      return [{ path, siblings, foreign }];
    });
}

/** What a mistyped key, or a key of a mistyped section, was meant to do. */
function typedFor(
  { path, siblings }: Unread,
  values: Readonly<Record<string, unknown>>,
  { keys, names }: Known,
): ForeignKey | null {
  const parts = path.split(".");
  const last = parts.at(-1) ?? "";
  const [first = "", name = "", middle] = parts;
  if (first === "agents" && middle === "provider" && parts.length === 4) {
    const kind = valueAt(values, [first, name, "kind"]) ?? name;
    const near = typed(last, siblings);
    return near === null ? null : meantBy(`${String(kind)}.${near}`);
  }
  if (parts.length > 1) {
    const above = path.slice(0, -last.length);
    const own = [...keys.keys()].flatMap((key) =>
      key.startsWith(above) ? [key.slice(above.length)] : [],
    );
    const near = typed(last, own);
    return near === null ? null : meantBy(`${above}${near}`);
  }
  const section = nearest(path, names);
  const value = values[path];
  if (section === null || !isMap(value)) return null;
  const all = Object.keys(value).map((key) => meantBy(`${section}.${key}`));
  return all.find((one) => one !== null) ?? null;
}

/** Strictly: a word of its own, such as `user` or `callback`, is no typing error of another one. */
function typed(word: string, known: readonly string[]): string | null {
  const near = nearest(word, known);
  return near !== null && near.length > 3 && near[0] === word[0] ? near : null;
}

function messageOf(
  { path, siblings, foreign, stops }: Stranger & { readonly stops: boolean },
  { known, shown }: Pick<Rules, "known" | "shown">,
): string {
  const isInTable = foreign !== null && foreignKeys.includes(foreign);
  const instead = foreign && replacementText(foreign, (key) => isKnownKey(key, known));
  const ignored = stops ? ", and nothing here reads it" : " and is ignored";
  const near = nearKey({ path, siblings }, known);
  const [meant = path] = foreign?.paths ?? [];
  if (foreign !== null && stops && meant !== path && near !== null) {
    const isSection = !near.includes(".");
    const does = isSection ? `where ${meant.slice(near.length + 1)}` : "which";
    return `${shown(path)} is not a known key${ignored}; did you mean ${shown(near)}, ${does} ${effectText(foreign)}?`;
  }
  const what = isInTable
    ? `is a key of another tool that ${effectText(foreign)}`
    : "is not a known key";
  const why =
    !isInTable && stops
      ? `, and its name says that it ${effectText(foreign ?? { effect: "other" })}`
      : "";
  // A key that is spelled alike and does something else is no help: tracker.states is not tracker.updates.
  const isAlike =
    foreign === null || instead === null || meantBy(near ?? "")?.effect === foreign.effect;
  const next =
    near !== null && !isInTable && isAlike
      ? `; did you mean ${shown(near)}?`
      : instead === null
        ? ""
        : `; ${instead}`;
  return `${shown(path)} ${what}${why}${ignored}${next}`;
}

/** Whether a dotted path is a key of this version, at any depth below a section. */
export function isKnownKey(path: string, { keys, names, trackers }: Known): boolean {
  if (names.has(path) || keys.has(path) || isChainKey(path)) return true;
  const provider = /^tracker\.provider\.([^.]+)$/.exec(path)?.[1];
  if (provider !== undefined) {
    return trackers.some(({ section }) => section.providerKeys.includes(provider));
  }
  const [section = "", key = "", ...rest] = path.split(".");
  const field = keys.get(`${section}.${key}`);
  return rest.length > 0 && field !== undefined && shapeBelow(field, rest);
}

function shapeBelow(field: z.ZodType, [key, ...rest]: readonly string[]): boolean {
  if (key === undefined) return true;
  const inner = unwrapped(field);
  if (!(inner instanceof z.ZodObject)) return false;
  const child: unknown = inner.shape[key];
  return child instanceof z.ZodType && shapeBelow(child, rest);
}

const alone = (path: string): Unread => ({ path, siblings: [] });

/** A variable always names a key inside a section; in a file an unknown section is one fault. */
function unknownIn(
  values: Readonly<Record<string, unknown>>,
  known: Known,
  isVariable: boolean,
): readonly Unread[] {
  return Object.entries(values).flatMap(([name, section]): readonly Unread[] => {
    if (!known.names.has(name) && !isVariable) return [alone(name)];
    if (name === "notify" && !isVariable) return unknownWithin(section, notifySection, name);
    if (!isMap(section)) return [];
    if (name === "agents") return unknownOfAgents(section, known);
    return Object.entries(section).flatMap(([key, value]): readonly Unread[] => {
      const path = `${name}.${key}`;
      if (path === "tracker.provider") return unknownProvider(values, value, known);
      const field = known.keys.get(path);
      return field === undefined ? [alone(path)] : unknownWithin(value, field, path);
    });
  });
}

/** Keys of named agents that neither every agent has nor its kind. */
function unknownOfAgents(
  section: Readonly<Record<string, unknown>>,
  { agents }: Known,
): readonly Unread[] {
  const ofEach = unknownWithin(section, agentsSection, "agents");
  const ofKinds = Object.entries(section).flatMap(([name, entry]): readonly Unread[] => {
    if (!isMap(entry)) return [];
    // The kind may stand in another layer.
    const row = agents.find(({ kind }) => kind === (entry["kind"] ?? name));
    if (row === undefined) return [];
    return unknownWithin(entry["provider"], row.section.schema, `agents.${name}.provider`);
  });
  return [...ofEach, ...ofKinds];
}

/** Keys that the chosen tracker does not read. */
function unknownProvider(
  { tracker }: Readonly<Record<string, unknown>>,
  provider: unknown,
  { trackers }: Known,
): readonly Unread[] {
  const kind = isMap(tracker) ? tracker["kind"] : undefined;
  const row = trackers.find((one) => one.kind === kind);
  if (row === undefined || !isMap(provider)) return [];
  const siblings = row.section.providerKeys;
  // One of another kind of tracker is refused by the check of its settings.
  const known = new Set(trackers.flatMap(({ section }) => section.providerKeys));
  return Object.keys(provider)
    .filter((key) => !known.has(key))
    .map((key) => ({ path: `tracker.provider.${key}`, siblings }));
}

/** Unknown keys of the maps within one value. */
function unknownWithin(value: unknown, field: z.ZodType, path: string): readonly Unread[] {
  const inner = unwrapped(field);
  if (inner instanceof z.ZodUnion) {
    const options = inner.options.filter((one): one is z.ZodObject => one instanceof z.ZodObject);
    return options.length === 1 && options[0] ? unknownWithin(value, options[0], path) : [];
  }
  if (Array.isArray(value)) {
    const element = inner instanceof z.ZodArray ? typeOf(inner.element) : null;
    if (element === null) return [];
    return value.flatMap((one, at) => unknownWithin(one, element, `${path}.${at}`));
  }
  if (!isMap(value)) return [];
  const shapeOf = shapeIn(inner);
  if (shapeOf === null) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    const child = shapeOf.child(key);
    const at = `${path}.${key}`;
    if (child === null) return [{ path: at, siblings: shapeOf.keys }];
    return unknownWithin(one, child, at);
  });
}

/** The types of a map's values; null where any key is read, and where the schema itself refuses unknown ones. */
function shapeIn(type: z.ZodType) {
  if (type instanceof z.ZodRecord) {
    const each = typeOf(type.valueType);
    return { keys: [], child: () => each };
  }
  if (!(type instanceof z.ZodObject) || type.def.catchall instanceof z.ZodNever) return null;
  const { shape } = type;
  return {
    keys: Object.keys(shape),
    child: (key: string) => (Object.hasOwn(shape, key) ? typeOf(shape[key]) : null),
  };
}

function typeOf(value: unknown): z.ZodType | null {
  return value instanceof z.ZodType ? value : null;
}

function unwrapped(field: z.ZodType): z.ZodType {
  const isWrapper =
    field instanceof z.ZodOptional ||
    field instanceof z.ZodNullable ||
    field instanceof z.ZodDefault ||
    field instanceof z.ZodPrefault;
  if (!isWrapper) return field;
  const inner = field.unwrap();
  return inner instanceof z.ZodType ? unwrapped(inner) : field;
}

/** Keys that begin with `x-` are reserved for the file's author. */
function isExtension(path: string): boolean {
  return path.split(".").some((part) => part.startsWith("x-"));
}

/** The known key that was meant; null: none is near. */
function nearKey({ path, siblings }: Unread, { keys, names }: Known): string | null {
  const last = path.slice(path.lastIndexOf(".") + 1);
  const near = nearest(last, siblings);
  if (near !== null) return path.slice(0, -last.length) + near;
  return (
    nearest(path, path.includes(".") ? keys.keys() : names) ??
    [...keys.keys()].find((one) => one.endsWith(`.${last}`)) ??
    null
  );
}
