import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { cloneInto } from "../../src/core/repository/clone.ts";
import { Mirrors } from "../../src/core/repository/mirrors.ts";
import { cloneWorld } from "../support/worlds/clone-world.ts";
import { confinedKinds } from "../support/worlds/confined-kinds.ts";

// What programs in symphony's own sandbox can do with the mirror of their workspace, and with what was prepared for it.

/** A prepared result, linked into the workspace as symphony does it. */
async function preparedFor(workspace: string, dataDir: string): Promise<string> {
  const tree = join(dataDir, "prepared", "one", "tree");
  await mkdir(join(tree, "left"), { recursive: true });
  await writeFile(join(tree, "left", "index.js"), "prepared\n");
  await mkdir(join(workspace, "node_modules"));
  await symlink(join(tree, "left"), join(workspace, "node_modules", "left"));
  return tree;
}

for (const [kind, make] of Object.entries(confinedKinds)) {
  test(`THREAT-2: a program of the kind ${kind} reads the mirror of its workspace and no other, and writes none`, async (t) => {
    const { order, clock, bare } = cloneWorld(t);
    const env = { PATH: process.env["PATH"] ?? "" };
    await using confined = await make({ env, passthrough: [] });
    const dir = join(realpathSync(confined.dataDir), "mirrors");
    const mirrors = new Mirrors({ dir, clock, env: { ...env, HOME: confined.home } });
    const path = confined.workspace;
    const made = join(confined.root, "made");
    await mkdir(made);
    const loan = await cloneInto({ ...order(), mirrors, path: made });
    cpSync(made, path, { recursive: true });
    await rm(made, { recursive: true });
    const mirror = await mirrors.repair(path, loan);
    const other = join(dir, "other", "repository.git");
    execFileSync("git", ["clone", "-q", "--bare", bare, other]);
    const tree = await preparedFor(path, realpathSync(confined.dataDir));
    const before = readdirSync(mirror, { recursive: true }).sort();
    const head = readFileSync(join(mirror, "HEAD"), "utf8");
    const git = "git -c user.name=A -c user.email=a@b.invalid";
    const said = await confined.run(
      [
        "git log --format=%s",
        // The workspace's own .git is read-only here; a writable copy borrows the same objects.
        `cp -r .git copy && echo x > a && GIT_DIR=copy git add a && GIT_DIR=copy ${git} commit -qm three && GIT_DIR=copy git log --format=%s`,
        `echo x > '${mirror}/x' || echo refused`,
        `: > '${mirror}/HEAD' || echo refused`,
        `mkdir '${mirror}/objects/xx' || echo refused`,
        `mv '${mirror}' '${mirror}2' || echo refused`,
        // Around the mirror there is only the sandbox's own temporary directory.
        `touch '${join(mirror, "..")}/x'; echo refused`,
        `cat '${other}/HEAD' || echo refused`,
        "echo x > node_modules/left/index.js || echo refused",
        "rm node_modules/left/index.js || echo refused",
        `touch '${tree}/more' || echo refused`,
        "cat node_modules/left/index.js && echo refused",
      ],
      { borrowed: [mirror, tree], level: kind === "acp" ? "networked" : "safe" },
    );
    assert.match(said[0] ?? "", /two\.txt\none\.txt\n/);
    assert.match(said[1] ?? "", /three\ntwo\.txt\none\.txt\n/);
    for (const one of said.slice(2)) assert.match(one, /refused/);
    assert.deepEqual(readdirSync(mirror, { recursive: true }).sort(), before);
    assert.equal(readFileSync(join(mirror, "HEAD"), "utf8"), head);
    assert.deepEqual(readdirSync(join(mirror, "..")), ["repository.git"]);
    assert.match(said.at(-1) ?? "", /^prepared$/m);
    assert.deepEqual(readdirSync(tree), ["left"]);
  });
}
