import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { systemClock } from "../core/clock.ts";
import { load, readOverlay } from "../core/config/service.ts";
import { type Backtest, backtest } from "../core/journal/backtest.ts";
import { RecordFile } from "../core/journal/file.ts";
import { firstDifference, type Repro, replayPart, reproFormat } from "../core/journal/repro.ts";
import { sections } from "../core/kinds.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { parseJson } from "../core/text/text.ts";
import { type CommandContext, findDataDir } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { plainLine, printPage } from "./output.ts";
import { row } from "./table.ts";
import { sinceTime, whenForms } from "./when.ts";

/** What is read of the file before it is replayed. */
const Head = z.object({
  format: z.literal(reproFormat),
  version: z.string(),
  issue: z.object({ id: z.string(), identifier: z.string() }),
  parts: z.array(z.looseObject({ decisions: z.array(z.unknown()) })),
});

/** Decides again what a file of `symphony repro` holds. Exit code 0: all as recorded; 1: a decision differs. */
export const replayCommand = row({
  examples: ["symphony replay ENG-123.json", "symphony replay ENG-123.json --json | jq .first"],
  arguments: [{ name: "file", summary: "a file of symphony repro", completion: "files" }],
  call: async ({ file }, context) => replayed(readRepro(resolve(context.where.cwd, file))),
  print: printReplay,
  exitCode: ({ same }) => (same ? exitCodes.done : exitCodes.failed),
});

function readRepro(path: string): Repro {
  if (!existsSync(path)) throw new SymphonyError("not_found", `there is no file ${path}`);
  const parsed = Head.safeParse(parseJson(readFileSync(path, "utf8")));
  if (!parsed.success) {
    throw new SymphonyError("invalid_request", `${path} is not a file of symphony repro`, {
      hint: "symphony repro ISSUE --out FILE makes one",
    });
  }
  // Its parts were written by `reproOf`; what cannot be read of them is said by the replay.
  return parsed.data as unknown as Repro;
}

function replayed({ issue, version, parts }: Repro) {
  const decisions: ReturnType<typeof shown>[] = [];
  try {
    for (const part of parts) {
      const now = replayPart(part, issue.id);
      decisions.push(...part.decisions.map((one) => shown(one, part.version)));
      const first = firstDifference(now, part.decisions);
      if (first === null) continue;
      const [then, next] = [first.recorded, first.now].map(
        (one) => one && shown(one, part.version),
      );
      const notThen = first.recorded !== null && first.recorded.mark === null;
      return {
        ...{ issue_identifier: issue.identifier, version, same: false, decisions },
        first: { recorded: notThen ? null : (then ?? null), now: next ?? null },
      };
    }
  } catch (error) {
    const message = `the file cannot be replayed by this version: ${messageOf(error)}`;
    throw new SymphonyError("invalid_request", message, { cause: error });
  }
  return { issue_identifier: issue.identifier, version, same: true, decisions, first: null };
}

function shown(
  { number, wall, input, words }: Repro["parts"][number]["decisions"][number],
  version: string,
) {
  return { number, at: new Date(wall).toISOString(), input, decided: words, version };
}

type ReplayResult = ReturnType<typeof replayed>;

async function printReplay(result: ReplayResult, context: CommandContext): Promise<void> {
  const { first, same, decisions, version, issue_identifier: identifier } = result;
  const paint = await context.paint();
  // What agents report is many lines, and decides little.
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

const weekMs = 7 * 24 * 60 * 60 * 1_000;

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
  call: ({ workflow, since }, context) =>
    tried(resolve(context.where.cwd, workflow), since, context),
  print: printBacktest,
});

async function tried(path: string, since: string | undefined, context: CommandContext) {
  const dataDir = findDataDir(context.where);
  const record = dataDir === null ? null : join(dataDir, "record.db");
  if (dataDir === null || record === null || !existsSync(record)) {
    throw new SymphonyError("not_recorded", "there is no record of decisions here", {
      hint: "symphony backtest --data-dir DIR, on the machine of the server",
    });
  }
  if (!existsSync(path)) {
    throw new SymphonyError("missing_workflow_file", `workflow file ${path} does not exist`);
  }
  const { effective } = await load(readFileSync(path), {
    ...{ sections, workflowPath: path, env: context.env, flags: {}, clock: systemClock },
    overlay: await readOverlay(dataDir),
  });
  const file = new RecordFile(record);
  try {
    const from = since === undefined ? Date.now() - weekMs : Date.parse(since);
    return document(backtest(file, effective.config, from));
  } finally {
    file.close();
  }
}

const time = (wall: number) => new Date(wall).toISOString();
const timeOrNull = (wall: number | null) => (wall === null ? null : time(wall));

function document({ first, recorded, estimated, ...result }: Backtest) {
  return {
    from: time(result.fromWall),
    to: time(result.toWall),
    decisions: result.decisions,
    first: first && {
      ...{ number: first.number, at: time(first.wall), input: first.input },
      ...{ recorded: first.recorded, now: first.now },
    },
    differences: result.differences.map(({ issue, what, recordedWall, nowWall, ...one }) => ({
      ...{ issue_identifier: issue, decision: what, estimated: one.estimated },
      ...{ recorded_at: timeOrNull(recordedWall), now_at: timeOrNull(nowWall) },
    })),
    recorded,
    estimate: {
      ...{ starts: estimated.starts, completed: estimated.completed, tokens: estimated.tokens },
      estimated_attempts: estimated.estimatedAttempts,
    },
    unknown_states: result.unknownStates,
  };
}

type BacktestResult = ReturnType<typeof document>;

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
