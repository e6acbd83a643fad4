import assert from "node:assert/strict";
import { chmod, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { applyHunks, PatchError, parsePatch } from "../../../../src/core/agent/openai/patch.ts";
import { PatchPlace } from "../../../support/makers/patch-place.ts";

test("files are added, changed, moved and deleted, and keep their mode", async () => {
  await using place = await PatchPlace.make();
  await place.write("a.sh", "one\ntwo\nthree\n");
  await chmod(join(place.workspace, "a.sh"), 0o755);
  await place.write("gone", "x");
  const { changes } = await place.apply(
    "*** Add File: deep/er/new.txt",
    "+hello",
    "+",
    "*** Update File: a.sh",
    "*** Move to: b/a.sh",
    "@@",
    " one",
    "-two",
    "+2",
    "*** Update File: deep/er/new.txt",
    "@@",
    "-hello",
    "+hi",
    "*** Delete File: gone",
  );
  assert.deepEqual(changes.map(({ mark, path }) => `${mark} ${path}`).sort(), [
    "A b/a.sh",
    "A deep/er/new.txt",
    "D a.sh",
    "D gone",
  ]);
  assert.equal(await place.read("b/a.sh"), "one\n2\nthree\n");
  assert.equal(await place.read("deep/er/new.txt"), "hi\n\n");
  await place.write("c.sh", "one\n");
  await chmod(join(place.workspace, "c.sh"), 0o750);
  await place.apply("*** Update File: c.sh", "@@", "-one", "+1");
  assert.equal((await stat(join(place.workspace, "c.sh"))).mode & 0o777, 0o750);
});

test("context is matched as other agents match it", () => {
  const text = "def a():\n    pass\ndef b():\n\tpass  \n  “quoted” – here\nend\n";
  const apply = (...lines: string[]) => {
    const [change] = parsePatch(
      ["*** Begin Patch", "*** Update File: f", ...lines, "*** End Patch"].join("\n"),
    );
    return applyHunks(text, change?.kind === "update" ? change.hunks : [], "f");
  };
  assert.match(apply("@@ def b():", "-\tpass", "+\treturn"), /def b\(\):\n\treturn\n/);
  assert.match(apply("-pass", "+x"), /def a\(\):\nx\ndef b/);
  assert.match(apply('-"quoted" - here', "+plain"), /pass {2}\nplain\nend\n$/);
  assert.match(apply("@@", " end", "+after", "*** End of File"), /end\nafter\n$/);
  assert.match(apply("@@", "+last"), /end\nlast\n$/);
  assert.match(apply("@@ def a():", "+    first"), /def a\(\):\n {4}first\n {4}pass/);
  assert.throws(() => apply("@@", "-no such line"), /does not contain these lines/);
  assert.throws(() => apply("@@ class Nowhere", "-end"), /has no line 'class Nowhere'/);
  assert.throws(() => apply("@@", "-end", "+x", "@@", "-def a():"), PatchError);
});

test("a text that is not a patch is refused with the line", () => {
  const parse = (...lines: string[]) => parsePatch(lines.join("\n"));
  assert.throws(() => parse("hello"), /first line/);
  assert.throws(() => parse("*** Begin Patch", "*** Add File: a", "+x"), /last line/);
  assert.throws(() => parse("*** Begin Patch", "*** End Patch"), /changes no file/);
  assert.throws(() => parse("*** Begin Patch", "what", "*** End Patch"), /line 2/);
  assert.throws(() => parse("*** Begin Patch", "*** Update File: a", "*** End Patch"), /nothing/);
  assert.throws(
    () => parse("*** Begin Patch", "*** Update File: a", "@@", "oops", "*** End Patch"),
    /line 4/,
  );
  const wrapped = ["apply_patch <<'EOF'", "*** Begin Patch", "*** Delete File: a"];
  assert.equal(parse(...wrapped, "*** End Patch", "EOF").length, 1);
});

test("one wrong change means that nothing is changed", async () => {
  await using place = await PatchPlace.make();
  await place.write("a", "one\n");
  await place.write("b", "two\n");
  await mkdir(join(place.workspace, "dir"));
  const bad: readonly (readonly string[])[] = [
    ["*** Update File: b", "@@", "-three", "+3"],
    ["*** Delete File: nowhere"],
    ["*** Add File: b", "+x"],
    ["*** Add File: a/b", "+x"],
    ["*** Update File: b", "*** Move to: ../out"],
    ["*** Delete File: dir"],
    ["*** Add File: new", "+x", "*** Add File: new/below", "+x"],
  ];
  for (const lines of bad) {
    const patch = ["*** Update File: a", "@@", "-one", "+1", "*** Add File: n/m/o", "+x", ...lines];
    await assert.rejects(place.apply(...patch), Error, lines.join());
    assert.deepEqual((await readdir(place.workspace)).sort(), ["a", "b", "dir"], lines.join());
    assert.equal(await place.read("a"), "one\n");
    assert.equal(await place.read("b"), "two\n");
  }
});

test("a file that is not text, or not a regular file, is not changed", async () => {
  await using place = await PatchPlace.make();
  await writeFile(join(place.workspace, "binary"), Buffer.from([0x61, 0x0a, 0xff, 0xfe, 0x0a]));
  const update = ["*** Update File: binary", "@@", "-a", "+b"];
  await assert.rejects(place.apply(...update), /not a text file/);
});

test("a patch made from two texts turns the first into the second", async () => {
  const line = fc.constantFrom("a", "b", " c", "", "@@", "*** End Patch", "+x", "é");
  const text = fc.array(line, { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(text, text, (before, after) => {
      const patch = [
        ...["*** Begin Patch", "*** Update File: f", "@@"],
        ...before.map((one) => `-${one}`),
        ...after.map((one) => `+${one}`),
        "*** End Patch",
      ];
      const [change] = parsePatch(patch.join("\n"));
      assert.ok(change?.kind === "update");
      const result = applyHunks(`${before.join("\n")}\n`, change.hunks, "f");
      assert.equal(result, `${after.join("\n")}\n`);
    }),
  );
});

test("no text makes the patch parser hang or fail in another way", () => {
  const line = fc.constantFrom(
    "*** Begin Patch",
    "*** End Patch",
    "*** Add File: a",
    "*** Update File: b",
    "*** Move to: c",
    "*** Delete File: d",
    "@@",
    "@@ x",
    "+y",
    "-z",
    " w",
    "*** End of File",
    "***",
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 15 }), (lines) => {
      try {
        parsePatch(["*** Begin Patch", ...lines, "*** End Patch"].join("\n"));
      } catch (error) {
        assert.ok(error instanceof PatchError, String(error));
      }
    }),
    { numRuns: 2_000 },
  );
});
