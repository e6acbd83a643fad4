import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import type { Lane } from "../web/lanes.ts";
import { foldLines, type Paint } from "./output.ts";
import { type Cell, rowText, visible } from "./screen.ts";
import type { SnapshotView } from "./snapshot.ts";
import type { Act } from "./watch-acts.ts";
import type { Link } from "./watch-feed.ts";
import type { View } from "./watch-model.ts";

/** Everything that a frame shows. */
export interface Scene {
  readonly view: View;
  readonly snapshot: SnapshotView;
  /** As the filter leaves them. */
  readonly lanes: readonly Lane[];
  readonly link: Link;
  readonly opening: Opening | null;
  readonly now: number;
  actOf(issue: string): Act | null;
}

/** What is known of the issue that is shown in full. */
export interface Opening {
  readonly issue: string;
  readonly detail: Reply<Api["issues"]["detail"]> | null;
  /** Why it could not be read. */
  readonly fault: string | null;
  /** The oldest first. */
  readonly timeline: readonly TimelineLine[];
  readonly diff: Diff | null;
}

export interface TimelineLine {
  readonly seq: number;
  readonly at: string;
  readonly type: string;
  readonly message: string;
}

export interface Diff {
  readonly lines: readonly string[];
  /** How much it is, or why it could not be read. */
  readonly summary: string;
}

export function line(text: string, columns: number, style?: Cell["style"]): Cell {
  return { at: 0, width: columns, text, ...(style !== undefined && { style }) };
}

export function textRow({ text, at, width, style }: Cell, paint: Paint): string {
  return rowText([{ at, width, text, ...(style !== undefined && { style }) }], paint);
}

/** Text in at most `most` lines. */
export function folded(text: string, width: number, most: number): readonly string[] {
  const lines = foldLines([visible(text.slice(0, width * most * 2))], width, 0);
  return lines.length <= most
    ? lines
    : [...lines.slice(0, most - 1), `${lines[most - 1] ?? ""} …`.slice(0, width * 2)];
}

/** An action on the issue: under way, or refused and why. */
export function actRows(act: Act | null, columns: number, paint: Paint): readonly string[] {
  if (act === null) return [];
  const isRefused = act.kind === "refused";
  const text = isRefused ? `refused: ${act.text}` : act.text;
  const style = isRefused ? "red" : "yellow";
  const row = (one: string) => textRow({ at: 4, width: columns - 4, text: one, style }, paint);
  return folded(text, columns - 4, 3).map(row);
}
