/** A fault in one file that a test must detect. */
export interface Mutant {
  /** What the fault does; begins with the code of the requirement that it breaks, if there is one. */
  readonly name: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** The test files that must detect it. */
  readonly tests: readonly string[];
  /** Prefix of the names of the tests that must detect it; default: all tests of the files. */
  readonly only?: string;
}

interface Place extends Pick<Mutant, "file" | "tests"> {
  readonly only?: string;
}

type Fault = readonly [name: string, from: string, to: string];

/** Faults of one file that the same tests must detect; each is name, original text, replacement. */
export function faults(place: Place, ...each: readonly Fault[]): readonly Mutant[] {
  return each.map(([name, from, to]) => ({ ...place, name, from, to }));
}
