import assert from "node:assert/strict";
import { test } from "node:test";
import {
  decode,
  encode,
  isPlain,
  type Json,
  textInTurns,
} from "../../../src/core/journal/codec.ts";
import { IssueMap } from "../../../src/core/orchestrator/issues.ts";
import { issue } from "../../support/makers/issue.ts";

const inline = { refer: () => null, redact: (text: string) => text };
const reading = { resolve: (ref: Json) => ref };

function again(value: unknown): unknown {
  return decode(JSON.parse(JSON.stringify(encode(value, inline))), reading);
}

test("what a state may hold is read as it was written", () => {
  const values = [
    [0, -0, 1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 60],
    ["", "\0", "\ud800", "é\n", 12n, -(2n ** 80n), null, true],
    { a: undefined, b: { c: [undefined, null] } },
    new Map<unknown, unknown>([
      ["b", new Map([[1, new Set(["x", 2])]])],
      ["a", undefined],
      [3, new Set()],
    ]),
    { $: "m", v: [1], other: { $: undefined } },
    JSON.parse('{"__proto__": 1, "constructor": {"$": 2}}'),
  ];
  for (const value of values) assert.deepStrictEqual(again(value), value);
  const [ordered] = [
    again(
      new Map([
        ["z", 1],
        ["a", 2],
      ]),
    ) as Map<string, number>,
  ];
  assert.deepEqual([...ordered.keys()], ["z", "a"]);
});

test("the rows of issues keep their claims and their order", () => {
  const rows = IssueMap.empty
    .with({ claim: "free", issue: issue("ENG-3"), worked: true })
    .with({ claim: "held", issue: issue("ENG-2"), reason: "", error: null, sinceWall: 1 })
    .with({ claim: "held", issue: issue("ENG-1"), reason: "", error: null, sinceWall: 2 })
    .choosing(issue("ENG-1"), { templateId: "t" });
  const read = again(rows);
  assert.ok(read instanceof IssueMap);
  assert.deepStrictEqual([...read], [...rows]);
  assert.deepEqual([...read.of("held").keys()], ["id-ENG-2", "id-ENG-1"]);
});

test("a text without marks is told from one with marks, whatever its data looks like", () => {
  const textOf = (value: unknown) => JSON.stringify(encode(value, inline));
  for (const value of [{ a: [1, "x", null] }, { text: '{"$":"m","v":[]}' }, "$", ['"$":']]) {
    assert.ok(isPlain(textOf(value)), textOf(value));
    assert.deepStrictEqual(JSON.parse(textOf(value)), value);
  }
  for (const value of [{ a: undefined }, [new Map()], { $: 1 }, -0]) {
    assert.ok(!isPlain(textOf(value)), textOf(value));
  }
});

test("what could not be read back is refused", () => {
  for (const value of [() => 1, Symbol("s"), new Date(0), /x/, new (class Own {})()]) {
    assert.throws(() => encode({ deep: [value] }, inline), TypeError);
  }
  assert.throws(() => decode({ $: "later", v: 1 }, reading), TypeError);
});

test("text is redacted where it stands, and in keys; words of the format are not", () => {
  const redact = (text: string) => text.replaceAll(/secret|held/g, "[redacted]");
  const value = { held: "a secret", "my secret": new Map([["secret", 1n]]), list: ["held"] };
  const read = decode(encode(value, { refer: () => null, redact }), reading);
  assert.deepStrictEqual(read, {
    held: "a [redacted]",
    "my [redacted]": new Map([["[redacted]", 1n]]),
    list: ["[redacted]"],
  });
});

test("a whole state has the same text in turns, and other work has its own meanwhile", async () => {
  const redact = (text: string) => text.replaceAll("secret", "[redacted]");
  const shared = new Map([["listed", issue("ENG-1")]]);
  const refer = (value: object) => (value === shared ? 7 : null);
  const claims = Array.from({ length: 100 }, (_, n) => {
    return {
      claim: "free",
      issue: issue(`ENG-${n}`, { title: "a secret" }),
      worked: true,
    } as const;
  });
  const state = {
    issues: claims.reduce((map, claim) => map.with(claim), IssueMap.empty),
    pauses: new Map(claims.map(({ issue: { id } }, n) => [id, { n, at: undefined }])),
    candidates: claims.map((claim) => claim.issue),
    ...{ shared, none: null, "a secret": -0, empty: new Map(), list: [] },
  };
  let turns = 0;
  let isOver = false;
  const other = () => {
    turns += 1;
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  const text = await textInTurns(state, { refer, redact });
  isOver = true;
  assert.equal(text, JSON.stringify(encode(state, { refer, redact })));
  assert.ok(turns >= 15, `${turns} turns`);
});
