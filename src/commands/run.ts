import { type IssueStatus, statuses } from "../core/model/issue.ts";
import { exitCodes, requireWord } from "./failure.ts";
import { row } from "./table.ts";
import { parseDuration } from "./when.ts";

/** One issue to its end. */
export const runCommand = row({
  examples: [
    "symphony run ENG-123                   one issue of the tracker",
    "symphony run task.md                   an issue from a file",
    "symphony run - --timeout 30m < task.md the same from stdin, as in CI",
    "symphony run ENG-123 --until running --json",
  ],
  arguments: [
    {
      name: "issue",
      summary: "an issue of the tracker, a Markdown file with one, or - for stdin",
      completion: "issues",
    },
  ],
  options: [
    {
      name: "workflow",
      value: "file",
      summary: "the workflow file (default: ./WORKFLOW.md)",
      completion: "files",
    },
    {
      name: "until",
      value: "status",
      summary: `end at ${statuses.join(", ")}; several with commas (default: completed,review)`,
      read: statusesOf,
      completion: statuses,
    },
    {
      name: "timeout",
      value: "duration",
      summary: "stop the agent after 90s, 30m, 2h, 7d; 0 for never (default: 0)",
      read: parseDuration,
    },
    {
      name: "i-understand",
      summary: "accept agent.level danger: agents may do everything this user may",
    },
  ],
  async call({ issue, workflow, until, timeout, iUnderstand }, context) {
    const { runOne } = await import("./run-one.ts");
    const wanted = until ?? ["completed", "review"];
    return runOne({ issue, workflow, wanted, timeoutMs: timeout ?? 0, iUnderstand }, context);
  },
  async print(result, context) {
    const { printRun } = await import("./run-outcome.ts");
    await printRun(result, context);
  },
  exitCode: ({ outcome }) => codes[outcome],
});

const codes = {
  reached: exitCodes.done,
  failed: exitCodes.failed,
  needs_person: exitCodes.needsPerson,
  timed_out: exitCodes.timedOut,
  interrupted: exitCodes.interrupted,
} as const;

function statusesOf(text: string, flag: string): readonly IssueStatus[] {
  return text
    .split(",")
    .map((one) =>
      requireWord(one.trim().toLowerCase(), statuses, `${flag}: "${one}" is not a status`),
    );
}
