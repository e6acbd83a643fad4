import type { BlockedRow, Lane, Row } from "../web/lanes.ts";
import type { Key } from "./keys.ts";
import type { Deed } from "./watch-acts.ts";

// What `symphony watch` shows and what a key does to it: no clock, no terminal, no server.

export interface View {
  /** The selected issue; null: the first one. */
  readonly cursor: string | null;
  readonly filter: string;
  readonly opened: Opened | null;
  readonly ask: Ask | null;
  readonly help: boolean;
  /** One line at the foot, until the next key. */
  readonly note: string | null;
  /** Guidance that was typed and not accepted yet, by issue. */
  readonly drafts: Readonly<Record<string, string>>;
}

/** The issue that is shown in full. */
export interface Opened {
  readonly issue: string;
  readonly tab: "timeline" | "diff";
  /** Lines from the newest, or of the diff from the first. */
  readonly scroll: number;
}

/** What the foot asks for. */
export interface Ask {
  readonly kind: "filter" | "steer" | "respond" | "abort" | "transition" | "open";
  readonly issue: string;
  readonly label: string;
  /** Null: they are being read from the server. */
  readonly choices: readonly Choice[] | null;
  readonly chosen: number;
  readonly text: string;
  /** When the question was asked: an answer must not reach another one. */
  readonly since: string | null;
}

export interface Choice {
  readonly label: string;
  readonly order: Order;
}

/** What is to be done outside. */
export type Order =
  | { readonly type: "quit" | "interrupt" }
  | { readonly type: "redraw" }
  | { readonly type: "act"; readonly issue: string; readonly deed: Deed }
  /** Read where the issue may go, or what of it can be opened. */
  | { readonly type: "moves" | "places"; readonly issue: string }
  | { readonly type: "show"; readonly issue: string; readonly place: string }
  | { readonly type: "forget"; readonly issue: string }
  | { readonly type: "look"; readonly issue: string };

export interface Step {
  readonly view: View;
  readonly order: Order | null;
}

export const firstView: View = {
  cursor: null,
  filter: "",
  opened: null,
  ask: null,
  help: false,
  note: null,
  drafts: {},
};

/** The selected row, of `lanes` as they are shown; a vanished issue gives its place to the first row. */
export function selected(view: View, lanes: readonly Lane[]): Row | null {
  const rows = lanes.flatMap((lane) => lane.rows);
  return rows.find((row) => row.issue_identifier === view.cursor) ?? rows[0] ?? null;
}

/** The issue that a key is about. */
function subject(view: View, lanes: readonly Lane[]): string | null {
  return view.opened?.issue ?? selected(view, lanes)?.issue_identifier ?? null;
}

function rowOf(issue: string, lanes: readonly Lane[]): Row | null {
  const rows = lanes.flatMap((lane) => lane.rows);
  return rows.find((row) => row.issue_identifier === issue) ?? null;
}

/** `lanes`: what is shown, `all`: what there is without the filter. */
export function press(before: View, key: Key, lanes: readonly Lane[], all = lanes): Step {
  const view = before.note === null ? before : { ...before, note: null };
  if (key.name === "interrupt") return { view, order: { type: "interrupt" } };
  if (key.name === "redraw") return { view, order: { type: "redraw" } };
  if (view.ask !== null) return answer(view, view.ask, key, all);
  if (view.help) return { view: { ...view, help: false }, order: quits(key) };
  if (key.name === "text") return command(view, key.text, lanes, all);
  return view.opened === null ? move(view, key, lanes) : scroll(view, view.opened, key);
}

function quits({ text }: Key): Order | null {
  return text === "q" ? { type: "quit" } : null;
}

function only(view: View): Step {
  return { view, order: null };
}

/** A letter, on the lists and on an issue. */
function command(view: View, letter: string, lanes: readonly Lane[], all: readonly Lane[]): Step {
  const issue = subject(view, lanes);
  const asking = (kind: Ask["kind"], label: string, more: Partial<Ask> = {}): View => ({
    ...view,
    ask: {
      ...{ kind, label, issue: issue ?? "", choices: [], chosen: -1, text: "", since: null },
      ...more,
    },
  });
  if (letter === "q") return { view, order: { type: "quit" } };
  if (letter === "?") return only({ ...view, help: true });
  if (letter === "/" && view.opened === null) {
    return only(asking("filter", "Filter", { issue: "", text: view.filter }));
  }
  const arrow = ({ j: "down", k: "up", g: "home", G: "end" } as const)[letter];
  if (arrow !== undefined) {
    const key = { name: arrow, text: "" } as const;
    return view.opened === null ? move(view, key, lanes) : scroll(view, view.opened, key);
  }
  if (issue === null) return only(view);
  switch (letter) {
    case "s": {
      const text = view.drafts[issue] ?? "";
      return only(asking("steer", `Guidance for ${issue}`, { text }));
    }
    case "a":
      return only(asking("abort", `Stop ${issue}? It is held, its work stays. y stops it`));
    case "r":
      return only(respond(view, issue, rowOf(issue, all), asking));
    case "t":
      return {
        view: asking("transition", `Move ${issue} to`, { choices: null }),
        order: { type: "moves", issue },
      };
    case "o":
      return {
        view: asking("open", `Open of ${issue}`, { choices: null }),
        order: { type: "places", issue },
      };
    default:
      return only(view);
  }
}

const decisions = ["approve", "decline"] as const;

/** What can be answered, in the order of its numbers. */
export function answersTo({ kind, options }: BlockedRow["needs"]): readonly string[] {
  return kind === "approval" ? decisions : options;
}

type Asking = (kind: Ask["kind"], label: string, more?: Partial<Ask>) => View;

function respond(view: View, issue: string, row: Row | null, asking: Asking): View {
  if (row === null || !("needs" in row)) return { ...view, note: `${issue} asks nothing` };
  const { kind, since } = row.needs;
  const choice = (label: string, deed: Deed): Choice => ({
    label,
    order: { type: "act", issue, deed },
  });
  const choices =
    kind === "approval"
      ? decisions.map((decision) => choice(decision, { type: "respond", decision }))
      : answersTo(row.needs).map((answer) => choice(answer, { type: "respond", answer }));
  const how = kind === "approval" ? "the number" : choices.length === 0 ? "text" : "number or text";
  return asking("respond", `Answer to ${issue} (${how})`, { choices, since });
}

/** A key while the foot asks. */
function answer(view: View, ask: Ask, key: Key, lanes: readonly Lane[]): Step {
  if (key.name === "escape") return only(closed(view, ask));
  if (ask.kind === "abort") {
    const isMeant = key.name === "text" && key.text.toLowerCase() === "y";
    const deed = { type: "abort" } as const;
    const order: Order | null = isMeant ? { type: "act", issue: ask.issue, deed } : null;
    return { view: closed(view, ask), order };
  }
  if (key.name === "enter") return submit(view, ask, lanes);
  const count = ask.choices?.length ?? 0;
  if (key.name === "up" || key.name === "down") {
    if (count === 0) return only(view);
    const by = key.name === "down" ? 1 : -1;
    const from = ask.chosen === -1 && by === -1 ? 0 : ask.chosen;
    return only(typed(view, { ...ask, chosen: (from + by + count) % count, text: "" }));
  }
  const text =
    key.name === "text"
      ? ask.text + key.text
      : key.name === "backspace"
        ? withoutLast(ask.text)
        : key.name === "clear"
          ? ""
          : ask.text;
  return only(typed(view, { ...ask, text, chosen: text === ask.text ? ask.chosen : -1 }));
}

function withoutLast(text: string): string {
  const parts = [...new Intl.Segmenter().segment(text)];
  return text.slice(0, parts.at(-1)?.index ?? 0);
}

/** The lists follow the filter while it is typed. */
function typed(view: View, ask: Ask): View {
  return { ...view, ask, ...(ask.kind === "filter" && { filter: ask.text }) };
}

/** Guidance stays as a draft, a filter is taken away. */
function closed(view: View, ask: Ask): View {
  if (ask.kind === "filter") return { ...view, ask: null, filter: "" };
  if (ask.kind !== "steer") return { ...view, ask: null };
  return { ...view, ask: null, drafts: { ...view.drafts, [ask.issue]: ask.text } };
}

function submit(view: View, ask: Ask, lanes: readonly Lane[]): Step {
  const done = { ...view, ask: null };
  if (ask.kind === "filter") return only(done);
  const { issue, choices, chosen } = ask;
  if (choices === null) return only(view);
  const text = ask.text.trim();
  const numbered = /^[1-9]\d?$/.test(text) ? choices[Number(text) - 1] : undefined;
  const named = choices.find(({ label }) => isNamed(label, text));
  const choice = text === "" ? choices[chosen] : (numbered ?? named);
  if (ask.kind === "steer") {
    const drafts = { ...view.drafts, [issue]: ask.text };
    if (text === "") return only(closed(view, ask));
    return {
      view: { ...done, drafts },
      order: { type: "act", issue, deed: { type: "steer", message: text } },
    };
  }
  if (ask.kind === "respond") {
    const row = rowOf(issue, lanes);
    const isSame = row !== null && "needs" in row && row.needs.since === ask.since;
    if (!isSame) return only({ ...done, note: `${issue} no longer asks this` });
    const isApproval = row.needs.kind === "approval";
    if (choice === undefined && text !== "" && !isApproval) {
      return { view: done, order: { type: "act", issue, deed: { type: "respond", answer: text } } };
    }
  }
  if (choice === undefined) return only({ ...view, note: "Type the number of a choice" });
  return { view: done, order: choice.order };
}

/** `queued` names `queued (here)`. */
function isNamed(label: string, text: string): boolean {
  const typedName = text.toLowerCase();
  return label.toLowerCase() === typedName || label.toLowerCase() === `${typedName} (here)`;
}

/** The lists: rows, lanes, and what is under the cursor. */
function move(view: View, key: Key, lanes: readonly Lane[]): Step {
  const rows = lanes.flatMap((lane) => lane.rows.map((row) => ({ row, lane })));
  const at = Math.max(
    rows.findIndex(({ row }) => row.issue_identifier === view.cursor),
    0,
  );
  const to = (index: number): Step => {
    const next = rows[Math.min(Math.max(index, 0), rows.length - 1)];
    return only({ ...view, cursor: next?.row.issue_identifier ?? null });
  };
  const current = rows[at];
  switch (key.name) {
    case "up":
      return to(at - 1);
    case "down":
      return to(at + 1);
    case "home":
      return to(0);
    case "end":
      return to(rows.length - 1);
    case "page-up":
      return to(at - 10);
    case "page-down":
      return to(at + 10);
    case "tab":
    case "right":
    case "back-tab":
    case "left":
      return to(laneStart(rows, at, key.name === "tab" || key.name === "right" ? 1 : -1));
    case "enter": {
      if (current === undefined) return only(view);
      const issue = current.row.issue_identifier;
      const opened = { issue, tab: "timeline", scroll: 0 } as const;
      return { view: { ...view, opened, cursor: issue }, order: { type: "look", issue } };
    }
    case "escape": {
      const order = current && { type: "forget" as const, issue: current.row.issue_identifier };
      return { view: { ...view, filter: "" }, order: order ?? null };
    }
    default:
      return only(view);
  }
}

/** The first row of the next or previous lane that has rows, around the ends. */
function laneStart(rows: readonly { lane: Lane }[], at: number, by: 1 | -1): number {
  const used = [...new Set(rows.map(({ lane }) => lane))];
  const own = rows[at]?.lane;
  const next =
    used[((own === undefined ? -1 : used.indexOf(own)) + by + used.length) % used.length];
  return rows.findIndex(({ lane }) => lane === next);
}

/** One issue in full. */
function scroll(view: View, opened: Opened, key: Key): Step {
  const by = (lines: number): Step =>
    only({ ...view, opened: { ...opened, scroll: Math.max(opened.scroll + lines, 0) } });
  switch (key.name) {
    case "up":
      return by(opened.tab === "diff" ? -1 : 1);
    case "down":
      return by(opened.tab === "diff" ? 1 : -1);
    case "page-up":
      return by(opened.tab === "diff" ? -10 : 10);
    case "page-down":
      return by(opened.tab === "diff" ? 10 : -10);
    case "home":
    case "end":
      return only({ ...view, opened: { ...opened, scroll: 0 } });
    case "tab":
    case "back-tab": {
      const tab = opened.tab === "diff" ? "timeline" : "diff";
      const order = { type: "look", issue: opened.issue } as const;
      return { view: { ...view, opened: { ...opened, tab, scroll: 0 } }, order };
    }
    case "escape":
    case "left":
    case "backspace":
      return { view: { ...view, opened: null }, order: { type: "forget", issue: opened.issue } };
    default:
      return only(view);
  }
}
