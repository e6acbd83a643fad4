import { resolve } from "node:path";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./failure.ts";
import type { BacktestResult, ReplayResult } from "./offline-decisions.ts";
import { plainLine, printPage } from "./output.ts";
import { row } from "./table.ts";
import { sinceTime, whenForms } from "./when.ts";

/** Decides again what a file of `symphony repro` holds. Exit code 0: all as recorded; 1: a decision differs. */
export const replayCommand = row({
  examples: ["symphony replay ENG-123.json", "symphony replay ENG-123.json --json | jq .first"],
  arguments: [{ name: "file", summary: "a file of symphony repro", completion: "files" }],
  async call({ file }, context) {
    const { replayFile } = await import("./offline-decisions.ts");
    return replayFile(resolve(context.where.cwd, file));
  },
  print: printReplay,
  exitCode: ({ same }) => (same ? exitCodes.done : exitCodes.failed),
});

async function printReplay(result: ReplayResult, context: CommandContext): Promise<void> {
  const { first, same, decisions, version, issue_identifier: identifier } = result;
  const paint = await context.paint();
  // Reports of agents are many lines, and decide little.
  const rows = decisions
    .filter(({ input }) => input !== "attempt.reported")
    .map(({ number, at, input, decided }) => [String(number), at, input, decided.join("; ")]);
  const columns = [
    { title: "DECISION", align: "right" as const },
    { title: "AT" },
    { title: "INPUT" },
    { title: "DECIDED", flexible: true },
  ];
  await printPage({ columns, rows }, context);
  if (same) {
    context.print(
      paint.green(`${decisions.length} decisions about ${identifier}: as recorded by ${version}`),
    );
    return;
  }
  const { recorded, now } = first ?? { recorded: null, now: null };
  const at = recorded ?? now;
  context.print(
    [
      paint.red(`decision ${at?.number} at ${at?.at} (${at?.input}) differs`),
      `  recorded: ${plainLine(recorded?.decided.join("; ") ?? "nothing about the issue")}`,
      `  now:      ${plainLine(now?.decided.join("; ") ?? "nothing about the issue")}`,
    ].join("\n"),
  );
}

/** Makes the recorded decisions again under another workflow file; the record is read where it is. */
export const backtestCommand = row({
  examples: [
    "symphony backtest --workflow NEW.md --since 7d",
    "symphony backtest --workflow NEW.md --json | jq .differences",
  ],
  options: [
    {
      name: "workflow",
      value: "file",
      summary: "the workflow file to try",
      completion: "files",
      required: true,
    },
    {
      name: "since",
      value: "when",
      summary: `from then on: ${whenForms} (default: 7d)`,
      read: sinceTime,
    },
  ],
  async call({ workflow, since }, context) {
    const { tried } = await import("./offline-decisions.ts");
    return tried(workflow, since, context);
  },
  print: printBacktest,
});

async function printBacktest(result: BacktestResult, context: CommandContext): Promise<void> {
  const paint = await context.paint();
  const { first, recorded, estimate, unknown_states: unknown } = result;
  const { from, to, decisions } = result;
  context.print(`${decisions} decisions from ${from} to ${to}`);
  if (unknown.length > 0) {
    context.note(`Not in the record: issues in ${unknown.join(", ")}, which was no active state`);
  }
  if (first === null) {
    context.print(paint.green("none of them differs"));
    return;
  }
  context.print(
    [
      "",
      `first difference (exact): decision ${first.number} at ${first.at}, ${first.input}`,
      `  recorded: ${plainLine(first.recorded.join("; ") || "nothing more")}`,
      `  now:      ${plainLine(first.now.join("; ") || "nothing more")}`,
      "",
      paint.dim(
        "what follows is an estimate; * marks an attempt that never ran (median of others)",
      ),
    ].join("\n"),
  );
  const columns = [
    { title: "ISSUE" },
    { title: "DECISION" },
    { title: "RECORDED" },
    { title: "ESTIMATED" },
  ];
  const rows = result.differences.map((one) => [
    one.issue_identifier,
    one.decision + (one.estimated ? " *" : ""),
    one.recorded_at ?? "-",
    one.now_at ?? "-",
  ]);
  await printPage({ columns, rows }, context);
  const total = ({ starts, completed, tokens }: typeof recorded) =>
    `${starts} started, ${completed} completed, ${tokens} tokens`;
  context.print(["", `recorded:  ${total(recorded)}`, `estimated: ${total(estimate)}`].join("\n"));
}
