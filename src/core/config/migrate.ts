import {
  type Document,
  isMap,
  isNode,
  isScalar,
  type Pair,
  parseDocument,
  type YAMLMap,
} from "yaml";
import { agentNamed, type ForeignKey, type Translation, translationOf } from "./foreign-keys.ts";
import { isKnownKey, type Known, strangers } from "./unknown-keys.ts";
import { fencesIn, parseWorkflow } from "./workflow.ts";

/** One key of another tool, and what became of it. */
export interface Move {
  readonly from: string;
  /** What it became, such as `tracker.on_success: Review`; empty for a key that is left. */
  readonly to: readonly string[];
  /** Why it is left, or what to look at. */
  readonly note: string | null;
}

export interface Migration {
  /** The whole file. */
  readonly text: string;
  readonly moved: readonly Move[];
  /** Keys that a person has to translate; they are as they were. */
  readonly left: readonly Move[];
}

interface Target {
  readonly known: Known;
  /** The kinds of agent of this version. */
  readonly agents: readonly string[];
}

/**
 * Translates the keys of other tools in a workflow file; comments stay with their keys, and the prompt is not changed. Throws as
 * `parseWorkflow` does.
 */
export function migrated(content: Uint8Array, path: string, target: Target): Migration {
  const { config } = parseWorkflow(content, path);
  const { before, settings, after, lineEnd } = fencesIn(content, path);
  const document = parseDocument(settings.replaceAll("\r\n", "\n"), { stringKeys: true });
  const moves: readonly Move[] = [
    ...strangers(config, target.known).flatMap(({ path: from, foreign }) =>
      foreign === null ? [] : [moved(document, { from, foreign }, target)],
    ),
    ...agentValue(document, target),
  ];
  const isMoved = ({ to }: Move) => to.length > 0;
  const flowCollectionPadding = /[[{] /.test(settings);
  const lines = document.toString({ lineWidth: 0, flowCollectionPadding });
  const text = moves.some(isMoved) ? lines.replaceAll("\n", lineEnd) : settings;
  return {
    text: `${before}${text}${after}`,
    moved: moves.filter(isMoved),
    left: moves.filter((one) => !isMoved(one)),
  };
}

interface Found {
  readonly from: string;
  readonly foreign: ForeignKey;
}

function moved(document: Document, { from, foreign }: Found, { known, agents }: Target): Move {
  const isKnown = (key: string) => isKnownKey(key, known);
  const result = translationOf(foreign, valueAt(document, from), { isKnown, kinds: agents });
  const taken =
    result === null ? undefined : Object.keys(result).find((one) => hasPath(document, one));
  if (result === null || taken !== undefined) {
    const note =
      taken === undefined ? noteOf(foreign, foreign.to.find(isKnown)) : `${taken} is set already`;
    return { from, to: [], note };
  }
  replace(document, from, result);
  return { from, to: linesOf(result), note: foreign.note ?? null };
}

function noteOf({ note }: ForeignKey, key: string | undefined): string {
  if (key === undefined) return note ?? "nothing here does the same";
  return note === undefined ? `write it as ${key}` : `write it as ${key} (${note})`;
}

/** `agent.kind: claude-code`: a key of symphony with a value of another tool. */
function agentValue(document: Document, target: Target): readonly Move[] {
  const value = valueAt(document, "agent.kind");
  if (typeof value !== "string" || target.agents.includes(value)) return [];
  const from = `agent.kind: ${value}`;
  const way = agentNamed(value, target.agents);
  const others = Object.keys(way ?? {}).filter((key) => key !== "agent.kind");
  const taken = others.find((key) => hasPath(document, key));
  if (way === null || taken !== undefined) {
    const note =
      taken === undefined
        ? `agent.kind is one of ${target.agents.join(", ")}`
        : `${taken} is set already`;
    return [{ from, to: [], note }];
  }
  for (const [key, one] of Object.entries(way)) document.setIn(key.split("."), one);
  return [{ from, to: linesOf(way), note: null }];
}

function linesOf(result: Translation): readonly string[] {
  return Object.entries(result).map(
    ([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
}

function valueAt(document: Document, path: string): unknown {
  const node: unknown = document.getIn(path.split("."), true);
  return isNode(node) ? node.toJS(document) : node;
}

function hasPath(document: Document, path: string): boolean {
  return document.hasIn(path.split("."));
}

/** Removes the pair at `from` and sets the keys of `result`; comments of the pair go with it. */
function replace(document: Document, from: string, result: Translation): void {
  const found = pairAt(document, from);
  if (found === null) return;
  const { above, parent, pair } = found;
  const [only, ...others] = Object.entries(result);
  const [key = "", value] = only ?? [];
  const isBeside = others.length === 0 && key.split(".").slice(0, -1).join(".") === above.join(".");
  if (isBeside) {
    rename(document, pair, { name: key.split(".").at(-1) ?? key, value });
    return;
  }
  parent.items.splice(parent.items.indexOf(pair), 1);
  for (const [path, one] of Object.entries(result)) {
    document.setIn(path.split("."), nodeOf(document, pair, one));
  }
  const first = key === "" ? null : (pairAt(document, key)?.pair ?? null);
  if (first !== null) takeComments(first, pair);
  // A comment above the first key of a map belongs to the map, which goes with its last key.
  if (parent.items.length === 0 && isNode(first?.key)) {
    first.key.commentBefore ??= parent.commentBefore ?? null;
  }
  prune(document, above);
}

function rename(
  document: Document,
  pair: Pair,
  { name, value }: { readonly name: string; readonly value: unknown },
): void {
  const old = { ...pair } as Pair;
  const key = document.createNode(name);
  if (isNode(pair.key) && pair.key.spaceBefore) key.spaceBefore = true;
  pair.key = key;
  pair.value = nodeOf(document, old, value);
  takeComments(pair, old);
}

/** The value as it was written, when it is the same. */
function nodeOf(document: Document, { value }: Pair, wanted: unknown): unknown {
  const isSame = isNode(value) && JSON.stringify(value.toJS(document)) === JSON.stringify(wanted);
  return isSame ? value : document.createNode(wanted);
}

function takeComments(to: Pair, from: Pair): void {
  if (isNode(to.key) && isNode(from.key)) {
    to.key.commentBefore ??= from.key.commentBefore ?? null;
  }
  if (isNode(to.value) && isNode(from.value)) {
    to.value.comment ??= from.value.comment ?? null;
    to.value.commentBefore ??= from.value.commentBefore ?? null;
  }
}

/** The pair of a key, and the map that holds it, which is at `above`. */
function pairAt(document: Document, path: string) {
  const above = path.split(".");
  const name = above.pop() ?? "";
  const parent: unknown = above.length === 0 ? document.contents : document.getIn(above, true);
  if (!isMap(parent)) return null;
  const pair = parent.items.find(({ key }) => isScalar(key) && key.value === name);
  return pair === undefined ? null : { above, parent, pair };
}

/** Removes maps that are empty now, from the inside out. */
function prune(document: Document, path: readonly string[]): void {
  if (path.length === 0) return;
  const map: unknown = document.getIn(path, true);
  if (!isMap(map) || (map as YAMLMap).items.length > 0) return;
  document.deleteIn(path);
  prune(document, path.slice(0, -1));
}
