/** So many rows are copied as a whole: fewer do not pay for a second map. */
const copiedWhole = 32;

let copies = 0;

/** How many rows were copied by this process, to make the next state from the last one. */
export function rowsCopied(): number {
  return copies;
}

/**
 * Rows by id that never change, in the order in which their ids came. The next map shares most of this one: a row that
 * replaces another of the same id goes into a small second map, which is merged once it has grown to the square root of the
 * first. So an event of one live attempt among a thousand copies some sixty rows instead of all.
 */
export class Rows<T> implements ReadonlyMap<string, T> {
  readonly #first: ReadonlyMap<string, T>;
  /** Newer rows of some ids of the first map. */
  readonly #newer: ReadonlyMap<string, T>;

  private constructor(first: ReadonlyMap<string, T>, newer: ReadonlyMap<string, T>) {
    this.#first = first;
    this.#newer = newer;
  }

  static of<T>(entries: Iterable<readonly [string, T]> = []): Rows<T> {
    return new Rows(new Map(entries), new Map());
  }

  /** The map in which `row` belongs to `id`, which keeps its place if it has one. */
  with(id: string, row: T): Rows<T> {
    const most = Math.sqrt(this.#first.size);
    if (!this.#first.has(id) || this.#first.size <= copiedWhole || this.#newer.size >= most) {
      copies += this.#first.size;
      return Rows.of(new Map(this).set(id, row));
    }
    copies += this.#newer.size;
    return new Rows(this.#first, new Map(this.#newer).set(id, row));
  }

  /** The map without `id`; the same when it has none. */
  without(id: string): Rows<T> {
    if (!this.#first.has(id)) return this;
    copies += this.#first.size;
    const rest = new Map(this);
    rest.delete(id);
    return Rows.of(rest);
  }

  get size(): number {
    return this.#first.size;
  }

  get(id: string): T | undefined {
    return (this.#newer.size > 0 ? this.#newer.get(id) : undefined) ?? this.#first.get(id);
  }

  has(id: string): boolean {
    return this.#first.has(id);
  }

  *entries(): MapIterator<[string, T]> {
    for (const [id, row] of this.#first) yield [id, this.#newer.get(id) ?? row];
  }

  keys(): MapIterator<string> {
    return this.#first.keys();
  }

  *values(): MapIterator<T> {
    for (const [, row] of this.entries()) yield row;
  }

  [Symbol.iterator](): MapIterator<[string, T]> {
    return this.entries();
  }

  forEach(visit: (row: T, id: string, all: ReadonlyMap<string, T>) => void): void {
    for (const [id, row] of this) visit(row, id, this);
  }
}
