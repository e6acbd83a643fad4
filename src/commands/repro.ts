import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { CommandContext } from "./context.ts";
import { onServerIssue } from "./failure.ts";
import { issueArgument, row } from "./table.ts";
import { sinceTime, whenForms } from "./when.ts";

/** One file that replays the decisions about an issue; it goes to stdout, or to `--out`. */
export const reproCommand = row({
  examples: [
    "symphony repro ENG-123 --out ENG-123.json",
    "symphony repro ENG-123 --since 7d > ENG-123.json",
  ],
  arguments: [issueArgument],
  options: [
    { name: "out", value: "file", summary: "write it to this file", completion: "files" },
    {
      name: "since",
      value: "when",
      summary: `only decisions since then: ${whenForms} (default: 24h)`,
      read: sinceTime,
    },
  ],
  call: ({ issue: id, since }, context) =>
    onServerIssue(id, context, (client) =>
      client.issues.repro({ params: { id }, query: since === undefined ? {} : { since } }),
    ),
  print(repro, context, { out }) {
    if (out === undefined) context.printJson(repro);
    else save(repro, out, context);
  },
});

function save(repro: object, out: string, { where, note }: CommandContext): void {
  const file = resolve(where.cwd, out);
  // It holds texts of issues and agents.
  writeFileSync(file, `${JSON.stringify(repro)}\n`, { mode: 0o600 });
  note(`Written to ${file}; symphony replay ${out} decides again`);
}
