import assert from "node:assert/strict";
import { test } from "node:test";
import { closest } from "../../src/commands/failure.ts";
import {
  amount,
  fit,
  jsonText,
  paintFor,
  plain,
  printPage,
  relative,
  span,
  tableLines,
  wantsColour,
  widthOf,
} from "../../src/commands/output.ts";
import { Pager } from "../../src/commands/state-watch.ts";
import { withNamedMarks } from "../../src/web/words.ts";

test("a table fits the terminal: its flexible columns are shortened", () => {
  const columns = [
    { title: "ISSUE" },
    { title: "TITLE", flexible: true },
    { title: "N", align: "right" as const },
  ];
  const rows = [
    ["ENG-1", "a".repeat(80), "7"],
    ["ENG-22", "日本語のタイトル", "12"],
  ];
  for (const line of tableLines({ columns, rows, width: 40 })) assert.ok(widthOf(line) <= 40, line);
  const whole = tableLines({ columns, rows, width: null });
  assert.match(whole[1] ?? "", /a{80} {3}7$/);
  assert.match(whole[2] ?? "", /^ENG-22 {2}日本語のタイトル {66}12$/);
});

test("a list prints its total and the offset of the next page", async () => {
  const printed: string[] = [];
  const printer = {
    width: null,
    paint: () => paintFor(false),
    print: (text: string) => void printed.push(text),
    note: (text: string) => void printed.push(`note: ${text}`),
  };
  const columns = [{ title: "ISSUE" }, { title: "N", align: "right" as const }];
  const rows = [
    ["ENG-1", "7"],
    ["ENG-2", "12"],
  ];
  await printPage(
    {
      columns,
      rows,
      sum: ["all", "19"],
      below: () => ["", "below"],
      totals: "5 in all",
      page: { total: 5, offset: 1 },
    },
    printer,
  );
  assert.deepEqual(printed, [
    "ISSUE   N\nENG-1   7\nENG-2  12\nall    19\n\nbelow",
    "note: 5 in all",
    "note: 2 more: --offset 3",
  ]);
  printed.length = 0;
  await printPage({ columns, rows, page: { total: 3, offset: 1 } }, printer);
  assert.deepEqual(printed, ["ISSUE   N\nENG-1   7\nENG-2  12"], "the last page says no more");
  printed.length = 0;
  await printPage({ columns, rows: [], empty: "there is none" }, printer);
  assert.deepEqual(printed, ["ISSUE  N", "note: there is none"]);
});

test("text is cut by columns, and no character is split", () => {
  assert.equal(fit("日本語", 5), "日本…");
  assert.equal(fit("👩‍👩‍👧 family", 4), "👩‍👩‍👧…");
  assert.equal(fit("short", 5), "short");
});

test("what reorders the characters of code is named, and escaped in JSON, whose value stays", () => {
  const code = 'if (admin) {\u2067 /* \u202e } */ "\u061c"';
  assert.equal(withNamedMarks(code), 'if (admin) {<U+2067> /* <U+202E> } */ "<U+061C>"');
  const json = jsonText({ code: `${code}\u009b` }, 0);
  assert.doesNotMatch(json, /[\p{Bidi_Control}\p{Cc}]/u);
  assert.deepEqual(JSON.parse(json), { code: `${code}\u009b` });
});

test("escape sequences, control and reordering characters are removed", () => {
  assert.equal(plain("a\u001b[31mb\u001b]8;;http://x\u0007c\u0000\u202ed\r\ne\tf"), "abcd\ne\tf");
});

test("times and amounts are printed in a short form", () => {
  assert.deepEqual([0, 59_000, 61_000, 7_500_000, 200_000_000].map(span), [
    "0s",
    "59s",
    "1m",
    "2h 5m",
    "2d",
  ]);
  const now = Date.parse("2026-11-23T10:00:00.000Z");
  assert.equal(relative("2026-11-23T10:00:12.000Z", now), "in 12s");
  assert.equal(relative("2026-11-23T09:57:00.000Z", now), "3m ago");
  assert.deepEqual([950, 12_345, 4_500_000].map(amount), ["950", "12.3k", "4.5M"]);
});

test("a typing mistake is recognised, a different word is not", () => {
  assert.equal(closest("eng-12", ["ENG-1", "ENG-123", "OPS-9"]), "ENG-1");
  assert.equal(closest("Human Reviw", ["Todo", "Human Review"]), "Human Review");
  assert.equal(closest("zzz", ["Todo", "Done"]), null);
});

test("colour is decided by the option, then FORCE_COLOR, NO_COLOR, TERM, then the terminal", () => {
  assert.equal(wantsColour("auto", {}, true), true);
  assert.equal(wantsColour("auto", {}, false), false);
  assert.equal(wantsColour("auto", { NO_COLOR: "1" }, true), false);
  assert.equal(wantsColour("auto", { NO_COLOR: "" }, true), true);
  assert.equal(wantsColour("auto", { TERM: "dumb" }, true), false);
  assert.equal(wantsColour("auto", { NO_COLOR: "1", FORCE_COLOR: "1" }, false), true);
  assert.equal(wantsColour("never", { FORCE_COLOR: "1" }, true), false);
  assert.equal(wantsColour("always", { NO_COLOR: "1", TERM: "dumb" }, false), true);
});

test("a table taller than the terminal is shown in pages, each with the heading", () => {
  const stdout = { rows: 10, columns: 60 } as NodeJS.WriteStream;
  const pager = new Pager({ stdin: {} as NodeJS.ReadStream, stdout, interactive: false });
  const rows = ["HEAD", ...Array.from({ length: 15 }, (_, index) => `row ${index}`)];
  const page = pager.page(["summary"], rows);
  assert.equal(page.length < 10, true);
  assert.deepEqual(page.slice(0, 3), ["summary", "HEAD", "row 0"]);
  assert.equal(page.at(-1), "page 1 of 3");
});
