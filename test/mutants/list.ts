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

const reconciling = {
  file: "src/core/orchestrator/reconcile.ts",
  tests: ["test/core/orchestrator/reconcile.test.ts", "test/core/orchestrator/closed.test.ts"],
} as const;
const cleaning = { file: "src/core/followers.ts", tests: ["test/core/workspace/kept.test.ts"] };

export const mutants: readonly Mutant[] = [
  {
    name: "O-36: start-up clean-up removes nothing",
    ...cleaning,
    from: "const over = clearAll(issues, deps);",
    to: "const over = clearAll([], deps);",
  },
  {
    name: "O-36: a failed clean-up read stops the start",
    ...cleaning,
    from: 'log.warn("start-up cleanup failed", { outcome: "skipped", reason: messageOf(error) });',
    to: "throw error;",
  },
  {
    name: "O-36: clean-up uses today's root instead of the recorded path",
    file: "src/core/workspace/kept.ts",
    from: "for (const path of paths) await one(path, path);",
    to: "for (const path of paths) if (path === workspaces.pathOf(issue.identifier)) await one(path, path);",
    tests: ["test/core/workspace/kept.test.ts"],
  },
  {
    name: "O-38: a blocked issue that becomes inactive stays blocked",
    ...reconciling,
    from: "return release(state, issue, `issue is",
    to: "return decided(claimed(state, { ...entry, issue })) ?? release(state, issue, `issue is",
  },
  {
    name: "O-38: a blocked issue that is still active is not refreshed",
    ...reconciling,
    from: `    case "routable":
      return decided(claimed(state, { ...entry, issue }));`,
    to: `    case "routable":
      return decided(state);`,
  },
  {
    name: "O-33: a running issue that becomes undispatchable is not stopped",
    ...reconciling,
    from: 'if (standing === "routable")\n    return',
    to: 'if (standing !== "terminal")\n    return',
  },
  {
    name: "O-31: a running issue that is closed is not stopped",
    ...reconciling,
    from: 'if (standing === "routable")\n    return',
    to: 'if (standing === "routable" || standing === "terminal")\n    return',
  },
  {
    name: "O-29: held issues are not read again",
    ...reconciling,
    from: '      ...issues.of("held").keys(),\n',
    to: "",
  },
  {
    name: "O-30: a silent attempt is never stalled",
    ...reconciling,
    from: "if (limitMs <= 0) return decided(state);",
    to: "return decided(state);",
  },
  {
    name: "O-16: an attempt began in 1970",
    file: "src/core/orchestrator/start.ts",
    from: "startedWall: context.wall,",
    to: "startedWall: 0,",
    tests: ["test/core/orchestrator/reconcile.test.ts", "test/core/orchestrator/poll.test.ts"],
  },
  {
    name: "H-1: the server tells that it started in 1970",
    file: "src/core/start.ts",
    from: "startedWall: clock.wall(),",
    to: "startedWall: 0,",
    tests: ["test/core/early-change.test.ts"],
  },
];
