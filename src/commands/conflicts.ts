import type { z } from "zod";
import type { OverlapView } from "../contract/values.ts";
import { firstOf } from "../web/words.ts";
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

const namedAtMost = 5;
const linesAtMost = 3;

/** A line for each file in which branches cannot be merged, that of the most issues first: many branches may change one file. */
export function conflictLines(all: readonly Overlap[]): string[] {
  const groups = [...Map.groupBy(all, filesOf)].map(([files, pairs]) => ({
    files,
    names: new Set(pairs.flatMap((pair) => [pair.first, pair.second]).map(nameOf)),
  }));
  groups.sort((one, other) => other.names.size - one.names.size);
  const lines = groups.slice(0, linesAtMost).map(({ files, names }) => {
    const [first = "", second, ...more] = names;
    const inOrder = [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const who =
      more.length > 0
        ? `${firstOf(inOrder, namedAtMost)} conflict`
        : `${second} conflicts with ${first}`;
    return plainLine(`${who} in ${files}: symphony conflicts`);
  });
  const left = groups.length - lines.length;
  return left > 0 ? [...lines, `and conflicts in ${left} more files: symphony conflicts`] : lines;
}

/** The same for the branch of one issue, and where more is said. */
export function conflictText({
  conflicts,
  issue_identifier: issue,
}: {
  readonly conflicts: readonly Overlap[];
  readonly issue_identifier: string;
}): readonly string[] {
  const open = conflicts.filter((pair) => pair.conflicts);
  return [...Map.groupBy(open, filesOf)].map(([files, pairs]) => {
    const others = pairs.map(({ first, second }) =>
      nameOf(first.issue_identifier === issue ? second : first),
    );
    const names = firstOf(others, namedAtMost);
    return plainLine(`git cannot merge it with ${names} in ${files}: symphony conflicts`);
  });
}

function nameOf({ issue_identifier: name }: Overlap["first"]): string {
  return name;
}

function filesOf({ files }: Overlap): string {
  const paths = files.filter(({ kind }) => kind === "conflict").map(({ path }) => path);
  return firstOf(paths, namedAtMost);
}

/** `3`, `3-5`, `3+` for lines that are inserted after the third. */
function linesText(lines: Lines): string {
  const shown = lines.map(({ start, count }) => {
    if (count === 0) return `${start}+`;
    return count === 1 ? String(start) : `${start}-${start + count - 1}`;
  });
  return shown.length > 3 ? `${shown.slice(0, 3).join(",")},…` : shown.join(",") || "-";
}
