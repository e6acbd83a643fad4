import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { lockDataDir } from "../../src/core/store/lock.ts";
import { neededFiles } from "../support/makers/storage.ts";
import { type Finished, Served, symphony } from "../support/worlds/symphony.ts";

const junk = "neither a database nor a document\n".repeat(40);
const workflow = `---
tracker: { kind: local, provider: { webhook_secret: $HOOK_SECRET } }
---
Work on {{ issue.title }}
`;

/** A project that was served before; each test copies it. */
let whole: string;
before(async () => {
  whole = await mkdtemp(join(tmpdir(), "symphony-damaged-"));
  await writeFile(join(whole, "WORKFLOW.md"), workflow);
  await using server = await Served.start(placeOf(whole));
  const { client } = server;
  await client.secrets.put({ params: { key: "A" }, body: { value: "a-secret-value" } });
  await client.templates.create({ body: { name: "one", body: "Do {{ issue.title }}" } });
  await client.config.replaceOverlay({ body: { agent: { max_turns: 4 } } });
  await client.issues.create({ body: { title: "One", state: "Done" } });
});
after(() => rm(whole, { recursive: true, force: true }));

function placeOf(dir: string) {
  return {
    workflowPath: join(dir, "WORKFLOW.md"),
    dataDir: join(dir, ".symphony"),
    cwd: dir,
    env: { HOME: dir, HOOK_SECRET: "a-signing-secret-of-thirty-two-x" },
  };
}

interface Project extends AsyncDisposable {
  readonly dataDir: string;
  serve(...args: string[]): Promise<Finished>;
}

async function copied(): Promise<Project> {
  const dir = await mkdtemp(join(tmpdir(), "symphony-damaged-"));
  await cp(whole, dir, { recursive: true });
  const place = placeOf(dir);
  return {
    dataDir: place.dataDir,
    serve: (...args) => symphony(place, "serve", ...args),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** One message names `file` and what to do; the command leaves no files behind. */
async function refused({ dataDir }: Project, ended: Finished, file: string): Promise<void> {
  assert.ok([1, 4].includes(ended.code ?? 0), `${ended.code}: ${ended.stderr}`);
  assert.ok(ended.stderr.includes(file), ended.stderr);
  assert.match(ended.stderr, /\n {2}next: \S/);
  assert.doesNotMatch(ended.stderr, /\n\s+at |internal_error/);
  const left = await readdir(dataDir).catch((): string[] => []);
  assert.ok(!left.includes("runtime.json") || file.endsWith("runtime.json"), left.join(" "));
}

describe("serve exits and names the damaged file:", () => {
  const files = [...neededFiles, "secrets.key", "lock"];
  for (const file of files) {
    test(file, async () => {
      await using project = await copied();
      const path = join(project.dataDir, file);
      await writeFile(path, junk, { mode: 0o600 });
      const ended = await project.serve("--port", "0");
      await refused(project, ended, path);
      if (file.endsWith(".db")) {
        const next = `next: Move ${path} aside, and with it ${file}-wal and ${file}-shm where they exist`;
        assert.ok(ended.stderr.includes(next), ended.stderr);
      }
      if (file !== "lock") await (await lockDataDir(project.dataDir)).release();
    });

    test(`${file}, which is a directory`, async () => {
      await using project = await copied();
      const path = join(project.dataDir, file);
      await rm(path, { force: true });
      await mkdir(path);
      await refused(project, await project.serve("--port", "0"), path);
    });
  }

  for (const file of files.filter((name) => name.endsWith(".db"))) {
    test(`${file}, of which only the journal is left: the advice in the message repairs it`, async () => {
      await using project = await copied();
      const path = join(project.dataDir, file);
      await rm(path, { force: true });
      await writeFile(`${path}-wal`, junk, { mode: 0o600 });
      const ended = await project.serve("--port", "0");
      await refused(project, ended, path);
      const { code, stderr } = await project.serve("--once", "--port", "0", "--accept-loss", file);
      assert.equal(code, 0, stderr);
      assert.ok((await readdir(project.dataDir)).includes(`${file}-wal.lost`));
    });
  }

  for (const file of ["history.db", "templates.json"]) {
    test(`${file}, which is missing: --accept-loss continues without it`, async () => {
      await using project = await copied();
      const path = join(project.dataDir, file);
      // Without the previous copy, which says the same.
      for (const suffix of ["", ".bak", "-wal", "-shm"]) await rm(path + suffix, { force: true });
      const before = await readdir(project.dataDir);
      const ended = await project.serve("--port", "0");
      await refused(project, ended, path);
      assert.match(ended.stderr, new RegExp(`symphony serve --accept-loss ${file}`));
      assert.deepEqual(await readdir(project.dataDir), before, "nothing was changed");
      const once = ["--once", "--port", "0"];
      const { code, stderr } = await project.serve(...once, "--accept-loss", file);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /files are lost, as accepted/);
      assert.equal((await project.serve(...once)).code, 0);
    });
  }

  for (const file of ["lock.json", "runtime.json"]) {
    test(`${file}, which cannot be written`, async () => {
      await using project = await copied();
      const path = join(project.dataDir, file);
      await mkdir(path);
      await refused(project, await project.serve("--port", "0"), path);
      if (file !== "lock.json") await (await lockDataDir(project.dataDir)).release();
    });
  }

  test("a data directory that cannot be created", async () => {
    await using project = await copied();
    const { dataDir } = project;
    await rm(dataDir, { recursive: true });
    await writeFile(dataDir, "");
    await refused(project, await project.serve("--port", "0"), dataDir);
  });

  test("a port in use", async () => {
    await using project = await copied();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const address = other.address();
    const port = String(typeof address === "object" && address?.port);
    await refused(project, await project.serve("--port", port), `127.0.0.1:${port}`);
    await (await lockDataDir(project.dataDir)).release();
    other.close();
  });
});
