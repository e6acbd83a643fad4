import assert from "node:assert/strict";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { PathError, pathInside, readInside } from "../../../../src/core/agent/openai/files.ts";
import { PatchPlace } from "../../../support/makers/patch-place.ts";

test("no path and no link leads out of the workspace, or to files that git obeys", async () => {
  await using place = await PatchPlace.make();
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

test("for any path, nothing outside of the workspace is changed or read", async () => {
  await using place = await PatchPlace.make();
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
      const content = await pathInside(place.workspace, written)
        .then((found) => readInside(found, 100))
        .catch(() => Buffer.from(""));
      assert.notEqual(content.toString(), "secret\n");
      assert.deepEqual(await readdir(outside), ["secret"]);
      assert.deepEqual((await readdir(place.root)).sort(), ["outside", "ws"]);
      assert.equal(await readFile(join(outside, "secret"), "utf8"), "secret\n");
    }),
    { numRuns: 300 },
  );
});
