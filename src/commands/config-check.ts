import { existsSync, statSync } from "node:fs";
import { basename, relative, resolve } from "node:path";
import { checkProject } from "../core/check-project.ts";
import { findingText } from "../core/config/finding.ts";
import { migrated } from "../core/config/migrate.ts";
import { readWorkflow } from "../core/config/workflow.ts";
import { sections } from "../core/kinds.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { version } from "../core/package.ts";
import { type CommandContext, servedProject } from "./context.ts";
import { foldLines, plain, plainLine } from "./output.ts";
import { writeWhole } from "./whole-file.ts";

interface CheckRequest {
  readonly file: string | undefined;
  readonly allowUnknown: boolean;
  /** Neither this machine nor the tracker is asked. */
  readonly offline: boolean;
}

/** Everything that is wrong with a workflow file; changes nothing. */
export async function checkFile({ file, ...how }: CheckRequest, context: CommandContext) {
  const project = servedProject(file, context);
  const { findings: found, moves } = await checkProject({
    ...{ ...project, ...how, env: context.env, version: version() },
  });
  const findings = found.map(({ details: _, otherFile: __, place, ...one }) => ({
    ...one,
    file: place?.file ?? null,
    line: place?.line ?? null,
    column: place?.column ?? null,
  }));
  const faults = found.filter(({ severity }) => severity === "error");
  const warnings = found.filter(({ severity }) => severity === "warning").map(findingText);
  return {
    workflow_path: project.workflowPath,
    ok: faults.length === 0,
    faults: faults.length,
    warnings,
    findings,
    review: moves,
  };
}

type CheckReport = Awaited<ReturnType<typeof checkFile>>;

export function printCheck(report: CheckReport, context: CommandContext): void {
  const { workflow_path: path, findings, faults, warnings, review } = report;
  const print = (text: string) =>
    context.print(foldLines(plain(text).split("\n"), context.width, 4).join("\n"));
  for (const one of findings) {
    const shownPath = (file: string) => relative(context.where.cwd, file) || file;
    const where =
      one.line === null
        ? (one.source ?? basename(path))
        : `${shownPath(one.file ?? path)}:${one.line}:${one.column}`;
    const word = one.severity === "warning" ? "warning: " : "";
    print(`${where}: ${word}${one.message}`);
    if (one.next !== null) print(`    next: ${one.next}`);
  }
  for (const move of review) print(move);
  const count = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;
  print(
    faults + warnings.length === 0
      ? `${path}: nothing is wrong`
      : `${path}: ${count(faults, "fault")}, ${count(warnings.length, "warning")}`,
  );
}

interface MigrateRequest {
  readonly file: string;
  readonly out: string | undefined;
  readonly inPlace: boolean;
}

/** Writes the translated file to stdout, to another file, or over itself; only the last one changes the input. */
export async function migrateFile({ file, out, inPlace }: MigrateRequest, context: CommandContext) {
  if (out !== undefined && inPlace) {
    throw new SymphonyError("usage", "--out and --in-place exclude each other", {
      hint: `symphony config migrate ${file} --in-place`,
    });
  }
  const { workflowPath } = servedProject(file, context);
  const content = await readWorkflow(workflowPath);
  const agents = sections.agents.map(({ kind }) => kind);
  const { text, moved, left } = migrated(content, workflowPath, { known: sections, agents });
  const target = inPlace
    ? workflowPath
    : out === undefined
      ? null
      : resolve(context.where.cwd, out);
  if (target !== null && !inPlace && existsSync(target)) {
    throw new SymphonyError("usage", `${target} exists already, and nothing was written`, {
      hint: `choose another --out, or symphony config migrate ${file} --in-place`,
    });
  }
  if (target !== null) await writeWhole(target, text, { mode: statSync(workflowPath).mode });
  return { workflow_path: workflowPath, written: target, moved, left, text };
}

type Migrated = Awaited<ReturnType<typeof migrateFile>>;

export function printMigrated(result: Migrated, context: CommandContext): void {
  const { moved, left, text, written, workflow_path: path } = result;
  for (const { from, to, note } of moved) {
    context.note(`${from}  ->  ${to.join(", ")}${note === null ? "" : `  (${note})`}`);
  }
  for (const { from, note } of left) context.note(`${from}  is left as it is: ${note}`);
  if (moved.length + left.length === 0) context.note(`${path} has no key of another tool`);
  if (written === null) context.stdout.write(text);
  else context.note(plainLine(`${written} is written; next: symphony config check ${written}`));
}
