import { hash } from "node:crypto";
import { encode, isList, type Json, type Ref, textInTurns, type Writing } from "./codec.ts";

/** Issues and sections of a configuration are written once per segment, and referred to by their number. */
interface Known {
  readonly number: number;
  /** 0 for the first object with this content; the scheduler may tell two equal objects apart. */
  readonly copy: number;
}

const inline = () => null;

/** True for what the codec writes once wherever it stands: an issue of the tracker. */
function isShared(value: object): boolean {
  return (
    Object.hasOwn(value, "identifier") &&
    Object.hasOwn(value, "title") &&
    Object.hasOwn(value, "blockedBy")
  );
}

/** The short name of a content: the same in every segment and on every machine. */
function nameOf(text: string): string {
  return hash("sha256", text, "base64url").slice(0, 12);
}

/** How states and decisions are written for comparison: an issue by the name of its content. */
export class Names {
  readonly #names = new WeakMap<object, string>();
  readonly #writing: Writing;

  constructor(redact: (text: string) => string) {
    const refer = (object: object) => (isShared(object) ? this.#nameOf(object) : null);
    this.#writing = { refer, redact };
  }

  /** `value` as text; equal values have equal texts, whichever objects they are made of. */
  textOf(value: unknown): string {
    return JSON.stringify(encode(value, this.#writing));
  }

  /** The same of a whole state, while other work has its turns. */
  textInTurns(state: object): Promise<string> {
    return textInTurns(state, this.#writing);
  }

  /** Names an object whose text was needed anyway. */
  note(object: object, name: string): void {
    this.#names.set(object, name);
  }

  #nameOf(object: object): string {
    const known = this.#names.get(object);
    if (known !== undefined) return known;
    const name = nameOf(JSON.stringify(encode(object, { ...this.#writing, refer: inline })));
    this.#names.set(object, name);
    return name;
  }
}

/** Numbers the shared objects of one segment while it is written. */
export class SharedWriter {
  readonly #known = new WeakMap<object, Known>();
  readonly #numbers = new Map<string, number>();
  readonly #redact: (text: string) => string;
  readonly #names: Names;
  #copies = 0;
  #fresh: string[] = [];
  #count = 0;

  /** `names` redacts alike, and learns the name of each object. */
  constructor(redact: (text: string) => string, names: Names) {
    this.#redact = redact;
    this.#names = names;
  }

  refer(value: object): Ref | null {
    const known = this.#known.get(value) ?? (isShared(value) ? this.#add(value) : null);
    return known && refOf(known);
  }

  /** Makes `value` an object that is written once, although no rule says so. */
  share(value: object): void {
    if (!this.#known.has(value)) this.#add(value);
  }

  /** The number of the content of `value`, and which copy of it this object is. */
  know(value: object): Known {
    return this.#known.get(value) ?? this.#add(value);
  }

  /** True if this very object was written before. */
  knows(value: object): boolean {
    return this.#known.has(value);
  }

  /** The contents added since the last call, and the number of the first. */
  takeNew(): { readonly first: number; readonly texts: readonly string[] } {
    const texts = this.#fresh;
    this.#fresh = [];
    return { first: this.#count - texts.length, texts };
  }

  #add(value: object): Known {
    const text = JSON.stringify(encode(value, { refer: inline, redact: this.#redact }));
    const name = nameOf(text);
    this.#names.note(value, name);
    const number = this.#numbers.get(name);
    const known = number === undefined ? this.#addContent(name, text) : this.#addCopy(number);
    this.#known.set(value, known);
    return known;
  }

  #addContent(name: string, text: string): Known {
    const number = this.#count;
    this.#count += 1;
    this.#numbers.set(name, number);
    this.#fresh.push(text);
    return { number, copy: 0 };
  }

  #addCopy(number: number): Known {
    this.#copies += 1;
    return { number, copy: this.#copies };
  }
}

function refOf({ number, copy }: Known): Ref {
  return copy === 0 ? number : [number, copy];
}

/** Resolves references while a segment is read: one object for each number and copy. */
export class SharedReader {
  readonly #load: (number: number) => unknown;
  readonly #objects = new Map<string, object>();
  readonly #numbers = new WeakMap<object, number>();

  /** `load` creates a new object with the content `number`. */
  constructor(load: (number: number) => unknown) {
    this.#load = load;
  }

  resolve(ref: Ref): object {
    const [number, copy] = isList(ref) ? [Number(ref[0]), Number(ref[1])] : [Number(ref), 0];
    const key = `${number} ${copy}`;
    const known = this.#objects.get(key);
    if (known !== undefined) return known;
    const made = this.#load(number);
    if (typeof made !== "object" || made === null) {
      throw new TypeError(`the record is damaged: content ${number} is missing`);
    }
    this.#objects.set(key, made);
    this.#numbers.set(made, number);
    return made;
  }

  numberOf(value: object): number {
    const number = this.#numbers.get(value);
    if (number === undefined) throw new TypeError("the record is damaged: an issue is not known");
    return number;
  }
}

/** Runs of a list that are in the previous one: the same objects, or new objects with the same content. */
const kept = 0;
const renewed = 1;
const added = 2;

/**
 * A list of issues as changes against the previous one, flat: `0, from, count` the same objects; `1, from, count, copy` new
 * objects with the same contents, numbered from `copy`; `2, count, refs…` issues that are new or changed.
 */
export function writeList(
  before: readonly object[],
  after: readonly object[],
  shared: SharedWriter,
): readonly Json[] {
  const places = placesOf(before);
  const runs: Run[] = [];
  for (const issue of after) {
    const next = runOf(issue, { before, places, shared });
    const last = runs.at(-1);
    if (last && continues(last, next)) join(last, next);
    else runs.push(next);
  }
  return runs.flatMap(({ kind, from, count, copy, refs }) => {
    if (kind === added) return [kind, refs.length, ...refs];
    return kind === kept ? [kind, from, count] : [kind, from, count, copy];
  });
}

/** Whether what `writeList` has written is all of `count` issues, none of them changed. */
export function isSameList(list: Json, count: number): boolean {
  if (!Array.isArray(list)) return list === 0;
  if (list.length === 0) return count === 0;
  // One run over all of them: what follows a run is another, of new issues for instance.
  const isOneRun = list.length === (list[0] === kept ? 3 : 4);
  return list[0] !== added && isOneRun && list[1] === 0 && list[2] === count;
}

interface Run {
  readonly kind: typeof kept | typeof renewed | typeof added;
  readonly from: number;
  count: number;
  readonly copy: number;
  readonly refs: Ref[];
}

interface Previous {
  readonly before: readonly object[];
  readonly places: ReadonlyMap<unknown, number>;
  readonly shared: SharedWriter;
}

function runOf(issue: object, { before, places, shared }: Previous): Run {
  const from = places.get(Reflect.get(issue, "id")) ?? -1;
  const old = before[from];
  const isKnown = shared.knows(issue);
  if (old === issue && isKnown) return { kind: kept, from, count: 1, copy: 0, refs: [] };
  const same = old && shared.know(old).number;
  const { number, copy } = shared.know(issue);
  if (!isKnown && number === same) return { kind: renewed, from, count: 1, copy, refs: [] };
  return { kind: added, from: 0, count: 1, copy: 0, refs: [refOf({ number, copy })] };
}

function continues(run: Run, next: Run): boolean {
  if (run.kind !== next.kind) return false;
  if (run.kind === added) return true;
  const follows = next.from === run.from + run.count;
  return follows && (run.kind === kept || next.copy === run.copy + run.count);
}

function join(run: Run, next: Run): void {
  run.count += 1;
  run.refs.push(...next.refs);
}

function placesOf(list: readonly object[]): ReadonlyMap<unknown, number> {
  return new Map(list.map((issue, at) => [Reflect.get(issue, "id"), at]));
}

/** The list that `writeList` wrote, from the same previous one. */
export function readList(
  before: readonly object[],
  changes: readonly Json[],
  shared: SharedReader,
): readonly object[] {
  const list: object[] = [];
  for (let at = 0; at < changes.length; ) {
    const kind = changes[at];
    if (kind === added) {
      const end = at + 2 + Number(changes[at + 1]);
      for (const ref of changes.slice(at + 2, end)) list.push(shared.resolve(ref));
      at = end;
      continue;
    }
    const [from, count, copy] = changes.slice(at + 1, at + 4).map(Number);
    const run = before.slice(from, (from ?? 0) + (count ?? 0));
    if (kind === kept) list.push(...run);
    else
      for (const [step, old] of run.entries()) list.push(copyOf(old, (copy ?? 0) + step, shared));
    at += kind === kept ? 3 : 4;
  }
  return list;
}

function copyOf(old: object, copy: number, shared: SharedReader): object {
  return shared.resolve([shared.numberOf(old), copy]);
}
