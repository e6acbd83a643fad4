import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { tableLines } from "./output.ts";
import type { SnapshotView } from "./state-view.ts";
import { relative, since } from "./times.ts";

const rowsAtMost = 1_000;

export function declareInbox(command: Command, run: Run): void {
  examples(
    command,
    "symphony inbox",
    "symphony inbox --json | jq -r '.items[].issue_identifier'",
  ).action(() => run((context) => inbox(context)));
}

interface Item {
  readonly issue_identifier: string;
  readonly title: string;
  /** `approval`, `question`, `held` or `failed`. */
  readonly kind: string;
  readonly prompt: string;
  readonly options: readonly string[];
  readonly since: string;
  /** When the agent gives up waiting, if it lives. */
  readonly until: string | null;
  readonly next: string;
}

/** Everything that needs a person: what agents wait for first, then what was stopped and stays so. */
export async function inbox(context: CommandContext): Promise<number> {
  const client = await context.client();
  const snapshot = await client.system.state({ query: { limit: rowsAtMost } });
  const items = itemsOf(snapshot);
  if (context.json) context.printJson({ items, total: items.length });
  else if (items.length > 0) context.print((await linesOf(items, context)).join("\n"));
  if (items.length === 0) context.note("Nothing needs you");
  return exitCodes.done;
}

function itemsOf({ blocked, held, failed }: SnapshotView): readonly Item[] {
  const asked = blocked.map(({ issue_identifier, title, needs }): Item => {
    const { kind, prompt, options, since: start, until } = needs;
    const answer = kind === "approval" ? "approve" : '"ANSWER"';
    const next = `symphony respond ${issue_identifier} ${answer}`;
    return { issue_identifier, title, kind, prompt, options, since: start, until, next };
  });
  const stopped = [...held, ...failed].map((row): Item => {
    const { issue_identifier, title, reason, error, status, since: start } = row;
    const prompt = error === null ? reason : `${reason}: ${error}`;
    const next = `symphony transition ${issue_identifier} queued`;
    const base = { issue_identifier, title, prompt, options: [], since: start, until: null };
    return { ...base, kind: status, next };
  });
  return [...asked, ...stopped];
}

async function linesOf(items: readonly Item[], context: CommandContext): Promise<string[]> {
  const nowMs = Date.now();
  return tableLines({
    width: context.width,
    paint: await context.paint(),
    columns: [
      { title: "ISSUE" },
      { title: "NEEDS" },
      { title: "FOR", align: "right" },
      { title: "UNTIL" },
      { title: "WHAT", flexible: true },
      { title: "ANSWER WITH" },
    ],
    rows: items.map((item) => [
      item.issue_identifier,
      item.kind,
      since(item.since, nowMs),
      item.until === null ? "-" : relative(item.until, nowMs),
      item.options.length > 0 ? `${item.prompt} (${item.options.join(", ")})` : item.prompt,
      item.next,
    ]),
  });
}
