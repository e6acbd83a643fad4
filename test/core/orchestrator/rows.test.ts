import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Rows, rowsCopied } from "../../../src/core/orchestrator/rows.ts";

test("rows behave as a map that is copied for each change, and an earlier one never changes", () => {
  const change = fc.record({
    id: fc.integer({ min: 0, max: 60 }).map(String),
    row: fc.option(fc.nat(), { nil: null }),
  });
  const property = fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
    let rows = Rows.of(Array.from({ length: 50 }, (_, n) => [String(n), n] as const));
    let plain: ReadonlyMap<string, number> = new Map(rows);
    for (const { id, row } of changes) {
      const [before, had] = [rows, plain];
      const next = new Map(plain);
      if (row === null) next.delete(id);
      else next.set(id, row);
      rows = row === null ? rows.without(id) : rows.with(id, row);
      plain = next;
      assert.deepEqual([...before], [...had]);
    }
    assert.deepEqual([...rows], [...plain]);
    assert.deepEqual([...rows.keys()], [...plain.keys()]);
    assert.deepEqual([...rows.values()], [...plain.values()]);
    assert.equal(rows.size, plain.size);
    assert.deepEqual([rows.get("7"), rows.has("7")], [plain.get("7"), plain.has("7")]);
  });
  fc.assert(property, { numRuns: 50 });
});

test("an event of one among a thousand rows copies fewer than seventy of them", () => {
  let rows = Rows.of<number>(Array.from({ length: 1_000 }, (_, n) => [String(n), 0]));
  const before = rowsCopied();
  const events = 5_000;
  for (let n = 1; n <= events; n++) rows = rows.with(String((n * 7) % 1_000), n);
  const each = (rowsCopied() - before) / events;
  assert.ok(each < 70, `${each} for each event`);
});
