import { systemClock } from "../core/clock.ts";
import { readOverlay } from "../core/config/overlay-document.ts";
import { openConfig } from "../core/config/service.ts";
import { planOf } from "../core/plan.ts";
import { createRedactor } from "../core/redact.ts";
import { openSecrets } from "../core/secrets/secrets.ts";
import { isFull } from "../core/store/data-dir.ts";
import { readIssueRecords } from "../core/store/documents.ts";
import { checkTracker, createTracker, type TrackerEdges } from "../core/tracker/in-use.ts";
import { exitCodes } from "./exit-codes.ts";
import { jsonText } from "./json-text.ts";
import { tableLines } from "./output.ts";
import { paintFor } from "./paint.ts";
import type { CommandIo } from "./serve-options.ts";

/** Prints what a first poll would start and why the rest would not; starts and changes nothing. */
export async function dryRun(
  { workflowPath, dataDir }: { workflowPath: string; dataDir: string },
  io: CommandIo,
): Promise<number> {
  const { env } = io;
  const redactor = createRedactor();
  const secrets = await openSecrets({ dir: dataDir, env, clock: systemClock, redactor });
  const lookup = (name: string) => secrets.lookup(name) ?? env[name];
  const edges: TrackerEdges = { dataDir, clock: systemClock, lookup };
  const service = await openConfig({
    workflowPath,
    env: io.env,
    flags: {},
    clock: systemClock,
    overlay: await readOverlay(dataDir),
    validate: (config) => checkTracker(config.tracker, edges),
  });
  const { config } = service.current;
  const tracker = createTracker(config.tracker, edges);
  try {
    const issues = await tracker.fetchIssuesByStates(config.tracker.activeStates);
    const records = await readIssueRecords(dataDir);
    const wall = systemClock.wall();
    const full = await isFull(dataDir);
    const storage = full ? { reason: "no space left on device", waiting: 0, sinceWall: 0 } : null;
    const rows = planOf(issues, config, { records, wall, storage });
    await print(rows, io);
  } finally {
    tracker.close();
    await service.close();
  }
  return exitCodes.done;
}

async function print(rows: ReturnType<typeof planOf>, io: CommandIo): Promise<void> {
  if (io.json) {
    const plan = rows.map(({ issue, runs, why }) => ({
      issue_identifier: issue.identifier,
      title: issue.title,
      state: issue.state,
      priority: issue.priority,
      would_run: runs,
      why,
    }));
    io.stdout.write(`${jsonText({ plan })}\n`);
    return;
  }
  if (rows.length === 0) {
    io.stdout.write("No issue is in an active state: nothing would run.\n");
    return;
  }
  const paint = await paintFor(io.colour);
  const lines = tableLines({
    columns: [
      { title: "ISSUE" },
      { title: "WOULD" },
      { title: "STATE" },
      { title: "TITLE", flexible: true },
      { title: "WHY NOT", flexible: true },
    ],
    rows: rows.map(({ issue, runs, why }) => [
      issue.identifier,
      runs ? { text: "run", style: "green" } : { text: "wait", style: "dim" },
      issue.state,
      issue.title,
      why ?? "",
    ]),
    width: io.stdout.isTTY ? io.stdout.columns : null,
    paint,
  });
  io.stdout.write(`${lines.join("\n")}\n`);
}
