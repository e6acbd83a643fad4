import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { deleteTree } from "../../../src/core/workspace/deletion.ts";
import { otherUid } from "../../support/makers/other-user.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const source = new URL("../../../src/core/workspace/deletion.ts", import.meta.url);

/** Why the module cannot be run by a user without root's rights; false when it can. */
const noPlainUser =
  process.getuid?.() === 0 &&
  spawnSync("setpriv", ["--reuid", String(otherUid), "--clear-groups", "true"]).status === 0
    ? false
    : "needs root and setpriv";

/** Below `/tmp`, where every user may work. */
function place(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "symphony-deletion-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  chownSync(dir, otherUid, otherUid);
  return dir;
}

/**
 * Deletes `path` as the other user without any capability; returns the message of the failure. The
 * user may read this checkout only through root, so the module comes as text.
 */
function deleteAsOther(path: string): string {
  const script = `
    process.setgroups([]); process.setgid(${otherUid}); process.setuid(${otherUid});
    await deleteTree(${JSON.stringify(path)}).catch((error) => process.stdout.write(error.message));`;
  const args = ["--input-type=module", "--eval"];
  const load = `import { deleteTree } from ${JSON.stringify(fileURLToPath(source))};`;
  const { stdout, stderr, status } = spawnSync(process.execPath, [...args, load + script], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** Directories that their owner cannot write to, with files that nobody can, as Go leaves them. */
function moduleCache(top: string): void {
  for (const name of ["pkg/mod/a@v1/deep/deeper", "pkg/mod/b@v2/x", ".git/objects/aa"]) {
    mkdirSync(join(top, name), { recursive: true });
    for (let number = 0; number < 20; number++) {
      writeFileSync(join(top, name, `file-${number}.go`), "x", { mode: 0o444 });
    }
  }
}

function each(top: string, work: (path: string) => void): void {
  for (const entry of readdirSync(top, { withFileTypes: true })) {
    const path = join(top, entry.name);
    if (entry.isDirectory()) each(path, work);
    else work(path);
  }
  work(top);
}

test("a tree of read-only directories is deleted by a user without root's rights, every time", {
  skip: noPlainUser,
}, (t) => {
  for (let time = 0; time < 5; time++) {
    const top = join(place(t), "ENG-1");
    moduleCache(top);
    each(top, (path) => chownSync(path, otherUid, otherUid));
    each(top, (path) => {
      if (!/\.go$/.test(path)) chmodSync(path, 0o555);
    });
    assert.equal(deleteAsOther(top), "");
    assert.ok(!existsSync(top));
  }
});

test("a file of another user is named with the cause; the rest is deleted, and .git stays until it can be", {
  skip: noPlainUser,
}, (t) => {
  const top = join(place(t), "ENG-1");
  moduleCache(top);
  each(top, (path) => chownSync(path, otherUid, otherUid));
  mkdirSync(join(top, "built", "by-root"), { recursive: true });
  writeFileSync(join(top, "built", "by-root", "out.bin"), "x");
  chownSync(join(top, "built"), otherUid, otherUid);
  assert.equal(deleteAsOther(top), "built/by-root/out.bin: it belongs to another user (uid 0)");
  assert.deepEqual(readdirSync(top).sort(), [".git", "built"]);
  assert.ok(existsSync(join(top, ".git", "objects", "aa", "file-0.go")));
  chownSync(join(top, "built", "by-root"), otherUid, otherUid);
  assert.equal(deleteAsOther(top), "", "the next time");
  assert.ok(!existsSync(top));
});

test("links are removed and never followed; a name that is not UTF-8 is deleted; nothing there is no error", async (t) => {
  const dir = temporaryDir(t);
  const outside = join(dir, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "file"), "stays");
  const top = join(dir, "ENG-1");
  mkdirSync(join(top, "below"), { recursive: true });
  symlinkSync(outside, join(top, "below", "link"));
  writeFileSync(Buffer.concat([Buffer.from(`${top}/below/`), Buffer.from([0xff, 0xfe])]), "x");
  await deleteTree(top);
  assert.ok(!existsSync(top) && existsSync(join(outside, "file")));
  await deleteTree(top);
  symlinkSync(outside, top);
  await deleteTree(top);
  assert.ok(!existsSync(top) && existsSync(join(outside, "file")));
  assert.equal(dirname(outside), dir);
});
