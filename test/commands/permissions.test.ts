import assert from "node:assert/strict";
import { chmod, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { freshProject } from "../support/worlds/real-server.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

test("THREAT-22: under umask 000 every file is 0600 and every directory 0700, and no key that others can read is used", async () => {
  await using project = await freshProject();
  const dataDir = join(project.dir, ".symphony");
  const env = { SYMPHONY_TOKEN: undefined, SYMPHONY_MASTER_KEY: undefined };
  const place = { workflowPath: join(project.dir, "WORKFLOW.md"), dataDir, env };
  const umask = process.umask(0);
  try {
    await using server = await Served.start(place);
    const { client } = server;
    await client.secrets.put({ params: { key: "A" }, body: { value: "a-secret-value" } });
    await client.templates.create({ body: { name: "one", body: "Do {{ issue.title }}" } });
    await client.config.replaceOverlay({ body: { agent: { max_turns: 4 } } });
    const body = { title: "One", state: "Todo", labels: ["ready"] };
    await client.issues.create({ body });
    await eventually("the log is there", async () => (await readdir(dataDir)).includes("log"));
    const seen = await modesUnder(dataDir);
    for (const name of ["secrets.json", "history.db", "runtime.json", "log/symphony.log"]) {
      assert.ok(seen.has(join(dataDir, name)), `${name} in ${[...seen.keys()]}`);
    }
    const loose = [...seen].filter(([, mode]) => (mode & 0o077) !== 0);
    assert.deepEqual(loose, []);
  } finally {
    process.umask(umask);
  }
  const key = (await readdir(dataDir)).find((name) => name.endsWith(".key"));
  assert.ok(key !== undefined);
  await chmod(join(dataDir, key), 0o640);
  const refused = await symphony({ env, dataDir }, "serve", place.workflowPath, "--port", "0");
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /read by other users/);
});

/** The modes of a directory and of everything below it, by path. */
async function modesUnder(dir: string): Promise<ReadonlyMap<string, number>> {
  const names = await readdir(dir, { recursive: true });
  const modes = new Map<string, number>();
  for (const path of [dir, ...names.map((name) => join(dir, name))]) {
    // A journal may be gone before it is read.
    const found = await stat(path).catch(() => null);
    if (found?.isFile() || found?.isDirectory()) modes.set(path, found.mode & 0o777);
  }
  return modes;
}
