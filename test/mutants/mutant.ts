/** A fault of one line that a test must notice. */
export interface Mutant {
  /** What goes wrong with it, with the code of the requirement it breaks where there is one. */
  readonly name: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
  /** The test files it belongs to. */
  readonly tests: readonly string[];
  /** The beginning of the names of the tests that it belongs to; all of the files', if left out. */
  readonly only?: string;
}

interface Place extends Pick<Mutant, "file" | "tests"> {
  readonly only?: string;
}

type Fault = readonly [name: string, from: string, to: string];

/** Faults of one file, which the same tests must notice: what goes wrong, what stands there, what comes in its place. */
export function faults(place: Place, ...each: readonly Fault[]): readonly Mutant[] {
  return each.map(([name, from, to]) => ({ ...place, name, from, to }));
}
