/** A fault of one line that a test must notice. */
export interface Mutant {
  /** What goes wrong with it, with the code of the requirement it breaks. */
  readonly name: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
  /** The test files it belongs to. */
  readonly tests: readonly string[];
}

export const mutants: readonly Mutant[] = [
  {
    name: "O-36: start-up clean-up removes nothing",
    file: "src/core/followers.ts",
    from: "const over = clearAll(issues, deps);",
    to: "const over = clearAll([], deps);",
    tests: ["test/core/start.test.ts"],
  },
  {
    name: "O-36: a failed clean-up read stops the start",
    file: "src/core/followers.ts",
    from: "if (signal.aborted) return { over: Promise.resolve() };",
    to: "throw error;",
    tests: ["test/core/start.test.ts"],
  },
  {
    name: "H-8: the server tells that it started in 1970",
    file: "src/core/start.ts",
    from: "startedWall: clock.wall(),",
    to: "startedWall: 0,",
    tests: ["test/server/system.test.ts"],
  },
];
