import type { z } from "zod";
import type { OverlapView } from "../contract/values.ts";
import { plainLine, printPage } from "./output.ts";
import { row } from "./table.ts";

type Overlap = z.output<typeof OverlapView>;
type Lines = Overlap["files"][number]["first"];

const limit = 500;

/** Lists the live branches that change the same files. */
export const conflictsCommand = row({
  examples: [
    "symphony conflicts",
    "symphony conflicts --json | jq '.conflicts[] | select(.conflicts)'",
  ],
  call: async (_, context) => (await context.client()).git.conflicts({ query: { limit } }),
  async print({ conflicts, total }, context) {
    if (conflicts.length === 0) return context.note("No two live branches change the same files");
    const columns = [
      { title: "KIND", drop: 3 },
      { title: "FIRST" },
      { title: "LINES", drop: 1 },
      { title: "SECOND" },
      { title: "LINES", drop: 2 },
      { title: "FILE", flexible: true },
    ] as const;
    const rows = conflicts.flatMap(({ first, second, files }) =>
      files.map((file) => [
        { text: file.kind, style: file.kind === "conflict" ? ("red" as const) : ("dim" as const) },
        first.issue_identifier,
        linesText(file.first),
        second.issue_identifier,
        linesText(file.second),
        file.path,
      ]),
    );
    await printPage({ columns, rows }, context);
    if (total > conflicts.length) context.note(`and ${total - conflicts.length} more pairs`);
  },
});

/** One line for each pair that cannot be merged. */
export function conflictLines(all: readonly Overlap[]): string[] {
  return all.map(({ first, second, files }) => {
    const paths = files.map(({ path }) => path).join(", ");
    const names = `${second.issue_identifier} conflicts with ${first.issue_identifier}`;
    return plainLine(`${names} in ${paths}: symphony conflicts`);
  });
}

/** The same for the branch of one issue, and where more is said. */
export function conflictText({
  conflicts,
  issue_identifier: issue,
}: {
  readonly conflicts: readonly Overlap[];
  readonly issue_identifier: string;
}): readonly string[] {
  return conflicts
    .filter((pair) => pair.conflicts)
    .map(({ first, second, files }) => {
      const other = first.issue_identifier === issue ? second : first;
      const paths = files.filter(({ kind }) => kind === "conflict").map(({ path }) => path);
      const more = paths.length > 5 ? ` and ${paths.length - 5} more` : "";
      const where = `${paths.slice(0, 5).join(", ")}${more}`;
      return plainLine(
        `git cannot merge it with ${other.issue_identifier} in ${where}: symphony conflicts`,
      );
    });
}

/** `3`, `3-5`, `3+` for lines that are inserted after the third. */
function linesText(lines: Lines): string {
  const shown = lines.map(({ start, count }) => {
    if (count === 0) return `${start}+`;
    return count === 1 ? String(start) : `${start}-${start + count - 1}`;
  });
  return shown.length > 3 ? `${shown.slice(0, 3).join(",")},…` : shown.join(",") || "-";
}
