import type { Document } from "yaml";
import { isAlias, isMap, isScalar, isSeq, type LineCounter, type Node, type Pair } from "yaml";

/** A position in a file, both 1-based. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A value as it is written. */
export interface WrittenValue {
  readonly place: Place;
  /** Of one line; null for a longer one, a map or a list. */
  readonly text: string | null;
  /** What YAML made of a plain word: a number, true, false; null for text. */
  readonly plain: number | boolean | bigint | null;
  /** The line of the file with the first line of a text that has several. */
  readonly firstLine: number;
  /** How far the lines of a text that has several are indented. */
  readonly indent: number;
}

interface Source {
  readonly document: Document;
  /** The text that was parsed. */
  readonly text: string;
  readonly lines: LineCounter;
  readonly file: string;
  /** How many lines of the file are before the text. */
  readonly linesBefore: number;
}

const maxText = 80;

/** Where the keys and values of a workflow file are, by dotted path; a key may itself contain dots. */
export class Places {
  readonly #source: Source | null;

  constructor(source: Source | null) {
    this.#source = source;
  }

  /** The position of a key, or of the nearest key above it; null without one. */
  keyAt(path: string): Place | null {
    const source = this.#source;
    if (source === null) return null;
    const found = nodesOf(source, path);
    const node = found.keys.at(-1);
    return node ? placeIn(source, node) : null;
  }

  /** The value at a path; null when the file has none there. */
  valueAt(path: string): WrittenValue | null {
    const source = this.#source;
    if (source === null) return null;
    const { value, rest } = nodesOf(source, path);
    if (rest !== "" || value === null) return null;
    const place = placeIn(source, value);
    if (place === null) return null;
    const [start = 0, end = 0] = value.range ?? [];
    const text = source.text.slice(start, end).trim();
    const isBlock =
      isScalar(value) && (value.type === "BLOCK_LITERAL" || value.type === "BLOCK_FOLDED");
    return {
      place,
      text: text.includes("\n") || isMap(value) || isSeq(value) ? null : text.slice(0, maxText),
      plain: isScalar(value) && value.type === "PLAIN" ? plainOf(value.value) : null,
      firstLine: place.line + (isBlock ? 1 : 0),
      indent: isBlock ? (/\n( *)[^ \n]/.exec(source.text.slice(start, end))?.[1]?.length ?? 0) : 0,
    };
  }
}

function plainOf(value: unknown): WrittenValue["plain"] {
  const isWord =
    typeof value === "number" || typeof value === "boolean" || typeof value === "bigint";
  return isWord ? value : null;
}

interface Found {
  /** The keys on the way, as far as they are in the file. */
  readonly keys: readonly Node[];
  readonly value: Node | null;
  /** The part of the path that the file does not have. */
  readonly rest: string;
}

function nodesOf({ document }: Source, path: string): Found {
  let value: Node | null = document.contents;
  let rest = path;
  const keys: Node[] = [];
  while (rest !== "") {
    const next = below(document, value, rest);
    if (next === null) break;
    keys.push(next.key);
    value = next.value;
    rest = next.rest;
  }
  return { keys, value, rest };
}

interface Below {
  readonly key: Node;
  readonly value: Node | null;
  readonly rest: string;
}

function below(document: Document, node: Node | null, path: string): Below | null {
  const value = isAlias(node) ? (node.resolve(document) ?? null) : node;
  if (isSeq(value)) {
    const [index = ""] = path.split(".", 1);
    const item = value.items[Number(index)];
    return isNode(item) ? { key: item, value: item, rest: path.slice(index.length + 1) } : null;
  }
  if (!isMap(value)) return null;
  const pairs = value.items.flatMap((pair: Pair) => {
    const { key } = pair;
    const name = isScalar(key) ? String(key.value) : null;
    if (name === null || !isNode(key)) return [];
    if (path !== name && !path.startsWith(`${name}.`)) return [];
    const child = isNode(pair.value) ? pair.value : null;
    return [{ key, value: child, rest: path.slice(name.length + 1), name }];
  });
  const [own] = pairs.toSorted((a, b) => b.name.length - a.name.length);
  return own ?? merged(document, value.items, path);
}

/** The key in a map that is merged into this one (`<<: *defaults`). */
function merged(document: Document, items: readonly Pair[], path: string): Below | null {
  for (const { key, value } of items) {
    if (!isScalar(key) || key.value !== "<<" || !isNode(value)) continue;
    for (const source of isSeq(value) ? value.items : [value]) {
      const found = isNode(source) ? below(document, source, path) : null;
      if (found !== null) return found;
    }
  }
  return null;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "range" in value;
}

function placeIn({ lines, file, linesBefore }: Source, node: Node): Place | null {
  const start = node.range?.[0];
  if (start === undefined) return null;
  const { line, col: column } = lines.linePos(start);
  return { file, line: line + linesBefore, column };
}

/** For a file without settings. */
export const noPlaces = new Places(null);
