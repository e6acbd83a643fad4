export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Shrinks when the terminal is too narrow. */
  readonly flexible?: boolean;
  /** Left out when the terminal is too narrow for what the rest needs: 1 first, then 2, … Without it the column stays. */
  readonly drop?: number;
}

/** Text as received from the server, and its style; it is made safe here. */
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
/** Columns are left out rather than have a flexible one narrower than this. */
const comfortable = 16;

interface Sized {
  readonly column: Column;
  /** Its place in each row. */
  readonly index: number;
  width: number;
}

/** Lines of a table that fit: the least important columns are left out, and flexible ones shrink. */
export function tableLines({ columns, rows, width, paint = noPaint }: TableShape): string[] {
  const cells = rows.map((row) => row.map(readable));
  const natural = columns.map((column, index) => {
    const widths = cells.map((row) => widthOf(row[index]?.text ?? ""));
    return { column, index, width: Math.max(widthOf(column.title), ...widths) };
  });
  const shown = width === null ? natural : fitted(natural, width);
  const lineOf = (row: readonly { text: string; style: Style | null }[]) =>
    shown
      .map(({ column, index, width: own }, place) => {
        const { text = "", style = null } = row[index] ?? {};
        const cut = fit(text, own);
        const isLast = place === shown.length - 1 && column.align !== "right";
        const padded = isLast ? cut : pad(cut, own, column.align);
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

function fitted(natural: readonly Sized[], width: number): readonly Sized[] {
  const needs = ({ column, width: own }: Sized) =>
    column.flexible ? Math.min(own, comfortable) : own;
  let shown = [...natural];
  while (excessOf(shown.map(needs), width) > 0) {
    const least = shown.reduce<Sized | null>((best, one) => {
      const order = one.column.drop ?? Number.POSITIVE_INFINITY;
      return order < (best?.column.drop ?? Number.POSITIVE_INFINITY) ? one : best;
    }, null);
    if (least === null) break;
    shown = shown.filter((one) => one !== least);
  }
  shrink(shown, width, { least: narrowest, which: ({ column }) => column.flexible === true });
  // Names that are longer than the terminal is wide are cut as a last resort.
  shrink(shown, width, { least: 4, which: () => true });
  return shown;
}

function excessOf(widths: readonly number[], width: number): number {
  return widths.reduce((sum, one) => sum + one + gap, -gap) - width;
}

interface Shrinking {
  readonly least: number;
  which(one: Sized): boolean;
}

/** The widest column shrinks first, so that two long columns end up sharing the space. */
function shrink(shown: readonly Sized[], width: number, { least, which }: Shrinking): void {
  let excess = excessOf(
    shown.map((one) => one.width),
    width,
  );
  for (; excess > 0; excess -= 1) {
    const wide = shown.filter((one) => which(one) && one.width > least);
    const [first, ...others] = wide;
    if (first === undefined) return;
    const widest = others.reduce((best, one) => (one.width > best.width ? one : best), first);
    widest.width -= 1;
  }
}

/** What a list needs of the context of its command. */
interface Printer {
  /** Columns to fit into; null cuts nothing off. */
  readonly width: number | null;
  paint(): Promise<Paint>;
  /** Lines on stdout. */
  print(text: string): void;
  /** A line on stderr. */
  note(text: string): void;
}

/** A list for a person: a table, its totals, and the offset of the next page. */
export interface ListShape extends Pick<TableShape, "columns" | "rows"> {
  /** The last line of the table, which is no row of the list. */
  readonly sum?: readonly Cell[];
  /** Lines below the table. */
  readonly below?: (paint: Paint) => readonly string[];
  /** One message about the list as a whole. */
  readonly totals?: string;
  /** A message for a list without a row: what to do about it. */
  readonly empty?: string;
  /** Of a list that comes in pages: how many rows there are, and how many of them are on earlier pages. */
  readonly page?: { readonly total: number; readonly offset: number };
}

/** Prints a list, with `N more: --offset M` where there is another page. */
export async function printPage(
  { columns, rows, sum, below, totals, empty, page }: ListShape,
  { width, paint: painting, print, note }: Printer,
): Promise<void> {
  const paint = await painting();
  const all = sum === undefined ? rows : [...rows, sum];
  const lines = tableLines({ columns, rows: all, width, paint });
  print([...lines, ...(below?.(paint) ?? [])].join("\n"));
  if (totals !== undefined) note(totals);
  if (empty !== undefined && rows.length === 0 && (page?.total ?? 0) === 0) note(empty);
  if (page === undefined) return;
  const shown = page.offset + rows.length;
  if (page.total > shown) note(`${page.total - shown} more: --offset ${shown}`);
}

/** Lines of a list of facts: `name  value`, the names in one column; long values continue below at `width`. */
export function factLines(
  facts: readonly (readonly [string, Cell])[],
  paint = noPaint,
  width: number | null = null,
): string[] {
  const names = Math.max(0, ...facts.map(([name]) => widthOf(name)));
  return facts.flatMap(([name, cell]) => {
    const { text, style } = readable(cell);
    const shown = style === null ? text : paint[style](text);
    const line = `${paint.dim(pad(name, names))}  ${shown}`.trimEnd();
    return foldLines([line], width, names + gap);
  });
}

/** A stream that may be a terminal. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** Columns that text has to fit into; null for a pipe or a file, which take any line. */
export function columnsOf({ isTTY, columns }: Terminal): number | null {
  // A terminal of unknown size reports 0.
  return isTTY === true ? columns || usualWidth : null;
}

/** Lines broken between words to fit `width`, what follows indented; null leaves them. A longer word stays whole. */
export function foldLines(
  lines: readonly string[],
  width: number | null,
  indent = gap,
): readonly string[] {
  if (width === null || width <= indent + narrowest) return lines;
  return lines.flatMap((line) => {
    if (shownWidth(line) <= width) return [line];
    const folded: string[] = [];
    let last = "";
    // With the spaces before each word, which align it.
    for (const word of line.match(/ *[^ ]+/g) ?? []) {
      if (last === "" || shownWidth(last + word) <= width) last += word;
      else {
        folded.push(last);
        last = " ".repeat(indent) + word.trimStart();
      }
    }
    return [...folded, last];
  });
}

/** Colours take no columns. */
function shownWidth(text: string): number {
  return widthOf(plain(text));
}

/** JSON for a script or a terminal: characters that a terminal might act on, or that reorder text, are escaped. */
export function jsonText(value: unknown, indent = 2): string {
  const text = JSON.stringify(value, null, indent) ?? "null";
  return text.replaceAll(
    /(?!\n)[\p{Cc}\p{Bidi_Control}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The styles of human text. Without colour every style leaves its text unchanged. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan" | "magenta";
export type Paint = Readonly<Record<Style, (text: string) => string>>;

type Environment = Readonly<Record<string, string | undefined>>;

const asIs = (text: string) => text;

const noPaint: Paint = {
  bold: asIs,
  dim: asIs,
  red: asIs,
  green: asIs,
  yellow: asIs,
  cyan: asIs,
  magenta: asIs,
};

/** Whether to colour: `--color`, then `FORCE_COLOR`, `NO_COLOR`, `TERM=dumb`, then whether it is a terminal. */
export function wantsColour(
  when: "auto" | "always" | "never",
  env: Environment,
  isTerminal: boolean,
): boolean {
  if (when !== "auto") return when === "always";
  const forced = env["FORCE_COLOR"];
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  if (env["NO_COLOR"]) return false;
  return isTerminal && env["TERM"] !== "dumb";
}

/** Whether lines are only appended: for a screen reader, or on a terminal without a movable cursor. */
export function appendsOnly(env: Environment): boolean {
  const accessible = env["ACCESSIBLE"] ?? "";
  return (accessible !== "" && accessible !== "0") || env["TERM"] === "dumb";
}

/** Loading chalk takes longer than a whole command, so it is loaded only when output is coloured. */
export async function paintFor(colour: boolean): Promise<Paint> {
  if (!colour) return noPaint;
  const { Chalk } = await import("chalk");
  return new Chalk({ level: 1 });
}

const statusStyles: Readonly<Record<string, Style>> = {
  queued: "cyan",
  running: "green",
  retrying: "yellow",
  blocked: "magenta",
  review: "cyan",
  held: "dim",
  failed: "red",
  completed: "dim",
};

export function statusStyle(status: string): Style {
  return statusStyles[status] ?? "bold";
}

const controls = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu;
const wide =
  /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|^\p{Emoji_Presentation}|^\p{Emoji}\ufe0f/u;

/** The grapheme clusters: what a reader sees as single characters. */
function graphemes(text: string): string[] {
  const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** Text from outside, made safe to print: no control characters, no reordering marks; lines and tabs stay. */
export function plain(text: string): string {
  // Loaded here: importing node:util by name costs 2 ms of every start.
  const { stripVTControlCharacters } = process.getBuiltinModule("node:util");
  return stripVTControlCharacters(text).replaceAll("\r\n", "\n").replaceAll(controls, "");
}

/** The same on one line. */
export function plainLine(text: string): string {
  return plain(text).replaceAll(/\s+/g, " ").trim();
}

/** Columns that `text` takes on a terminal. It holds no control characters. */
export function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  return graphemes(text).reduce((width, one) => width + (wide.test(one) ? 2 : 1), 0);
}

/** `text` in at most `width` columns, with an ellipsis where something was cut off. */
export function fit(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = "";
  let used = 0;
  for (const one of graphemes(text)) {
    used += widthOf(one);
    if (used > width - 1) break;
    kept += one;
  }
  return `${kept.trimEnd()}…`;
}

function pad(text: string, width: number, align: "left" | "right" = "left"): string {
  const space = " ".repeat(Math.max(width - widthOf(text), 0));
  return align === "left" ? text + space : space + text;
}

/** `3s`, `4m`, `2h 5m`, `3d`: rounded for a person. */
export function span(ms: number): string {
  const seconds = Math.max(Math.round(ms / 1_000), 0);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours}h` : `${hours}h ${minutes % 60}m`;
  return `${Math.floor(hours / 24)}d`;
}

/** `in 12s`, `3m ago`, or a dash for no time. */
export function relative(time: string | null, nowMs: number): string {
  if (time === null) return "-";
  const ms = Date.parse(time) - nowMs;
  const distance = span(Math.abs(ms));
  if (distance === "0s") return "now";
  return ms > 0 ? `in ${distance}` : `${distance} ago`;
}

/** How long it has been since `time`. */
export function since(time: string | null, nowMs: number): string {
  return time === null ? "-" : span(nowMs - Date.parse(time));
}

/** `950`, `12.3k`, `4.5M`. */
export function amount(count: number): string {
  if (count < 1_000) return String(count);
  return count < 1_000_000
    ? `${(count / 1_000).toFixed(1)}k`
    : `${(count / 1_000_000).toFixed(1)}M`;
}

/** A term and what it means. */
export type Item = readonly [term: string, meaning: string];

export interface HelpText {
  readonly summary: string;
  readonly examples: readonly string[];
  readonly usage: string;
  readonly sections: readonly (readonly [title: string, items: readonly Item[]])[];
  /** The last line, below all lists. */
  readonly footer?: string;
  /** Columns to wrap at. */
  readonly width: number;
}

/** The layout of every help text: summary, examples, usage, then lists of terms in one column. */
export function helpText(text: HelpText): string {
  const { summary, examples: lines, usage, sections, footer, width } = text;
  const filled = sections.filter(([, items]) => items.length > 0);
  const terms = filled.flatMap(([, items]) => items.map(([term]) => term.length));
  const column = Math.max(0, ...terms) + 4;
  const shown = filled.map(
    ([title, items]) =>
      `\n${title}:\n${items.map((item) => itemText(item, column, width)).join("\n")}`,
  );
  // A pipe has no width, and the usual terminal takes them as they are: a command line is copied as one.
  const own = width < usualWidth ? width : null;
  const fold = (part: string, indent: number) => foldLines(part.split("\n"), own, indent);
  const first = lines.length === 0 ? [] : ["\nExamples:", ...lines.map((line) => `  ${line}`)];
  const about = [summary, ...first].flatMap((part) => fold(part, 6));
  const end = footer === undefined ? [] : ["", ...fold(footer, 4)];
  return `${[...about, "", ...fold(`Usage: ${usage}`, 4), ...shown, ...end].join("\n")}\n`;
}

/** What is assumed where the width is not known. */
export const usualWidth = 80;
/** Fewer columns for a meaning are too few to stand next to the term. */
const leastRoom = 30;

function itemText([term, meaning]: Item, column: number, width: number): string {
  if (width < usualWidth && width - column < leastRoom) {
    return foldLines([`  ${term}`, `      ${meaning}`], width, 6).join("\n");
  }
  const room = Math.max(width - column, leastRoom);
  const lines: string[] = [""];
  for (const word of meaning.split(" ")) {
    const last = lines.at(-1) ?? "";
    if (last !== "" && last.length + 1 + word.length > room) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return `  ${term}`.padEnd(column) + lines.join(`\n${" ".repeat(column)}`);
}
