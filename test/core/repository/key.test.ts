import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isWorkspaceKey, workspaceKey } from "../../../src/core/repository/key.ts";

const hostile = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.stringMatching(/^[./\\~A-Za-z0-9_-]{1,20}$/),
  fc.constantFrom(
    "..",
    ".",
    "",
    " ",
    "../..",
    "a/../..",
    "%2e%2e",
    "a\0b",
    ".symphony-root",
    "ENG/1",
    "ENG_1",
    "x".repeat(300),
    "x.",
    "-rf",
    "\ud800",
    "\udbff",
    "team_a-1--7c03d5a56ca4204b",
  ),
);

function keyOf(identifier: string): string | null {
  try {
    return workspaceKey(identifier);
  } catch (error) {
    assert.equal((error as { code?: string }).code, "invalid_issue_identifier");
    return null;
  }
}

test("S-1: an identifier of plain characters is its own key", () => {
  for (const plain of ["MT-77", "team_a-1", "ENG-1.2", "7"])
    assert.equal(workspaceKey(plain), plain);
});

test("S-2: an identifier that was changed for its key gets a hash of the original", () => {
  assert.equal(workspaceKey("team/a-1"), "team_a-1--7c03d5a56ca4204b");
  assert.equal(workspaceKey("MT/Det"), "MT_Det--b45ad8f201f2d40b");
});

test("S-2: an identifier that looks like a hashed key cannot get the directory of another", () => {
  assert.notEqual(workspaceKey("team_a-1--7c03d5a56ca4204b"), workspaceKey("team/a-1"));
});

test("S-3: dots, blank and overlong identifiers are refused", () => {
  for (const bad of [".", "..", "", "  ", "\n", "x".repeat(201), "é".repeat(190)]) {
    assert.throws(() => workspaceKey(bad), { code: "invalid_issue_identifier" });
  }
});

test("a hidden name or an option is not used as a key unchanged", () => {
  for (const strange of [".symphony-root", ".git", "...", "-rf"]) {
    assert.match(workspaceKey(strange), /^_.*--[0-9a-f]{16}$/);
  }
});

test("INV-13, X-5: every key is one safe path component", () => {
  fc.assert(
    fc.property(hostile, (identifier) => {
      const key = keyOf(identifier);
      return key === null || (isWorkspaceKey(key) && /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(key));
    }),
    { numRuns: 500 },
  );
});

test("INV-13, S-2, X-5: distinct identifiers have distinct keys", () => {
  fc.assert(
    fc.property(hostile, hostile, (a, b) => a === b || keyOf(a) === null || keyOf(a) !== keyOf(b)),
    { numRuns: 500 },
  );
});

test("SPEC 9.5, S-1: on a volume that ignores case, distinct identifiers have distinct keys", () => {
  assert.equal(workspaceKey("ENG-1", true), "ENG-1");
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z][A-Za-z0-9._-]{0,9}$/), fc.nat(), (one, at) => {
      const char = one[at % one.length] ?? "";
      const other = one.replace(
        char,
        char === char.toLowerCase() ? char.toUpperCase() : char.toLowerCase(),
      );
      if (one === other) return;
      const [a, b] = [one, other].map((name) => workspaceKey(name, true).toLowerCase());
      assert.notEqual(a, b);
    }),
  );
});
