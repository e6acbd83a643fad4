import { conflictsIn, conflictWords, type Lane, nextOf, type Row, wordsOf } from "../web/lanes.ts";
import { amount, type Paint, plainLine, widthOf } from "./output.ts";
import { type Cell, rowText, type Size } from "./screen.ts";
import { alertLines, nothingText } from "./snapshot.ts";
import type { Link } from "./watch-feed.ts";
import { issueRows } from "./watch-issue.ts";
import { type Ask, answersTo, selected } from "./watch-model.ts";
import { actRows, folded, line, type Scene, textRow } from "./watch-rows.ts";

/** A smaller screen shows one line that says so. */
const least: Size = { columns: 40, rows: 8 };
const maxAlerts = 3;
const maxChoices = 9;
const idWidth = 16;

const help: readonly (readonly [keys: string, meaning: string])[] = [
  ["up, down, j, k", "select an issue; g first, G last"],
  ["Tab", "the next lane; of an issue, its timeline or its diff"],
  ["Enter", "the issue: timeline, diff, tokens; Esc goes back"],
  ["r", "respond: a number of a choice, or text"],
  ["s", "steer: guidance for the agent in mid-turn"],
  ["a", "abort: asked once"],
  ["t", "transition: move the issue"],
  ["o", "open: the page, the pull request, the workspace"],
  ["/", "filter by identifier, title, state or label; Esc clears"],
  ["Ctrl-L", "draw everything again"],
  ["q, Ctrl-C", "quit; the server and its agents continue"],
];

/** The rows of the screen, at most `size.rows` of them, and how far the opened issue can be scrolled. */
export function frame(
  scene: Scene,
  size: Size,
  paint: Paint,
): { readonly rows: readonly string[]; readonly maxScroll: number } {
  const { columns, rows } = size;
  if (columns < least.columns || rows < least.rows) {
    const text = `too small: ${least.columns}x${least.rows} at least`;
    return { rows: [rowText([line(text, columns)], paint)], maxScroll: 0 };
  }
  const foot = footRows(scene, size, paint);
  const head = headRows(scene, columns, paint).slice(0, Math.max(rows - foot.length - 1, 1));
  const room = Math.max(rows - head.length - foot.length, 1);
  const { opening, view } = scene;
  const body = view.help
    ? { rows: help.flatMap((one) => helpRows(one, columns, paint)), maxScroll: 0 }
    : view.opened !== null && opening !== null
      ? issueRows(scene, opening, { columns, rows: room }, paint)
      : { rows: boardRows(scene, { columns, rows: room }, paint), maxScroll: 0 };
  const filled = [...head, ...body.rows.slice(0, room)];
  while (filled.length < rows - foot.length) filled.push("");
  return { rows: [...filled, ...foot], maxScroll: body.maxScroll };
}

function helpRows([keys, meaning]: (typeof help)[number], columns: number, paint: Paint) {
  return folded(meaning, columns - 20, 4).map((text, index) =>
    rowText(
      [
        { at: 2, width: 16, text: index === 0 ? keys : "", style: "bold" },
        { at: 20, width: columns - 20, text },
      ],
      paint,
    ),
  );
}

/** `as of 12:03:44`, `live`, `stale since 12:03:44` or `disconnected since …`: never a word that claims more than is known. */
export function badgeOf({ kind, readAt }: Link): string {
  const at = new Date(readAt).toTimeString().slice(0, 8);
  if (kind === "live") return "live";
  if (kind === "read") return `as of ${at}`;
  return kind === "stale" ? `stale since ${at}` : `disconnected, as of ${at}`;
}

const badgeStyles = { read: "yellow", live: "green", stale: "yellow", lost: "red" } as const;

function headRows(
  { snapshot, link, view, lanes, now }: Scene,
  columns: number,
  paint: Paint,
): string[] {
  const badge = badgeOf(link);
  const counts = lanes
    .filter(({ count }) => count > 0)
    .map(({ count, title }) => `${count} ${title.toLowerCase()}`);
  const tokens = `${amount(snapshot.codex_totals.total_tokens)} tokens`;
  const facts = counts.length === 0 ? [nothingText(snapshot)] : [counts.join(", ")];
  const filter = view.filter === "" ? [] : [`filter: ${view.filter}`];
  const at = badge.length + 2;
  const cells: Cell[] = [
    { at: 0, width: badge.length, text: badge, style: badgeStyles[link.kind] },
    { at, width: columns - at, text: [...filter, ...facts, tokens].join(" · ") },
  ];
  const alerts = alertLines(snapshot, { paint, nowMs: now, width: columns });
  return [rowText(cells, paint), ...alerts.slice(0, maxAlerts)];
}

interface Entry {
  readonly height: number;
  readonly isSelected: boolean;
  rows(): readonly string[];
}

/** The lanes that have rows, cut to the part around the selected one. */
function boardRows(scene: Scene, { columns, rows: room }: Size, paint: Paint): string[] {
  const { lanes, view } = scene;
  const current = selected(view, lanes);
  const used = lanes.filter(({ rows }) => rows.length > 0);
  if (used.length === 0) {
    const text =
      view.filter === "" ? "No issue is queued, running or waiting." : "No issue matches.";
    return ["", rowText([line(text, columns)], paint)];
  }
  const conflicts = conflictsIn(scene.snapshot);
  const drawing = { scene, columns, layout: layoutOf(used, columns), conflicts, paint };
  const entries = used.flatMap((lane) => [
    titleOf(lane, columns, paint),
    ...lane.rows.map((row) => entryOf(row, row === current, drawing)),
  ]);
  return windowOf(entries, room);
}

function titleOf({ title, count, rows }: Lane, columns: number, paint: Paint): Entry {
  const more = rows.length < count ? `, ${count - rows.length} not shown` : "";
  const row = () => rowText([line(`${title} ${count}${more}`, columns, "bold")], paint);
  return { height: 1, isSelected: false, rows: () => [row()] };
}

/** Where the columns of a row begin and how wide they are. */
interface Layout {
  readonly id: number;
  readonly title: number;
  readonly text: number;
  /** 0: shown below the selected row alone. */
  readonly about: number;
}

function layoutOf(lanes: readonly Lane[], columns: number): Layout {
  const names = lanes.flatMap(({ rows }) => rows.map((row) => row.issue_identifier.length));
  const id = Math.min(Math.max(8, ...names), idWidth);
  const rest = columns - id - 4;
  const isWide = columns >= 110;
  const title = Math.floor(rest * (isWide ? 0.35 : 0.42));
  const about = isWide ? Math.floor(rest * 0.3) : 0;
  return { id, title, about, text: rest - title - about };
}

interface Drawing {
  readonly scene: Scene;
  readonly columns: number;
  readonly layout: Layout;
  readonly conflicts: ReturnType<typeof conflictsIn>;
  readonly paint: Paint;
}

function entryOf(row: Row, isSelected: boolean, drawing: Drawing): Entry {
  const { scene, columns, paint } = drawing;
  const act = scene.actOf(row.issue_identifier);
  const below = [
    ...(isSelected ? moreOf(row, drawing).map((one) => textRow(one, paint)) : []),
    ...actRows(act, columns, paint),
  ];
  return {
    height: 1 + below.length,
    isSelected,
    rows: () => [rowText(cellsOf(row, isSelected, drawing), paint), ...below],
  };
}

function textOf(row: Row, { scene, conflicts }: Drawing): string {
  const { what, fault } = wordsOf(row, scene.now);
  const conflict = conflictWords(conflicts.get(row.issue_identifier));
  const now = fault === null ? what : `${what}: ${fault}`;
  return conflict === "" ? now : `${conflict}; ${now}`;
}

function cellsOf(row: Row, isSelected: boolean, drawing: Drawing): Cell[] {
  const { scene, columns, layout, conflicts } = drawing;
  const said = wordsOf(row, scene.now);
  const style = conflicts.has(row.issue_identifier) ? ({ style: "yellow" } as const) : {};
  const { id, title, text, about } = layout;
  const at = id + 4;
  return [
    { at: 0, width: 1, text: isSelected ? ">" : " " },
    { at: 2, width: id, text: row.issue_identifier, style: "bold" },
    { at, width: title - 2, text: row.title },
    { at: at + title, width: text - (about > 0 ? 2 : 0), text: textOf(row, drawing), ...style },
    { at: columns - about, width: about, text: said.about, style: "dim" },
  ];
}

/** What the columns of a selected row had no room for. */
function moreOf(row: Row, drawing: Drawing): readonly Cell[] {
  const { scene, columns, layout } = drawing;
  const whole = textOf(row, drawing);
  const next = "needs" in row ? null : nextOf(row);
  const said = wordsOf(row, scene.now);
  const width = columns - 4;
  const at = (text: string, style?: Cell["style"]): Cell => ({
    ...{ at: 4, width, text },
    ...(style !== undefined && { style }),
  });
  const isCut = widthOf(whole) > layout.text - 2;
  const answers = "needs" in row ? answersTo(row.needs) : [];
  return [
    ...(isCut ? folded(whole, width, 5).map((text) => at(text)) : []),
    ...answers.slice(0, maxChoices).map((option, index) => at(`${index + 1} ${option}`)),
    ...(said.about === "" || layout.about > 0 ? [] : [at(said.about, "dim")]),
    ...(next === null ? [] : [at(`next: ${next}`, "dim")]),
  ];
}

function windowOf(entries: readonly Entry[], room: number): string[] {
  const total = entries.reduce((sum, { height }) => sum + height, 0);
  const at = entries.findIndex(({ isSelected }) => isSelected);
  const above = entries.slice(0, Math.max(at, 0)).reduce((sum, { height }) => sum + height, 0);
  const own = entries[at]?.height ?? 0;
  const wanted = above - Math.max(Math.floor((room - own) / 3), 0);
  const first = total <= room ? 0 : Math.min(Math.max(wanted, 0), total - room);
  const shown: string[] = [];
  let top = 0;
  for (const entry of entries) {
    const isSeen = top + entry.height > first && top < first + room;
    if (isSeen) {
      shown.push(...entry.rows().slice(Math.max(first - top, 0), first + room - top));
    }
    top += entry.height;
  }
  return shown;
}

const keysText =
  "Enter show · r respond · s steer · a abort · t move · o open · / filter · ? help · q quit";
const shortKeys = "Enter r s a t o / · ? help · q quit";
const issueKeys = "Tab diff · r respond · s steer · a abort · t move · o open · Esc back · q quit";

function footRows({ view, opening }: Scene, { columns, rows }: Size, paint: Paint): string[] {
  const { ask, note } = view;
  const said = note === null ? [] : [rowText([line(note, columns, "yellow")], paint)];
  if (ask !== null) return [...said, ...askRows(ask, { columns, rows }, paint)];
  const keys = opening !== null && view.opened !== null ? issueKeys : keysText;
  const text = view.help ? "any key goes back" : widthOf(keys) <= columns ? keys : shortKeys;
  return [...said, rowText([line(text, columns, "dim")], paint)];
}

function askRows(
  { label, choices, chosen, text, kind }: Ask,
  { columns, rows }: Size,
  paint: Paint,
) {
  const most = Math.min(maxChoices, rows - 4);
  const from = Math.max(chosen - most + 1, 0);
  const shown = (choices ?? []).slice(from, from + most).map((choice, index) => {
    const number = from + index + 1;
    const mark = number - 1 === chosen ? ">" : " ";
    return rowText([line(`${mark} ${number} ${plainLine(choice.label)}`, columns)], paint);
  });
  const waits = choices === null ? " (reading …)" : "";
  const prompt =
    kind === "abort" ? label : `${label}${waits}: ${tail(text, columns - label.length - 4)}_`;
  return [...shown, rowText([line(prompt, columns, "bold")], paint)];
}

/** The end of what is typed. */
function tail(text: string, width: number): string {
  const parts = [...new Intl.Segmenter().segment(text)].map(({ segment }) => segment);
  while (parts.length > 0 && widthOf(parts.join("")) > Math.max(width, 8)) parts.shift();
  return parts.join("");
}
