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

/** How long the end of the server waits for workspaces that were not examined yet. */
const lastLookMs = 2_000;

/** How the attempts of a `--once` run ended. */
export interface OnceOutcome {
  exitCode(): number;
  /** Has the workspaces looked at in which they worked: whatever is left there, no server will tell of it later. */
  look(): Promise<void>;
  /** The same for a server that has stopped, of those that it had no time for. */
  lookLast(): Promise<void>;
}

interface Worked {
  readonly id: string;
  readonly identifier: string;
  readonly path: string | null;
}

/** `stop` is aborted when the server is to end before its runs have. */
export function onceOutcome(
  { bus, workspaces, history, log }: Core,
  stop: AbortSignal,
): OnceOutcome {
  const { kept } = workspaces;
  let failed = 0;
  let blocked = 0;
  const unseen = new Map<string, Worked>();
  bus.subscribe({ filter: { types: ["attempt.ended", "issue.blocked"] } }, (event) => {
    const { issueId: id, issueIdentifier: identifier } = event;
    if (id !== null && identifier !== null) {
      const path = history.latestAttempt(id)?.workspacePath ?? null;
      unseen.set(id, { id, identifier, path });
    }
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
      for (const one of [...unseen.values()]) {
        if (stop.aborted) return;
        try {
          await kept.report(one, null);
          unseen.delete(one.id);
        } catch (error) {
          if (stop.aborted) return;
          const reason = messageOf(error);
          log.warn("workspace not looked at", { issue_identifier: one.identifier, reason });
        }
      }
    },
    async lookLast() {
      const enough = AbortSignal.timeout(lastLookMs);
      for (const one of unseen.values()) {
        if (one.path !== null) await kept.lookLast(one, one.path, enough);
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
    const lines = keptLines(shown, await paintFor(io.colour));
    if (lines.length > 0) io.stdout.write(`${lines.join("\n")}\n`);
  }
}
