import assert from "node:assert/strict";
import { test } from "node:test";
import { workspaceConfigOf, workspaceSection } from "../../../src/core/config/workspace.ts";

const read = (written: unknown) => workspaceConfigOf(workspaceSection.parse(written), "/root");

test("sizes and times are numbers of bytes and ms, or text with a unit; without limits nothing is removed", () => {
  assert.deepEqual(read({}), {
    root: "/root",
    keepMaxBytes: 2 * 1024 ** 3,
    retention: { maxAgeMs: null, maxTotalBytes: null },
  });
  for (const [written, bytes] of [
    [0, 0],
    [1_000, 1_000],
    ["512B", 512],
    ["500MiB", 500 * 1024 ** 2],
    ["10 GiB", 10 * 1024 ** 3],
  ] as const) {
    assert.equal(read({ keep_max: written }).keepMaxBytes, bytes);
    assert.equal(read({ retention: { max_total: written } }).retention.maxTotalBytes, bytes);
  }
  for (const [written, ms] of [
    [1_000, 1_000],
    ["90s", 90_000],
    ["12h", 43_200_000],
    ["30d", 2_592_000_000],
    ["2w", 1_209_600_000],
  ] as const) {
    assert.equal(read({ retention: { max_age: written } }).retention.maxAgeMs, ms);
  }
});

test("what is neither is refused with what it may be", () => {
  const problem = (written: unknown) => workspaceSection.safeParse(written).error?.issues[0];
  for (const wrong of [-1, 1.5, "10 GB", "10gib", "GiB", "", true]) {
    const found = problem({ keep_max: wrong });
    assert.equal(found?.path.join("."), "keep_max", String(wrong));
  }
  assert.match(problem({ keep_max: true })?.message ?? "", /bytes, or text such as/);
  assert.match(
    problem({ retention: { max_age: "30 days" } })?.message ?? "",
    /ms, or text such as/,
  );
  assert.equal(problem({ retention: 5 })?.path.join("."), "retention");
});
