import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cloneInto } from "../../src/core/repository/clone.ts";
import { Mirrors } from "../../src/core/repository/mirrors.ts";
import { cloneWorld } from "../support/worlds/clone-world.ts";
import { output, safeBench, shell } from "../support/worlds/safe-bench.ts";

// What the real codex, with symphony's permission profile, can do with the mirror of its workspace.

for (const allowGit of [true, false]) {
  test(`THREAT-2: codex reads the mirror of its workspace and no other, and writes none (allow_git ${allowGit})`, async (t) => {
    const { order, clock, bare } = cloneWorld(t);
    await using s = await safeBench([], { allowGit });
    const dir = join(realpathSync(s.dataDir), "mirrors");
    const env = { PATH: process.env["PATH"], HOME: s.userHome };
    const mirrors = new Mirrors({ dir, clock, env });
    const path = s.bench.workspace;
    rmSync(path, { recursive: true });
    mkdirSync(path);
    const loan = await cloneInto({ ...order(), mirrors, path });
    const mirror = await mirrors.repair(path, loan);
    const tree = join(realpathSync(s.dataDir), "prepared", "one", "tree");
    mkdirSync(join(tree, "left"), { recursive: true });
    writeFileSync(join(tree, "left", "index.js"), "prepared\n");
    mkdirSync(join(path, "node_modules"));
    symlinkSync(join(tree, "left"), join(path, "node_modules", "left"));
    writeFileSync(join(path, ".gitmodules"), '[submodule "x"]\n\tpath = libs/x\n');
    const inside = join(path, "libs/x/.git");
    mkdirSync(join(inside, "hooks"), { recursive: true });
    writeFileSync(join(inside, "config"), "[core]\n");
    const other = join(dir, "other", "repository.git");
    execFileSync("git", ["clone", "-q", "--bare", bare, other]);
    const before = readdirSync(mirror, { recursive: true }).sort();
    const head = readFileSync(join(mirror, "HEAD"), "utf8");
    const git = "git -c user.name=A -c user.email=a@b.invalid";
    const tries = [
      "git log --format=%s",
      `echo x > a; git add a && ${git} commit -qm three`,
      `echo x > '${mirror}/x'`,
      `: > '${mirror}/HEAD'`,
      `mkdir '${mirror}/objects/xx'`,
      `mv '${mirror}' '${mirror}2'`,
      `rmdir '${mirror}'`,
      `chmod 777 '${mirror}'`,
      `cat '${other}/HEAD' && echo READ`,
      `cat '${s.secrets.key}' && echo READ`,
      "cat node_modules/left/index.js",
      "echo WRITTEN > node_modules/left/index.js; rm node_modules/left/index.js",
      `touch '${tree}/more'; mv '${tree}' '${tree}2'; cat node_modules/left/index.js`,
      "echo WRITTEN >>libs/x/.git/config; touch libs/x/.git/hooks/pre-commit; rm -r libs/x/.git",
      "mv libs/x/.git libs/x/git; mv libs/x libs/y; mv libs other; echo inside > libs/x/file",
    ];
    await s.openai.setScript(shell(tries.join("\n")));
    const said = await output(s, { borrowed: [mirror, tree] });
    assert.match(said, /^two.txt\none.txt\n/);
    assert.match(said, /^prepared$(?:.|\n)*^prepared$/m);
    assert.deepEqual(readdirSync(tree), ["left"]);
    assert.equal(readFileSync(join(tree, "left", "index.js"), "utf8"), "prepared\n");
    assert.doesNotMatch(said, /READ|canary/);
    assert.equal(readFileSync(join(inside, "config"), "utf8"), "[core]\n");
    assert.deepEqual(readdirSync(join(inside, "hooks")), []);
    assert.equal(readFileSync(join(path, "libs/x/file"), "utf8"), "inside\n");
    assert.deepEqual(readdirSync(mirror, { recursive: true }).sort(), before);
    assert.equal(readFileSync(join(mirror, "HEAD"), "utf8"), head);
    const last = execFileSync("git", ["-C", path, "log", "-1", "--format=%s"], {
      encoding: "utf8",
    });
    assert.equal(last.trim(), allowGit ? "three" : "two.txt");
    await mirrors.refresh({ ...order(), address: order().repository.address, ...noDepth });
    assert.ok(readdirSync(join(mirror, "..")).includes("repository.git"));
  });
}

const noDepth = { depth: null, credential: null };
