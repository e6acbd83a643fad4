import type { z } from "zod";
import type { KeptView } from "../contract/kept.ts";
import type { Cell } from "./output.ts";
import type { Paint } from "./paint.ts";
import { plainLine } from "./terminal.ts";

type Kept = Pick<z.output<typeof KeptView>, "key" | "path" | "summary"> & {
  readonly issue_identifier?: string;
  readonly next: readonly string[];
};

const shownAtMost = 10;

/** The newest workspaces that stay after their issue has ended, of `total`, and what lists the others. */
export function newestKeptLines(all: readonly Kept[], total: number, paint: Paint): string[] {
  const lines = keptLines(all.slice(0, shownAtMost), paint);
  const more = total - Math.min(all.length, shownAtMost);
  return more > 0
    ? [...lines, paint.dim(`and ${more} more kept: symphony workspaces list`)]
    : lines;
}

/** Workspaces that stay after their issue has ended: what they hold, where they are, what to type. */
export function keptLines(all: readonly Kept[], paint: Paint): string[] {
  return all.flatMap((kept) => {
    const name = kept.issue_identifier ?? kept.key;
    const head = `${paint.yellow("kept")}  ${plainLine(name)}  ${plainLine(kept.summary)}`;
    const rest = [kept.path, ...kept.next].map((line) => `      ${plainLine(line)}`);
    return [head, ...rest];
  });
}

/** What an issue keeps in addition to its own workspace, as facts of the issue. */
export function keptElsewhereFacts(all: readonly Kept[]): [string, Cell][] {
  return all.flatMap((kept): [string, Cell][] => [
    ["kept elsewhere", { text: `${kept.path}: ${kept.summary}, nowhere else`, style: "yellow" }],
    ["next", kept.next.join("  or  ")],
  ]);
}

/** The same as facts of one issue or attempt. */
export function keptFacts(kept: Kept | null): [string, Cell][] {
  if (!kept) return [];
  return [
    ["kept", { text: `${kept.summary}, nowhere else`, style: "yellow" }],
    ["next", kept.next.join("  or  ")],
  ];
}
