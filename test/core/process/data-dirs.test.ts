import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, realpath, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { knownDataDirs, registerDataDir } from "../../../src/core/process/data-dirs.ts";

async function home() {
  const root = await realpath(await mkdtemp(join(tmpdir(), "symphony-projects-")));
  const env = { HOME: root };
  return {
    root,
    env,
    async started(name: string): Promise<void> {
      const dataDir = join(root, name, ".symphony");
      await mkdir(dataDir, { recursive: true });
      await registerDataDir({ dataDir, workspaceRoot: join(root, name, "work") }, env);
    },
    known: async () => (await knownDataDirs(env)).map((dir) => dir.slice(root.length + 1)).sort(),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

test("projects are known after a start, each once, and forgotten when their data directory is gone", async () => {
  await using h = await home();
  assert.deepEqual(await h.known(), []);
  for (const name of ["a", "b", "a"]) await h.started(name);
  assert.deepEqual(await h.known(), ["a/.symphony", "a/work", "b/.symphony", "b/work"]);
  await rm(join(h.root, "a"), { recursive: true });
  await h.started("c");
  assert.deepEqual(await h.known(), ["b/.symphony", "b/work", "c/.symphony", "c/work"]);
});

test("projects that start at once are all known, and no other user reads the list", async () => {
  await using h = await home();
  const names = Array.from({ length: 12 }, (_, index) => `p${index}`);
  await Promise.all(names.map((name) => h.started(name)));
  assert.equal((await h.known()).length, 2 * names.length);
  const registry = join(h.root, ".symphony", "projects");
  assert.equal((await stat(registry)).mode & 0o077, 0);
  for (const file of await readdir(registry)) {
    assert.equal((await stat(join(registry, file))).mode & 0o077, 0);
  }
});

test("a file that is none of the list's is ignored", async () => {
  await using h = await home();
  await h.started("a");
  const registry = join(h.root, ".symphony", "projects");
  for (const text of ["", "[]", "{}", '{"data_dir":1}', "nothing"]) {
    await writeFile(join(registry, "0000.json"), text);
    assert.deepEqual(await h.known(), ["a/.symphony", "a/work"]);
  }
});
