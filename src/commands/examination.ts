import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { supportBundle } from "../core/doctor/bundle.ts";
import { examine } from "../core/doctor/doctor.ts";
import type { CheckResult, CheckStatus } from "../core/doctor/result.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { version } from "../core/package.ts";
import { tryListen } from "../server/listen.ts";
import { type CommandContext, placeOf } from "./context.ts";
import { serveLine } from "./data-dir.ts";
import { foldLines, type Paint, plainLine, type Style } from "./output.ts";
import { tokenFor } from "./serve.ts";

interface DoctorRequest {
  readonly workflow: string | undefined;
  readonly fix: boolean;
  readonly smoke: boolean;
  readonly bundle: string | undefined;
  readonly allowUnknown: boolean;
}

/** Makes every check; for a person each is printed as soon as it is made. */
export async function diagnose(request: DoctorRequest, context: CommandContext) {
  const place = placeOf(request.workflow, context);
  const paint = await context.paint();
  const examination = await examine({
    ...place,
    ...{ env: context.env, version: version() },
    ...{ fix: request.fix, smoke: request.smoke, allowUnknown: request.allowUnknown },
    probePort: (server) => tryListen({ ...server, token: tokenFor(server, context.env) }),
    async workers() {
      const { system, workers } = await context.client();
      const [{ version: server }, listed] = [await system.runtime(), await workers.list()];
      return { server, workers: listed.workers };
    },
    onResult(result) {
      if (!context.json)
        for (const line of resultLines(result, paint, context)) context.print(line);
    },
  });
  const { checks, fixed, server } = examination;
  const bundle = request.bundle === undefined ? null : resolve(context.where.cwd, request.bundle);
  if (bundle !== null) writeBundle(bundle, await supportBundle(examination, version()));
  const count = (status: CheckStatus) => checks.filter((one) => one.status === status).length;
  return {
    ok: count("fail") === 0,
    ...{ workflow_path: place.workflowPath, data_dir: place.dataDir, version: version() },
    counts: {
      ok: count("ok"),
      warn: count("warn"),
      fail: count("fail"),
      not_asked: count("not_asked"),
    },
    ...{ checks, fixed, bundle, server },
  };
}

type Report = Awaited<ReturnType<typeof diagnose>>;

/** It holds texts of this machine, so it is for its owner alone. */
function writeBundle(file: string, bundle: unknown): void {
  try {
    writeFileSync(file, `${JSON.stringify(bundle, null, 2)}\n`, { mode: 0o600, flag: "wx" });
  } catch (cause) {
    throw new SymphonyError("usage", `the support file was not written: ${messageOf(cause)}`, {
      cause,
      hint: "choose a file that does not exist yet: symphony doctor --bundle FILE",
    });
  }
}

const words: Readonly<Record<CheckStatus, readonly [string, Style]>> = {
  ok: ["ok", "green"],
  warn: ["warn", "yellow"],
  fail: ["FAIL", "red"],
  not_asked: ["not asked", "dim"],
};
const statusWidth = 9;
const nameWidth = 8;
const indent = statusWidth + nameWidth + 4;

function resultLines(
  { name, status, code, message, next }: CheckResult,
  paint: Paint,
  { width }: CommandContext,
): readonly string[] {
  const [word, style] = words[status];
  const head = `${paint[style](word)}${" ".repeat(statusWidth - word.length)}`;
  const label = name.replace("_", " ").padEnd(nameWidth);
  const why = code === null || status !== "fail" ? message : `${message} (${code})`;
  const lines = foldLines([`${head}  ${label}  ${plainLine(why)}`], width, indent);
  if (next === null) return lines;
  const command = `${" ".repeat(indent)}next: ${paint.cyan(plainLine(next))}`;
  return [...lines, ...foldLines([command], width, indent)];
}

export async function printSummary(
  { counts, fixed, bundle, checks, server, workflow_path, data_dir }: Report,
  context: CommandContext,
) {
  const { ok, warn, fail, not_asked: notAsked } = counts;
  for (const one of fixed) context.print(plainLine(`fixed: ${one}`));
  const parts = [`${ok} ok`, `${warn} warn`, `${fail} fail`, `${notAsked} not asked`];
  context.print(`\n${parts.join(", ")}`);
  if (bundle !== null) context.note(`Written to ${bundle}: read it before you send it`);
  const workflow = checks.find(({ name }) => name === "workflow");
  const serve = serveLine({ workflowPath: workflow_path, dataDir: data_dir }, context.where.cwd);
  if (fail === 0) context.note(`next: ${server === null ? serve : "symphony state"}`);
  else if (workflow?.code === "missing_workflow_file") context.note("next: symphony init");
}
