import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseGitAddress } from "../../../src/core/config/git.ts";
import { fetchLfs, LfsFailure, pushLfs } from "../../../src/core/repository/lfs.ts";
import { agentsContent, LfsStore } from "../../../src/core/repository/lfs-store.ts";
import { lfsSite } from "../../support/fakes/lfs-site.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const canary = "canary-5e1b-token";
// Where every program must be, its absence is a failure.
const isHere = process.env["CI"] || spawnSync("git-lfs", ["version"]).status === 0;
const skip = isHere ? false : "git-lfs is missing";

function pointerOf(content: Buffer) {
  return { oid: createHash("sha256").update(content).digest("hex"), bytes: content.length };
}

/** A workspace with the content of new work, and the mirror of its repository. */
function bench(t: TestContext, host: string) {
  const dir = temporaryDir(t);
  const mirror = join(dir, "mirrors/hash/repository.git");
  const gitDir = join(dir, "workspace/.git");
  for (const each of [mirror, gitDir]) mkdirSync(each, { recursive: true });
  const store = new LfsStore(mirror, gitDir);
  const add = async (content: Buffer) => {
    const file = join(dir, "content");
    writeFileSync(file, content);
    assert.ok(await store.add(file, pointerOf(content)));
    return pointerOf(content);
  };
  const address = parseGitAddress(`http://$APP_TOKEN@${host}/origin.git`);
  assert.ok(!("problem" in address));
  const env = { PATH: process.env["PATH"], HOME: dir };
  const order = (password = canary) => ({
    ...{ address, env, runId: "run", timeoutMs: 20_000, signal: new AbortController().signal },
    credential: { user: "x-access-token", password },
  });
  return { dir, store, gitDir, add, order };
}

test("T-2: contents of git LFS go over http with the credential of the repository, which is in no file and no other call", {
  skip,
}, async (t) => {
  await using site = await lfsSite({ password: canary });
  const { dir, store, gitDir, add, order } = bench(t, site.host);
  const there = Buffer.alloc(50_000, "there ");
  site.contents.set(pointerOf(there).oid, there);
  await fetchLfs(order(), store, [pointerOf(there)]);
  assert.ok(readFileSync(store.pathOf(pointerOf(there))).equals(there));
  const own = await add(Buffer.alloc(40_000, "own "));
  assert.equal(await store.find(own), agentsContent(gitDir, own));
  assert.equal(await pushLfs(order(), store, [own, pointerOf(there), own]), null);
  assert.ok(site.contents.has(own.oid));
  assert.equal(await store.find(own), store.pathOf(own));
  assert.equal(await pushLfs(order(), store, [own]), null, "the server has it already");
  const known = new Set(site.logins.filter((login) => login !== null));
  assert.deepEqual([...known], [`x-access-token:${canary}`]);
  assert.deepEqual([...new Set(site.transfers)], ["RemoteAuth storage-pass"]);
  const files = globSync("**/*", { cwd: dir }).map((name) => join(dir, name));
  for (const file of files.filter((name) => statSync(name).isFile()))
    assert.ok(!readFileSync(file, "latin1").includes(canary), file);
});

test("lfs: what the server refuses is said in its words, without the credential, and what was not pushed stays in the workspace", {
  skip,
}, async (t) => {
  await using site = await lfsSite({ password: canary });
  const { store, gitDir, add, order } = bench(t, site.host);
  const own = await add(Buffer.alloc(40_000, "own "));
  const push = async (given = order()) => {
    const refusal = await pushLfs(given, store, [own]);
    assert.ok(refusal);
    assert.doesNotMatch(JSON.stringify(refusal), /canary/);
    return `${refusal.category}: ${refusal.reason}`;
  };
  const wrong = order("canary-wrong");
  assert.equal(await push(wrong), "permission: the credential was refused (git LFS)");
  // Git LFS would ask for the same credential again without end.
  assert.ok(site.logins.length < 10, `${site.logins.length} calls`);
  for (const [status, message] of [
    [403, "You may not write here"],
    [422, "Object is too large for this plan"],
    [507, "No space left"],
  ] as const) {
    site.refusals.push({ of: "api", status, message });
    assert.match(await push(), new RegExp(`${message}$`));
  }
  assert.equal(await store.find(own), agentsContent(gitDir, own));
  const gone = pointerOf(Buffer.from("gone"));
  await assert.rejects(
    fetchLfs(order(), store, [gone]),
    (error) => error instanceof LfsFailure && /Object does not exist/.test(error.message),
  );
  site.refusals.push({ of: "storage", status: 503, message: "Busy" });
  assert.equal(await pushLfs(order(), store, [own]), null, "it is tried again");
  assert.ok(site.contents.has(own.oid));
});

test("lfs: of a download without an end not much more is written than its pointer says", {
  skip,
}, async (t) => {
  await using site = await lfsSite({ password: canary });
  const { dir, store, order } = bench(t, site.host);
  const pointer = pointerOf(Buffer.alloc(10_000, "short "));
  site.endless.add(pointer.oid);
  await assert.rejects(fetchLfs({ ...order(), timeoutMs: 60_000 }, store, [pointer]), (error) => {
    assert.ok(error instanceof LfsFailure);
    assert.match(error.message, /^the server sends more than 10000 bytes for \w{12} \(git LFS\)$/);
    return true;
  });
  const files = globSync("mirrors/**/*", { cwd: dir }).map((name) => statSync(join(dir, name)));
  const largest = Math.max(...files.filter((one) => one.isFile()).map(({ size }) => size), 0);
  assert.ok(largest <= 10_000, `${largest} bytes`);
  site.endless.delete(pointer.oid);
  site.contents.set(pointer.oid, Buffer.alloc(10_000, "short "));
  await fetchLfs(order(), store, [pointer]);
});
