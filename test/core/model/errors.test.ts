import assert from "node:assert/strict";
import { test } from "node:test";
import { asFaultOfDisk, SymphonyError } from "../../../src/core/model/errors.ts";

const refused = (message: string, cause?: unknown) =>
  new SymphonyError("workspace_error", message, { cause, details: { path: "/w" } });
const full = Object.assign(new Error("ENOSPC: no space left on device, write"), {
  code: "ENOSPC",
});

test("what the disk refuses in a workspace is the storage's error, with what mends the disk; the caller did nothing", () => {
  const faults: readonly (readonly [SymphonyError, RegExp])[] = [
    [refused("ENG-1 was not restored: ENOSPC: no space left on device, write"), /free space/],
    [refused("nothing was committed", new Error("git failed", { cause: full })), /free space/],
    [refused("fatal: unable to write new index file: Disk quota exceeded"), /quota/],
    [refused("/w: EROFS: read-only file system, mkdir '/w'"), /mount its disk writable/],
    [refused("EIO: i/o error, read"), /disk is failing/],
    [refused("error: short read: Input/output error"), /disk is failing/],
  ];
  for (const [error, hint] of faults) {
    const found = asFaultOfDisk(error);
    assert.ok(found instanceof SymphonyError);
    assert.equal(found.code, "storage_unavailable", error.message);
    assert.match(found.hint ?? "", hint);
    assert.deepEqual([found.message, found.details], [error.message, { path: "/w" }]);
  }
});

test("what stands in the way in a workspace stays the caller's conflict, and other errors stay as they are", () => {
  const others = [
    refused("/w is in the way", new Error("EEXIST: file already exists")),
    refused("/w: EACCES: permission denied, unlink '/w/a'"),
    new SymphonyError("hook_failed", "no space left on device"),
    full,
  ];
  for (const error of others) assert.equal(asFaultOfDisk(error), error);
});
