import { faults, type Mutant } from "./mutant.ts";
import { ofTheScheduler } from "./scheduler.ts";

const kept = "test/core/workspace/kept.test.ts";
const removal = "test/core/workspace/removal.test.ts";
const effects = "test/core/effects.test.ts";

/** Every fault. have none: they do not apply (docs/requirements.md). */
export const mutants: readonly Mutant[] = [
  ...ofTheScheduler,
  ...faults(
    { file: "src/core/followers.ts", tests: [kept] },
    [
      "O-36: start-up clean-up removes nothing",
      "const over = clearAll(issues, deps);",
      "const over = clearAll([], deps);",
    ],
    [
      "O-36: a failed clean-up read stops the start",
      'log.warn("start-up cleanup failed", { outcome: "skipped", reason: messageOf(error) });',
      "throw error;",
    ],
  ),
  ...faults(
    { file: "src/core/workspace/kept.ts", tests: [kept] },
    [
      "O-36: clean-up uses today's root instead of the recorded path",
      "for (const path of paths) await one(path, path);",
      "for (const path of paths) if (path === workspaces.pathOf(issue.identifier)) await one(path, path);",
    ],
    [
      "a clean-up takes the directory of an agent at work",
      "      if (isInUse(path)) return;\n",
      "",
    ],
  ),
  ...faults({ file: "src/core/start.ts", tests: [effects], only: "R-2" }, [
    "O-36: clean-up reads active issues",
    "terminalStates: tracker.terminalStates,",
    "terminalStates: tracker.activeStates,",
  ]),
  ...faults({ file: "src/core/start.ts", tests: ["test/core/early-change.test.ts"] }, [
    "H-1: the server tells that it started in 1970",
    "startedWall: clock.wall(),",
    "startedWall: 0,",
  ]),
  ...faults({ file: "src/core/effects.ts", tests: [effects], only: "T-1" }, [
    "T-1: the scheduler moves an issue in the tracker",
    "runAttempt: (order, reports) => attempts",
    'runAttempt: (order, reports) => void trackers.tracker.workflow.move(order.issue, "Open") ?? attempts',
  ]),
  ...faults({ file: "src/core/followers.ts", tests: [effects], only: "R-2" }, [
    "R-2: the first poll does not wait for the clean-up",
    "    await Promise.race([over, patience]);\n",
    "",
  ]),
  ...faults({ file: "src/core/workspace/workspaces.ts", tests: [effects], only: "R-2" }, [
    "R-2: a workspace that survives is made anew",
    'if (found === "directory" && (await this.#isFinished(path, issue.id))) {',
    'if (found === "directory" && path === "") {',
  ]),
  ...faults(
    { file: "src/core/events/bus.ts", tests: ["test/server/listen.test.ts"], only: "H-14" },
    [
      "H-14: a follower that throws stops the events of all",
      "      if (!subscriber.complained) this.#complain(error);\n",
      "      throw error;\n",
    ],
  ),
  ...faults(
    { file: "src/commands/context.ts", tests: ["test/commands/serve.test.ts"], only: "W-1" },
    [
      "W-1: the named file is not the one that is served",
      'resolve(where.cwd, workflow ?? "WORKFLOW.md")',
      'resolve(where.cwd, "WORKFLOW.md")',
    ],
  ),
  ...faults(
    { file: "src/commands/daemon.ts", tests: ["test/commands/serve.test.ts"], only: "C-3: a port" },
    ["C-3: a port may be negative", "/^\\d+$/.test(text)", "/^-?\\d+$/.test(text)"],
  ),
  ...faults(
    { file: "src/core/start.ts", tests: ["test/commands/serve.test.ts"], only: "C-3: level" },
    ["C-3: level danger needs no acknowledgement", "        checkLevel(next, env);\n", ""],
  ),
  ...faults(
    { file: "docs/trackers/linear.md", tests: ["test/requirements.test.ts"], only: "T-12" },
    ["T-12: a profile leaves an error out", "| `tracker_pagination` |", "| |"],
  ),
  ...faults(
    { file: "docs/trackers/local.md", tests: ["test/requirements.test.ts"], only: "T-12" },
    ["T-12: a profile has no section about paging", "## Scope and paging", "## Scope"],
  ),
  ...faults(
    { file: "src/core/workspace/workspaces.ts", tests: [removal] },
    [
      "O-31: what changes between the last look and the deletion is deleted",
      "await deleteWhole(path, lookedAt)",
      "await deleteWhole(path, null)",
    ],
    [
      "a removal does not ask whose the root is",
      "    await this.#options.own?.(dirname(path));\n",
      "",
    ],
    [
      "a server that stops takes half a look for a whole one",
      "if (!this.#leaving.aborted) return work;",
      "if (!this.#leaving.aborted || work) return work;",
    ],
    ["R-5: a marker that is left over hides work", " && (await readBaseline(path)) === null;", ";"],
  ),
  ...faults(
    { file: "src/core/workspace/workspaces.ts", tests: [kept] },
    [
      "O-22: a workspace that holds work is removed",
      "const work = force ? [] : await this.#workAt(path, found);",
      "const work = force || path ? [] : await this.#workAt(path, found);",
    ],
    [
      "O-22: what before_remove leaves behind is removed",
      "if (late.length > 0) return",
      "if (late.length < 0) return",
    ],
    [
      "another issue's workspace is removed",
      "if (baseline !== null && baseline.issueId !== issue.id) return null;",
      "",
    ],
  ),
  ...faults(
    { file: "src/core/workspace/workspaces.ts", tests: ["test/core/workspace/set-aside.test.ts"] },
    [
      "another issue's work in the way is replaced",
      "    if (work.length === 0) {\n      const isForeign",
      "    if (work.length >= 0) {\n      const isForeign",
    ],
    [
      "an agent's directory is taken for another issue",
      "if (this.#options.isAtWork?.(path)) {",
      "if (this.#options.isAtWork?.(path) === null) {",
    ],
  ),
];
