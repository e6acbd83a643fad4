import type { CommandContext } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { type Cell, printPage } from "./output.ts";
import { row, subcommand } from "./table.ts";

const noRules = "There are no rules: notify in WORKFLOW.md names them (docs/notices.md)";

const listRow = subcommand({
  name: "list",
  summary: "list the rules of notify, with what became of the last notice of each",
  examples: ["symphony notify list", "symphony notify list --json"],
  call: async (_, context) => (await context.client()).notices.list(),
  async print({ rules }, context) {
    if (rules.length === 0) return context.note(noRules);
    await printPage(
      {
        columns: [
          { title: "RULE" },
          { title: "TO" },
          { title: "WHEN", flexible: true, drop: 2 },
          { title: "WAITING", align: "right", drop: 1 },
          { title: "LAST", flexible: true },
        ],
        rows: rules.map(({ name, to, when, waiting, quiet_until, fault, last }): Cell[] => [
          name,
          to,
          when.join(", "),
          quiet_until === null ? String(waiting) : `${waiting} (quiet)`,
          fault === null ? lastCell(last) : { text: fault, style: "red" },
        ]),
      },
      context,
    );
    for (const { fault } of rules) noteSecret(fault, context);
    context.note("Next: symphony notify test sends one through each rule");
  },
});

interface Last {
  readonly outcome: string;
  readonly at: string;
  readonly reason: string;
}

function lastCell(last: Last | null): Cell {
  if (last === null) return "none yet";
  const text = `${last.outcome} ${last.at.slice(0, 16).replace("T", " ")}: ${last.reason}`;
  return last.outcome === "sent" ? text : { text, style: "red" };
}

function noteSecret(fault: string | null, context: CommandContext): void {
  const name = /^([A-Za-z_]\w*) (?:is not set$|must be |is not an )/.exec(fault ?? "")?.[1];
  if (name !== undefined) context.note(`Next: symphony secrets add ${name}`);
}

const testRow = subcommand({
  name: "test",
  summary: "send a test notice through each rule now, and say what came back",
  examples: ["symphony notify test", "symphony notify test --to team"],
  options: [{ name: "to", value: "name", summary: "only this rule (default: all of them)" }],
  call: async ({ to }, context) => {
    const body = to === undefined ? {} : { name: to };
    return (await context.client()).notices.test({ body });
  },
  async print({ results }, context) {
    if (results.length === 0) return context.note(noRules);
    await printPage(
      {
        columns: [
          { title: "RULE" },
          { title: "TO" },
          { title: "OUTCOME" },
          { title: "ANSWER", flexible: true },
        ],
        rows: results.map(({ name, to, outcome, reason, duration_ms }): Cell[] => [
          name,
          to,
          outcome === "sent" ? outcome : { text: outcome, style: "red" },
          `${reason} (${duration_ms} ms)`,
        ]),
      },
      context,
    );
    for (const { category, reason } of results) {
      if (category === "not_configured") noteSecret(reason, context);
    }
  },
  exitCode: ({ results }) =>
    results.every(({ outcome }) => outcome === "sent") ? exitCodes.done : exitCodes.failed,
});

/** Messages to people: the rules of `notify`. */
export const notifyCommand = row({
  examples: ["symphony notify list", "symphony notify test"],
  commands: [listRow, testRow],
});
