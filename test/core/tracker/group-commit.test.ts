import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GroupCommit } from "../../../src/core/tracker/group-commit.ts";

describe("a group commit", () => {
  test("commits together all items of one turn of the event loop", async () => {
    const groups: string[][] = [];
    const commits = new GroupCommit<string>((items) => void groups.push([...items]));
    await Promise.all([commits.add("a", "first"), commits.add("b", "second")]);
    await commits.add("c", "third");
    assert.deepEqual(groups, [["first", "second"], ["third"]]);
  });

  test("resolves an item after its own commit only", async () => {
    let committed = false;
    const commits = new GroupCommit<string>(() => {
      committed = true;
    });
    const done = commits.add("a", "first").then(() => committed);
    await Promise.resolve();
    assert.equal(committed, false);
    assert.equal(commits.pending("a") === undefined, false);
    assert.equal(await done, true);
    assert.equal(commits.pending("a"), undefined);
  });

  test("rejects all items of a failed group with the reason, and continues with the next group", async () => {
    let full = true;
    const commits = new GroupCommit<string>(() => {
      if (full) throw new Error("the disk is full");
    });
    const group = [commits.add("a", "first"), commits.add("b", "second")];
    for (const one of group) await assert.rejects(one, /the disk is full/);
    full = false;
    await commits.add("c", "third");
  });

  test("flushes pending items on request", async () => {
    const groups: string[][] = [];
    const commits = new GroupCommit<string>((items) => void groups.push([...items]));
    const done = commits.add("a", "first");
    commits.flush();
    assert.deepEqual(groups, [["first"]]);
    await done;
    commits.flush();
    assert.equal(groups.length, 1);
  });
});
