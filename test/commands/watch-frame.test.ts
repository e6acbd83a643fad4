// D11, D12, D15, D16 and D24 are rows of the cases of the desk, here for what `symphony watch` shows; its terminal is in
// watch.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { conflictText } from "../../src/commands/conflicts.ts";
import { widthOf } from "../../src/commands/output.ts";
import { rowText, visible } from "../../src/commands/screen.ts";
import type { SnapshotView } from "../../src/commands/snapshot.ts";
import type { Act } from "../../src/commands/watch-acts.ts";
import { badgeOf, frame } from "../../src/commands/watch-frame.ts";
import { firstView, press, selected, type View } from "../../src/commands/watch-model.ts";
import type { Opening, Scene } from "../../src/commands/watch-rows.ts";
import { type Lane, lanesOf } from "../../src/web/lanes.ts";
import { detailOf, snapshotOf } from "../support/makers/api-double-data.ts";

const now = Date.parse("2026-11-23T10:00:05.000Z");
const asIs = (text: string) => text;
const paint = {
  ...{ bold: asIs, dim: asIs, red: asIs, green: asIs, yellow: asIs, cyan: asIs, magenta: asIs },
};
const hostile = [
  "⚠️ sign with a selector",
  "漢字の題名がここにあります",
  "family 👩‍👩‍👧 here",
  "accent e\u0301 combined",
  "right \u202eto left\u202c and עברית",
  "a\ttab, a\rreturn",
  "red \u001b[31m and \u001b]0;title\u0007 gone",
  "\u{20000} beyond the first plane",
];

/** One running issue for each title, the first of them asking. */
function stateOf(titles: readonly string[]): SnapshotView {
  const base = snapshotOf({ status: "running", title: "x" }, 1) as unknown as SnapshotView;
  const [one] = base.running;
  assert.ok(one);
  const rows = titles.map((title, index) => ({
    ...{ ...one, title, issue_id: `i${index}`, issue_identifier: `ENG-${index + 1}` },
  }));
  const [first, ...running] = rows;
  assert.ok(first);
  const needs = {
    kind: "question" as const,
    ...{ prompt: "Which colour?", options: ["Blue", "Green"] },
    ...{ since: "2026-11-23T10:00:00.000Z", until: null, attempt_id: null },
    ...{ id: "ended_1", further: [] },
  };
  const counts = { ...base.counts, blocked: 1, running: running.length };
  return {
    ...base,
    counts,
    running,
    blocked: [{ ...first, needs, next: "symphony respond ENG-1 Blue", status: "blocked" }],
  };
}

function sceneOf(state: SnapshotView, more: Partial<Scene> = {}): Scene {
  return {
    view: firstView,
    snapshot: state,
    lanes: lanesOf(state, now),
    link: { kind: "live", readAt: now },
    opening: null,
    now,
    actOf: () => null,
    ...more,
  };
}

/** The last column that a row reaches, and the text at each column where a cell was placed. */
function placed(row: string): { readonly width: number; readonly cells: Map<number, string> } {
  const cells = new Map<number, string>();
  let at = 0;
  let width = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what the screen sends.
  for (const part of row.split(/(\u001b\[\d+G)/)) {
    const [, column] = /\[(\d+)G$/.exec(part) ?? [];
    if (column !== undefined) at = Number(column) - 1;
    else {
      cells.set(at, part);
      at += widthOf(part);
      width = Math.max(width, at);
    }
  }
  return { width, cells };
}

const opening: Opening = {
  issue: "ENG-1",
  detail: detailOf({ status: "running", title: hostile.join(" ") }) as unknown as Opening["detail"],
  fault: null,
  timeline: hostile.map((message, seq) => ({
    ...{ seq, at: "2026-11-23T10:00:00.000Z", type: "agent.message", message },
  })),
  diff: { lines: ["@@ -1 +1 @@", "-\told \u001b[2J", `+${"漢".repeat(5_000)}`], summary: "1 file" },
};

test("D11: in every size no row is wider than the screen and no frame higher; the least says so", () => {
  const state = stateOf([...hostile, ...Array.from({ length: 60 }, (_, n) => `issue ${n}`)]);
  const lanes = lanesOf(state, now);
  const asked = press(firstView, { name: "text", text: "r" }, lanes).view;
  const views: readonly View[] = [
    firstView,
    { ...firstView, help: true },
    { ...firstView, opened: { issue: "ENG-1", tab: "timeline", scroll: 2 } },
    { ...firstView, opened: { issue: "ENG-1", tab: "diff", scroll: 0 } },
    { ...asked, note: "a note" },
  ];
  for (const columns of [1, 20, 39, 40, 60, 80, 109, 110, 200]) {
    for (const rows of [1, 2, 7, 8, 9, 24, 60]) {
      for (const view of views) {
        const scene = sceneOf(state, { view, opening });
        const shown = frame(scene, { columns, rows }, paint).rows;
        assert.ok(shown.length <= rows, `${columns}x${rows}: ${shown.length} rows`);
        for (const row of shown) assert.ok(placed(row).width <= columns, `${columns}: ${row}`);
        const isSmall = columns < 40 || rows < 8;
        assert.equal(shown.length === 1, isSmall);
        if (!isSmall && view.ask !== null) assert.match(shown.at(-1) ?? "", /^Answer to ENG-1/);
      }
    }
  }
});

test("at 60 columns the help is whole", () => {
  const view = { ...firstView, help: true };
  const shown = frame(sceneOf(stateOf(["plain"]), { view }), { columns: 60, rows: 24 }, paint).rows;
  const text = shown.slice(1).join(" ").replaceAll(/ +/g, " ");
  assert.match(text, /the next lane; of an issue, its timeline or its diff/);
  assert.doesNotMatch(text, /…/);
});

test("D12: what follows a title of any characters stands in the column of every other row", () => {
  const state = stateOf(["plain", ...hostile, "plain too"]);
  const shown = frame(sceneOf(state), { columns: 100, rows: 40 }, paint).rows;
  const rows = shown.filter((row) => /^[> ] ENG-/.test(row));
  assert.equal(rows.length, hostile.length + 2);
  const column = rows.at(-1)?.indexOf("reading the code") ?? -1;
  assert.ok(column > 0);
  for (const row of rows.slice(1, -1)) {
    assert.match(placed(row).cells.get(column) ?? "", /^reading the code/, JSON.stringify(row));
  }
});

test("D12: control characters are shown and never sent; a cut falls between characters as people see them", () => {
  const shown = visible(hostile.join(" "));
  assert.doesNotMatch(shown, /\p{Cc}|\p{Bidi_Control}/u);
  assert.ok(shown.includes("␛[31m") && shown.includes("␇ gone") && shown.includes("␍return"));
  const cut = rowText([{ at: 0, width: 9, text: "family 👩‍👩‍👧 here" }], paint);
  assert.equal(cut, "family…");
  assert.equal(widthOf("⚠️"), 2);
  assert.equal(widthOf("\u{20000}"), 2);
  assert.equal(widthOf("e\u0301"), 1);
});

test("D15: without colour each lane and each action is told by words and signs", () => {
  const acts: Readonly<Record<string, Act>> = {
    "ENG-2": { kind: "sending", text: "stopping …" },
    "ENG-3": { kind: "refused", text: "ENG-3 is not running" },
  };
  const state = stateOf(["one", "two", "three"]);
  const scene = sceneOf(state, { actOf: (issue) => acts[issue] ?? null });
  const text = frame(scene, { columns: 80, rows: 24 }, paint).rows.join("\n");
  for (const words of ["Needs you 1", "Running 2", "> ENG-1", "1 Blue", "stopping …"]) {
    assert.ok(text.includes(words), words);
  }
  // D24: the reason stands in the row.
  assert.match(text, /ENG-3 .*\n {4}refused: ENG-3 is not running/);
});

test("a conflict of branches stands first in both rows, and in full with the next command in the selected one", () => {
  const base = stateOf(["one", "two", "three"]);
  const branch = (n: number) => ({
    issue_id: "",
    issue_identifier: `ENG-${n}`,
    branch: `eng-${n}`,
  });
  const files = [{ path: "a.ts", kind: "conflict" as const, first: [], second: [] }];
  const pair = { repository: "shop", conflicts: true, first: branch(1), second: branch(3), files };
  const state = { ...base, conflicts: [pair] };
  const view = { ...firstView, cursor: "ENG-3" };
  const text = frame(sceneOf(state, { view }), { columns: 100, rows: 24 }, paint).rows.join("\n");
  assert.match(text, /ENG-3 conflicts with ENG-1 in a\.ts: symphony conflicts/);
  assert.match(text, /\n {2}ENG-1 .*conflicts with ENG-3/);
  assert.match(text, /\n> ENG-3 .*conflicts with ENG-1; reading the code/);
  assert.doesNotMatch(text, /ENG-2 .*conflicts/);
});

test("many branches that change one file are one line, and none hides a fault", () => {
  const base = stateOf(["one", "two", "three"]);
  const names = [1, 2, 3, 4, 5, 6, 7];
  const branch = (n: number) => ({
    issue_id: "",
    issue_identifier: `ENG-${n}`,
    branch: `eng-${n}`,
  });
  const files = [{ path: "CHANGELOG.md", kind: "conflict" as const, first: [], second: [] }];
  const near = { path: "near.ts", kind: "near" as const, first: [], second: [] };
  const conflicts = names.flatMap((n) =>
    names.slice(n).map((m) => ({
      ...{ repository: "shop", conflicts: true, first: branch(n), second: branch(m) },
      files: m === 7 ? [...files, near] : files,
    })),
  );
  const tracker = { ...base.tracker, last_error: { code: "tracker_error", message: "it is away" } };
  const scene = sceneOf({ ...base, conflicts, tracker } as typeof base);
  const { rows } = frame(scene, { columns: 100, rows: 24 }, paint);
  assert.deepEqual(rows.slice(1, 3), [
    "tracker: it is away",
    "ENG-1, ENG-2, ENG-3, ENG-4, ENG-5 and 2 more conflict in CHANGELOG.md: symphony conflicts",
  ]);
  assert.match(rows.join("\n"), /ENG-2 .*conflicts with ENG-1, ENG-3 and 4 more/);
  const own = conflicts.filter(({ second }) => second.issue_identifier === "ENG-7");
  assert.deepEqual(conflictText({ conflicts: own, issue_identifier: "ENG-7" }), [
    "git cannot merge it with ENG-1, ENG-2, ENG-3, ENG-4, ENG-5 and 1 more in CHANGELOG.md: symphony conflicts",
  ]);
});

test("without an issue there is nothing to do, unless the tracker cannot be read", () => {
  const one = stateOf(["one"]);
  const counts = { ...one.counts, blocked: 0, running: 0 };
  const empty = { ...one, counts, blocked: [], running: [] };
  const headOf = (snapshot: typeof empty) =>
    frame(sceneOf(snapshot), { columns: 100, rows: 24 }, paint).rows[0];
  assert.match(headOf(empty) ?? "", /nothing to do/);
  const fault = { code: "tracker_error", message: "it is away" };
  const away = { ...empty, tracker: { ...empty.tracker, last_error: fault } } as typeof empty;
  assert.match(headOf(away) ?? "", /no issue is known/);
});

test("the badge says live only where it is", () => {
  const readAt = new Date(2026, 0, 2, 3, 4, 5).getTime();
  assert.equal(badgeOf({ kind: "live", readAt }), "live");
  assert.match(badgeOf({ kind: "read", readAt }), /^as of \d\d:/);
  assert.equal(badgeOf({ kind: "stale", readAt }), "stale since 03:04:05");
  assert.equal(badgeOf({ kind: "lost", readAt }), "disconnected, as of 03:04:05");
});

const text = (typed: string) => [...typed].map((one) => ({ name: "text", text: one }) as const);
const enter = { name: "enter", text: "" } as const;

function play(
  lanes: readonly Lane[],
  keys: readonly Parameters<typeof press>[1][],
  from = firstView,
) {
  let step: ReturnType<typeof press> = { view: from, order: null };
  for (const key of keys) step = press(step.view, key, lanes);
  return step;
}

test("keys select, answer by number or text, and an answer never reaches another question", () => {
  const lanes = lanesOf(stateOf(["one", "two", "three"]), now);
  const answer = (typed: string) => play(lanes, [...text(`r${typed}`), enter]).order;
  const act = (given: string) => ({
    ...{ type: "act", issue: "ENG-1", deed: { type: "respond", answer: given } },
  });
  assert.deepEqual(answer("2"), act("Green"));
  assert.deepEqual(answer("blue"), act("Blue"));
  assert.deepEqual(answer("A dark red"), act("A dark red"));
  assert.equal(answer(""), null);
  const down = { name: "down", text: "" } as const;
  assert.deepEqual(play(lanes, [...text("r"), down, down, enter]).order, act("Green"));
  const asked = play(lanes, text("r2")).view;
  const [needs] = lanes;
  assert.ok(needs);
  const [row] = needs.rows;
  assert.ok(row && "needs" in row);
  const other = { ...row, needs: { ...row.needs, since: "2026-11-23T10:00:09.000Z" } };
  const later = press(asked, enter, [{ ...needs, rows: [other] }]);
  assert.deepEqual([later.order, later.view.note], [null, "ENG-1 no longer asks this"]);
});

test("an abort is asked once, guidance that is not sent is kept, and the cursor follows its issue", () => {
  const lanes = lanesOf(stateOf(["one", "two", "three"]), now);
  const down = { name: "down", text: "" } as const;
  const abort = { type: "act", issue: "ENG-2", deed: { type: "abort" } };
  assert.deepEqual(play(lanes, [down, ...text("ay")]).order, abort);
  for (const other of ["an", "aq", "aa"]) {
    const { order, view } = play(lanes, [down, ...text(other)]);
    assert.deepEqual([order, view.ask], [null, null], other);
  }
  const steer = play(lanes, [down, ...text("sgo lefr"), { name: "backspace", text: "" }]);
  const kept = press(steer.view, { name: "escape", text: "" }, lanes).view;
  const again = play(lanes, [...text("st"), enter], kept);
  const deed = { type: "steer", message: "go left" };
  assert.deepEqual(again.order, { type: "act", issue: "ENG-2", deed });
  const moved = [...lanes].reverse();
  assert.equal(selected(again.view, moved)?.issue_identifier, "ENG-2");
});

test("a filter narrows the lists while it is typed; Tab goes from lane to lane", () => {
  const lanes = lanesOf(stateOf(["one", "two", "three"]), now);
  const { view } = play(lanes, text("/thr"));
  assert.deepEqual([view.filter, view.ask?.kind], ["thr", "filter"]);
  assert.equal(press(view, { name: "escape", text: "" }, lanes).view.filter, "");
  const tab = { name: "tab", text: "" } as const;
  const at = (count: number) => play(lanes, Array(count).fill(tab)).view.cursor;
  assert.deepEqual([at(1), at(2)], ["ENG-2", "ENG-1"]);
});
