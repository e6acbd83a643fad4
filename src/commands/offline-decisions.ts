import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { systemClock } from "../core/clock.ts";
import { load, readOverlay } from "../core/config/service.ts";
import { readWorkflow } from "../core/config/workflow.ts";
import { type Backtest, backtest } from "../core/journal/backtest.ts";
import { RecordFile } from "../core/journal/file.ts";
import { firstDifference, type Repro, replayPart, reproFormat } from "../core/journal/repro.ts";
import { sections } from "../core/kinds.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { parseJson } from "../core/text/text.ts";
import { type CommandContext, servedProject } from "./context.ts";
import { filesFor } from "./data-dir.ts";

// Recorded decisions, made again without a server.

/** What is read of the file before it is replayed. */
const Head = z.object({
  format: z.literal(reproFormat),
  version: z.string(),
  issue: z.object({ id: z.string(), identifier: z.string() }),
  parts: z.array(z.looseObject({ decisions: z.array(z.unknown()) })),
});

/** Decides again what the file holds. Throws `not_found`, and `invalid_request` for what is no such file. */
export function replayFile(path: string) {
  return replayed(readRepro(path));
}

function readRepro(path: string): Repro {
  const hint = "symphony repro ISSUE --out FILE makes one";
  if (!existsSync(path)) throw new SymphonyError("not_found", `there is no file ${path}`, { hint });
  const parsed = Head.safeParse(parseJson(readFileSync(path, "utf8")));
  if (!parsed.success) {
    throw new SymphonyError("invalid_request", `${path} is not a file of symphony repro`, { hint });
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

export type ReplayResult = ReturnType<typeof replayed>;

const weekMs = 7 * 24 * 60 * 60 * 1_000;

/** Makes the record's decisions again under another workflow file. Rejects as `load`, and with `not_recorded`. */
export async function tried(workflow: string, since: string | undefined, context: CommandContext) {
  const dataDir = await filesFor("symphony backtest", context);
  const record = join(dataDir, "record.db");
  if (!existsSync(record)) {
    throw new SymphonyError("not_recorded", "there is no record of decisions here", {
      hint: "symphony backtest --data-dir DIR, on the machine of the server",
    });
  }
  const { workflowPath } = servedProject(workflow, context);
  const { effective } = await load(await readWorkflow(workflowPath), {
    ...{ sections, workflowPath, env: context.env, flags: {}, clock: systemClock },
    overlay: await readOverlay(dataDir),
  });
  const file = RecordFile.open(record);
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

export type BacktestResult = ReturnType<typeof document>;
