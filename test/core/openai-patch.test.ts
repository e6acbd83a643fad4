import assert from "node:assert/strict";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { applyPatch } from "../../src/core/agent/openai/apply-patch.ts";
import { PathError, placeIn, readPlace } from "../../src/core/agent/openai/inside.ts";
import { applyHunks, PatchError, parsePatch } from "../../src/core/agent/openai/patch.ts";

class Place implements AsyncDisposable {
  readonly root: string;
  readonly workspace: string;

  constructor(root: string) {
    this.root = root;
    this.workspace = join(root, "ws");
  }

  static async make(): Promise<Place> {
    const place = new Place(await realpath(await mkdtemp(join(tmpdir(), "symphony-patch-"))));
    await mkdir(place.workspace);
    return place;
  }

  write(path: string, text: string): Promise<void> {
    return writeFile(join(this.workspace, path), text);
  }

  read(path: string): Promise<string> {
    return readFile(join(this.workspace, path), "utf8");
  }

  apply(...lines: string[]) {
    return applyPatch(this.workspace, ["*** Begin Patch", ...lines, "*** End Patch"].join("\n"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}

test("files are added, changed, moved and deleted, and keep their mode", async () => {
  await using place = await Place.make();
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

test("context is found as the agents of others find it", () => {
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
  assert.throws(() => apply("@@", "-no such line"), /does not hold these lines/);
  assert.throws(() => apply("@@ class Nowhere", "-end"), /has no line 'class Nowhere'/);
  assert.throws(() => apply("@@", "-end", "+x", "@@", "-def a():"), PatchError);
});

test("what is no patch is refused with its line", () => {
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

test("one wrong change and nothing is changed at all", async () => {
  await using place = await Place.make();
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

test("no path and no link leads out of the workspace, or to what git obeys", async () => {
  await using place = await Place.make();
  const outside = join(place.root, "outside");
  await mkdir(outside);
  await writeFile(join(outside, "secret"), "secret\n");
  await symlink(outside, join(place.workspace, "link"));
  await symlink(join(outside, "secret"), join(place.workspace, "file"));
  await symlink("/nowhere/at/all", join(place.workspace, "dangling"));
  await mkdir(join(place.workspace, ".git", "hooks"), { recursive: true });
  const paths = [
    "../outside/secret",
    "a/../../outside/secret",
    "link/secret",
    "link/new",
    "file",
    "dangling",
    join(outside, "secret"),
    "/etc/passwd",
    "a\0b",
    ".git/hooks/pre-commit",
    "./.git/config",
    ".GIT/config",
    ".codex/config.toml",
    ".",
    "x".repeat(2_000),
  ];
  for (const path of paths) {
    for (const lines of [
      [`*** Add File: ${path}`, "+evil"],
      [`*** Delete File: ${path}`],
      [`*** Update File: ${path}`, "@@", "-secret", "+evil"],
    ]) {
      await assert.rejects(place.apply(...lines), PathError, `${path} ${lines[0]}`);
    }
  }
  assert.equal(await readFile(join(outside, "secret"), "utf8"), "secret\n");
  assert.deepEqual(await readdir(outside), ["secret"]);
});

test("whatever the path, nothing outside of the workspace changes or is read", async () => {
  await using place = await Place.make();
  const outside = join(place.root, "outside");
  await mkdir(outside);
  await writeFile(join(outside, "secret"), "secret\n");
  await symlink("../outside", join(place.workspace, "l"));
  await symlink("..", join(place.workspace, "up"));
  const part = fc.constantFrom(
    "..",
    ".",
    "l",
    "up",
    "outside",
    "secret",
    "a",
    "ws",
    "~",
    "\\",
    "%2e%2e",
    "\0",
    "…",
  );
  const path = fc
    .tuple(
      fc.constantFrom("", "/", `${place.root}/`, `${place.workspace}/`),
      fc.array(part, { maxLength: 6 }),
    )
    .map(([head, parts]) => head + parts.join("/"));
  await fc.assert(
    fc.asyncProperty(path, async (written) => {
      await place.apply(`*** Add File: ${written}`, "+evil").catch(() => {});
      await place.apply(`*** Delete File: ${written}`).catch(() => {});
      const content = await placeIn(place.workspace, written)
        .then((found) => readPlace(found, 100))
        .catch(() => Buffer.from(""));
      assert.notEqual(content.toString(), "secret\n");
      assert.deepEqual(await readdir(outside), ["secret"]);
      assert.deepEqual((await readdir(place.root)).sort(), ["outside", "ws"]);
      assert.equal(await readFile(join(outside, "secret"), "utf8"), "secret\n");
    }),
    { numRuns: 300 },
  );
});

test("a patch made from two texts turns one into the other", async () => {
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

test("no text makes the reader of patches hang or fail otherwise", () => {
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

test("a file that is no text, or no regular file, is not changed", async () => {
  await using place = await Place.make();
  await writeFile(join(place.workspace, "binary"), Buffer.from([0x61, 0x0a, 0xff, 0xfe, 0x0a]));
  const update = ["*** Update File: binary", "@@", "-a", "+b"];
  await assert.rejects(place.apply(...update), /no text/);
});
