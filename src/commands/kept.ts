import type { z } from "zod";
import type { KeptView } from "../contract/work.ts";
import type { CopyView } from "../contract/workspaces.ts";
import { type Cell, type Paint, plainLine, relative } from "./output.ts";

type Kept = Pick<z.output<typeof KeptView>, "key" | "path" | "summary"> & {
  readonly issue_identifier?: string;
  readonly next: readonly string[];
};

type Copy = z.output<typeof CopyView>;

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

/** Copies of the work of removed workspaces, newest first: what they hold, where they are, what to type. */
export function copyLines(all: readonly Copy[], paint: Paint): string[] {
  return all.flatMap((copy) => {
    const facts = `${size(copy.bytes)}, ${relative(copy.at, Date.now())}`;
    const head = `${paint.yellow("copy")}  ${plainLine(copy.key)}  ${plainLine(copy.summary)}`;
    return [
      head,
      ...[`${copy.path} (${facts})`, ...copy.next].map((line) => `      ${plainLine(line)}`),
    ];
  });
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `512 B`, `4.0 KiB`, `1.5 GiB`. */
export function size(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${(bytes / 1_024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
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
