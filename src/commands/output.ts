import { noPaint, type Paint, type Style } from "./paint.ts";
import { fit, pad, plainLine, widthOf } from "./terminal.ts";

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Gives way when the terminal is too narrow. */
  readonly flexible?: boolean;
}

/** Text as it comes from the server, and how to set it off; it is made safe here. */
export type Cell = string | { readonly text: string; readonly style: Style };

export interface TableShape {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
  /** Columns of the terminal; null cuts nothing off. */
  readonly width: number | null;
  readonly paint?: Paint;
}

const gap = 2;
const narrowest = 8;

/** Lines of a table whose flexible columns shrink until it fits. */
export function tableLines({ columns, rows, width, paint = noPaint }: TableShape): string[] {
  const cells = rows.map((row) => row.map(readable));
  const natural = columns.map(({ title }, index) =>
    Math.max(widthOf(title), ...cells.map((row) => widthOf(row[index]?.text ?? ""))),
  );
  const widths = width === null ? natural : shrink(columns, natural, width);
  const lineOf = (row: readonly { text: string; style: Style | null }[]) =>
    row
      .map(({ text, style }, index) => {
        const cut = fit(text, widths[index] ?? 0);
        const space = index === columns.length - 1 && columns[index]?.align !== "right";
        const padded = space ? cut : pad(cut, widths[index] ?? 0, columns[index]?.align);
        return style === null ? padded : padded.replace(cut, () => paint[style](cut));
      })
      .join(" ".repeat(gap))
      .trimEnd();
  const head = columns.map(({ title }) => ({ text: title, style: "dim" as const }));
  return [lineOf(head), ...cells.map(lineOf)];
}

function readable(cell: Cell): { text: string; style: Style | null } {
  if (typeof cell === "string") return { text: plainLine(cell), style: null };
  return { text: plainLine(cell.text), style: cell.style };
}

function shrink(columns: readonly Column[], natural: readonly number[], width: number): number[] {
  const widths = [...natural];
  let excess = widths.reduce((sum, one) => sum + one + gap, -gap) - width;
  // The widest gives way first, so that two long columns end up sharing what there is.
  while (excess > 0) {
    const widest = columns.reduce(
      (best, { flexible }, index) =>
        flexible && (widths[index] ?? 0) > Math.max(widths[best] ?? 0, narrowest) ? index : best,
      -1,
    );
    if (widest === -1) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}

/** Lines of a list of facts: `name  value`, the names in one column. */
export function factLines(facts: readonly (readonly [string, Cell])[], paint = noPaint): string[] {
  const width = Math.max(0, ...facts.map(([name]) => widthOf(name)));
  return facts.map(([name, cell]) => {
    const { text, style } = readable(cell);
    const shown = style === null ? text : paint[style](text);
    return `${paint.dim(pad(name, width))}  ${shown}`.trimEnd();
  });
}
