import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { storageUnavailable } from "../../../src/core/store/durable.ts";
import { lockDataDir, lockRoot } from "../../../src/core/store/lock.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

test("FAULT-11: a second process is refused within a second, with the pid and url of the first", async (t) => {
  const dir = join(temporaryDir(t), "deep", "data");
  const lock = await lockDataDir(dir);
  t.after(() => lock.release());
  const url = "http://127.0.0.1:4000";
  writeFileSync(
    join(dir, "runtime.json"),
    JSON.stringify({ pid: process.pid, url, token: "secret" }),
  );
  const started = performance.now();
  await assert.rejects(lockDataDir(dir), (error) => {
    assert.ok(coded("data_dir_locked", new RegExp(`pid ${process.pid}, ${url}`))(error));
    assert.doesNotMatch(JSON.stringify(error) + String(error), /secret/);
    return true;
  });
  assert.ok(performance.now() - started < 1_000);
});

test("FAULT-11: the url in a runtime.json of a previous server is not shown for the current holder", async (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, "runtime.json"), JSON.stringify({ pid: 1, url: "http://old" }));
  const lock = await lockDataDir(dir);
  t.after(() => lock.release());
  const named = coded("data_dir_locked", new RegExp(`\\(pid ${process.pid}\\)`));
  await assert.rejects(lockDataDir(dir), named);
});

test("a released directory can be locked again, and releasing twice is harmless", async (t) => {
  const dir = temporaryDir(t);
  const lock = await lockDataDir(dir);
  await lock.release();
  await lock.release();
  await (await lockDataDir(dir)).release();
  assert.ok(!readdirSync(dir).includes("lock.json"));
});

/** Another process that holds the directory. */
async function holderOf(t: TestContext, dir: string): Promise<ChildProcess> {
  const module = join(import.meta.dirname, "../../../src/core/store/lock.ts");
  const program = `const { lockDataDir } = await import(${JSON.stringify(module)});
    await lockDataDir(${JSON.stringify(dir)});
    console.log("locked");
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => holder.kill("SIGKILL"));
  await once(holder.stdout, "data");
  return holder;
}

test("FAULT-9: a lock.json that cannot be removed leaves the exit code and prints nothing; one that cannot be looked at is named", async (t) => {
  const dir = temporaryDir(t);
  const module = join(import.meta.dirname, "../../../src/core/store/lock.ts");
  const file = JSON.stringify(join(dir, "lock.json"));
  const program = `const { lockDataDir } = await import(${JSON.stringify(module)});
    const { mkdirSync, rmSync } = await import("node:fs");
    await lockDataDir(${JSON.stringify(dir)});
    rmSync(${file});
    mkdirSync(${file});
    process.exit(3);`;
  const args = ["--input-type=module", "-e", program];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.deepEqual({ status, stderr }, { status: 3, stderr: "" });
  const root = temporaryDir(t);
  symlinkSync("lock.json", join(root, "lock.json"));
  await assert.rejects(lockRoot(root, dir), coded("storage_unavailable", /lock\.json/));
});

test("FAULT-11: the lock is free at once after kill -9", async (t) => {
  const dir = temporaryDir(t);
  const holder = await holderOf(t, dir);
  await assert.rejects(lockDataDir(dir), coded("data_dir_locked", new RegExp(`pid ${holder.pid}`)));
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await (await lockDataDir(dir)).release();
});

test("FAULT-11: a lock file that was removed lets no second process in while the first is alive", {
  skip: process.platform === "linux" ? false : "needs /proc",
}, async (t) => {
  const dir = temporaryDir(t);
  const holder = await holderOf(t, dir);
  const refused = coded("data_dir_locked", new RegExp(`pid ${holder.pid}`));
  rmSync(join(dir, "lock"));
  await assert.rejects(lockDataDir(dir), refused);
  await assert.rejects(lockDataDir(dir), refused, "and the refusal left no new one");
  writeFileSync(join(dir, "runtime.json"), JSON.stringify({ pid: holder.pid }));
  rmSync(join(dir, "lock.json"));
  await assert.rejects(lockDataDir(dir), refused);
  // Nor when all that names the process is gone, or the file was renamed.
  const held = coded("data_dir_locked", /Another symphony is using/);
  writeFileSync(join(dir, "history.db"), "");
  rmSync(join(dir, "runtime.json"));
  await assert.rejects(lockDataDir(dir), held);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await (await lockDataDir(dir)).release();
  const other = await holderOf(t, dir);
  renameSync(join(dir, "lock"), join(dir, "lock.old"));
  await assert.rejects(lockDataDir(dir), coded("data_dir_locked", new RegExp(`pid ${other.pid}`)));
});

test("FAULT-11: without /proc a removed lock file keeps others out while the process lives", async (t) => {
  const dir = temporaryDir(t);
  const holder = await holderOf(t, dir);
  rmSync(join(dir, "lock"));
  const { platform } = process;
  Object.defineProperty(process, "platform", { value: "darwin" });
  t.after(() => Object.defineProperty(process, "platform", { value: platform }));
  await assert.rejects(lockDataDir(dir), coded("data_dir_locked", new RegExp(`pid ${holder.pid}`)));
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await (await lockDataDir(dir)).release();
});

test("a new data directory is 0700 and ignored by git", async (t) => {
  const dir = join(temporaryDir(t), "data");
  const lock = await lockDataDir(dir);
  t.after(() => lock.release());
  assert.equal(statSync(dir).mode & 0o777, 0o700);
  assert.equal(readFileSync(join(dir, ".gitignore"), "utf8"), "*\n");
  for (const name of readdirSync(dir))
    assert.equal(statSync(join(dir, name)).mode & 0o077, 0, name);
});

test("a folder that already exists gets no .gitignore", async (t) => {
  const dir = temporaryDir(t);
  mkdirSync(join(dir, "src"));
  const lock = await lockDataDir(dir);
  t.after(() => lock.release());
  assert.ok(!readdirSync(dir).includes(".gitignore"));
});

test("FAULT-9: a file at the path of the directory is storage_unavailable", async (t) => {
  const file = join(temporaryDir(t), "file");
  writeFileSync(file, "");
  await assert.rejects(lockDataDir(join(file, "data")), coded("storage_unavailable"));
});

test("FAULT-9: only a damaged lock is to be removed; a disk that cannot be written to is to be mended", async (t) => {
  const dir = temporaryDir(t);
  mkdirSync(join(dir, "lock.json"));
  await assert.rejects(lockDataDir(dir), { hint: /^it is damaged; .*rm -r '.*lock\.json'$/ });
  const refused = (code: string, errno: number) =>
    storageUnavailable("lock.json", Object.assign(new Error(code), { code, errno })).hint;
  assert.match(refused("EROFS", -30) ?? "", /^the disk is read-only: mount it writable/);
  assert.match(refused("EIO", -5) ?? "", /^the disk is failing/);
});
