import { shellQuoted } from "../core/agent/shell-quoted.ts";
import type { Core } from "../core/core.ts";
import { messageOf } from "../core/model/errors.ts";
import { workInWords } from "../core/model/work.ts";
import type { Kept } from "../core/workspace/kept.ts";
import { findProject } from "./discover.ts";
import { exitCodes } from "./exit-codes.ts";
import { jsonText } from "./json-text.ts";
import { keptLines } from "./kept-lines.ts";
import { paintFor } from "./paint.ts";
import type { CommandIo } from "./serve-options.ts";

/** How the attempts of a `--once` run ended. */
export interface OnceOutcome {
  exitCode(): number;
  /** Has the workspaces looked at in which they worked: whatever is left there, no server will tell of it later. */
  look(): Promise<void>;
}

export function onceOutcome({ bus, workspaces, log }: Core): OnceOutcome {
  let failed = 0;
  let blocked = 0;
  const worked = new Map<string, string>();
  bus.subscribe({ filter: { types: ["attempt.ended", "issue.blocked"] } }, (event) => {
    const { issueId, issueIdentifier } = event;
    if (issueId !== null && issueIdentifier !== null) worked.set(issueId, issueIdentifier);
    if (event.type === "issue.blocked") blocked++;
    else if (event.data["outcome"] !== "succeeded") failed++;
  });
  return {
    exitCode() {
      if (blocked > 0) return exitCodes.needsPerson;
      return failed > 0 ? exitCodes.failed : exitCodes.done;
    },
    async look() {
      bus.flush();
      for (const [id, identifier] of worked) {
        await workspaces.kept.report({ id, identifier }, null).catch((error: unknown) => {
          log.warn("workspace not looked at", {
            issue_identifier: identifier,
            reason: messageOf(error),
          });
        });
      }
    },
  };
}

/** Says where the work is that stays when `--once` has ended: by then no server is there to ask. */
export async function printKept(
  all: readonly Kept[],
  dataDir: string,
  io: CommandIo,
): Promise<void> {
  const isFound =
    findProject({ dataDir: undefined, env: io.env, cwd: io.cwd })?.dataDir === dataDir;
  const where = isFound ? "" : ` --data-dir ${shellQuoted(dataDir)}`;
  const newest = all.toSorted((a, b) => b.since - a.since);
  const shown = newest.map((kept) => {
    const { issueIdentifier: issue_identifier, key, path, work } = kept;
    const [show] = kept.next;
    return { issue_identifier, key, path, summary: workInWords(work), next: [`${show}${where}`] };
  });
  if (io.json) io.stdout.write(`${jsonText({ kept: shown })}\n`);
  else {
    const lines = keptLines(shown, shown.length, await paintFor(io.colour));
    if (lines.length > 0) io.stdout.write(`${lines.join("\n")}\n`);
  }
}
