import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Config } from "../../../src/core/config/config.ts";
import type { Checked } from "../../../src/core/delivery/checks.ts";
import { type Delivered, fresh } from "../../../src/core/delivery/delivered.ts";
import { commandsFor, isGenerated } from "../../../src/core/delivery/generated.ts";
import { type NewEntry, openDeliveryStore } from "../../../src/core/delivery/store.ts";
import { Updates } from "../../../src/core/delivery/updates.ts";
import { readMerging, writeBaseline, writeMerging } from "../../../src/core/workspace/baseline.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn, origin } from "../../support/makers/git-repository.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const id = "id-A-1";
const settings = (delivery: Partial<Config["delivery"]>) => {
  const base = config({
    delivery: { author: { name: "Sym", email: "s@example.org" }, ...delivery },
  });
  return { ...base, git: { ...base.git, repositories: [{ name: "shop" } as never] } };
};

/** A pushed branch, its workspace, and a base that others move. */
async function bench(t: TestContext, delivery: Partial<Config["delivery"]> = {}) {
  const root = temporaryDir(t);
  const mirror = origin(root);
  const seed = join(root, "seed");
  const put = (path: string, files: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
    gitIn(path)("add", "-A");
    gitIn(path)("commit", "-q", "-m", "work");
    return gitIn(path)("rev-parse", "HEAD");
  };
  const advance = (files: Readonly<Record<string, string>>) => {
    const tip = put(seed, files);
    gitIn(mirror)("fetch", "-q", seed, "+main:main");
    return tip;
  };
  advance({ "package-lock.json": "lock\n" });
  const workspaces = join(root, "workspaces");
  mkdirSync(workspaces);
  const path = join(workspaces, "A-1");
  gitIn(root)("clone", "-q", "--shared", mirror, path);
  const started = gitIn(path)("rev-parse", "HEAD");
  await writeBaseline(path, {
    ...{ issueId: id, repository: "own", head: started, refs: new Map(), staged: "", loan: null },
    ...{ remote: [], borrows: [join(mirror, "objects")], mirrors: null },
    files: new Map(),
  });
  gitIn(path)("checkout", "-q", "-b", "symphony/A-1");
  const head = put(path, { "one.txt": "ours\n", "package-lock.json": "lock\nours\n" });
  const store = openDeliveryStore(root, () => 0);
  t.after(() => store.close());
  const where = { repository: "shop", branch: "symphony/A-1", base: "main", workspacePath: path };
  store.save({ ...fresh(issue("A-1")), ...where, mode: "branch", head, pushed: head });
  let isRunning = false;
  let isAttached = false;
  let checksUntilStop = Number.POSITIVE_INFINITY;
  let isFull = false;
  const told: string[] = [];
  const pushes: NewEntry[] = [];
  const refused: string[] = [];
  const stops: string[] = [];
  const unused = () => {
    throw new Error("not used");
  };
  const updates = new Updates({
    clock: new FakeClock(),
    store,
    log: {
      debug() {},
      info() {},
      warn: (_: string, fields: object) => told.push(JSON.stringify(fields)),
      error() {},
    } as never,
    bus: {
      publish: ({ type, message }: { readonly type: string; readonly message: string }) => {
        if (type === "delivery.refused") refused.push(message);
      },
    },
    config: () => settings(delivery),
    save: (next: Delivered, entries: readonly NewEntry[] = []) => {
      if (isFull) throw new Error("the disk is full");
      store.save(next, entries);
      pushes.push(...entries);
    },
    kick() {},
    tellFeedback: () => told.push("feedback"),
    isRunning: () => isRunning,
    isAttached: () => isAttached,
    isEnded: () => false,
    ports: {
      identity: unused,
      contentsOf: async () => null,
      signer: async () => ({ settings: [], env: {} }),
      mirror: async () => mirror,
      holdsSecret: (bytes: Buffer) => (bytes.includes("canary-secret") ? "a token" : null),
      check: async ({ workspace }: Checked, commands: readonly string[]) => {
        if (checksUntilStop-- === 0) {
          checksUntilStop = Number.POSITIVE_INFINITY;
          throw new Error("the server is stopping");
        }
        for (const command of commands) {
          const end = spawnSync("bash", ["-c", command], { cwd: workspace.path, encoding: "utf8" });
          if (end.status !== 0) return { command, output: end.stdout };
        }
        return null;
      },
    },
    ...{ tracker: unused, forgeFor: unused, push: unused, isContained: unused },
    post: ({ reason }: { readonly reason: string }) => stops.push(reason),
    lastMessage: unused,
  } as never);
  const update = (base: string, onlyConflicts = false) =>
    updates.update(id, { base, conflict: null, onlyConflicts });
  const feedback = () => store.newFeedback(id).map(({ text }) => text);
  return {
    ...{ refused, stops },
    ...{ path, head, store, advance, update, updates, told, pushes, feedback, git: gitIn(path) },
    read: (name: string) => readFileSync(join(path, name), "utf8"),
    run: (running: boolean) => {
      isRunning = running;
    },
    attach: (attached: boolean) => {
      isAttached = attached;
    },
    interrupt: (afterChecks = 0) => {
      checksUntilStop = afterChecks;
    },
    fillDisk: (full: boolean) => {
      isFull = full;
    },
  };
}

test("O-40: a branch that is behind is updated and pushed without a turn, once for each head and base", async (t) => {
  const { path, git, head, store, advance, update, pushes, told } = await bench(t);
  const base = advance({ "two.txt": "theirs\n" });
  await update(base);
  const merge = git("rev-parse", "HEAD");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.deepEqual(
    pushes.map(({ key, payload }) => [key, payload["commit"]]),
    [[`push:${id}:update:${head}:${base}`, merge]],
  );
  assert.equal(store.of(id)?.head, merge);
  assert.deepEqual(store.of(id)?.carried, [head], "its review holds for the merge");
  store.save({ ...(store.of(id) as Delivered), pushed: merge });
  await update(base);
  assert.equal(git("rev-parse", "HEAD"), merge);
  // A later round commits, its work waits, and then the base moves again.
  writeFileSync(join(path, "three.txt"), "ours\n");
  git("add", "-A");
  git("commit", "-q", "-m", "round");
  const round = git("rev-parse", "HEAD");
  store.save({ ...(store.of(id) as Delivered), head: round, pushed: round });
  await update(advance({ "four.txt": "theirs\n" }));
  const { carried, carriedTo } = store.of(id) ?? {};
  assert.deepEqual([carried, carriedTo], [[round], git("rev-parse", "HEAD")], "and no earlier one");
  assert.deepEqual(told, []);
});

test("O-40: a conflict is the next turn's, once, and says which files have marks", async (t) => {
  const { read, advance, update, feedback, told, pushes } = await bench(t);
  const base = advance({ "one.txt": "theirs\n" });
  for (let at = 0; at < 3; at++) await update(base, true);
  assert.deepEqual(told, ["feedback"]);
  assert.match(feedback()[0] ?? "", /conflicts with main .*\nWith conflict markers: one\.txt\./);
  assert.match(read("one.txt"), /<<<<<<< HEAD\nours\n/);
  assert.deepEqual(pushes, []);
});

test("while an agent or a person works nothing is touched; afterwards it is done", async (t) => {
  const { git, head, advance, update, run, attach } = await bench(t);
  run(true);
  const base = advance({ "two.txt": "theirs\n" });
  await update(base);
  assert.equal(git("rev-parse", "HEAD"), head);
  run(false);
  attach(true);
  await update(base);
  assert.equal(git("rev-parse", "HEAD"), head);
  attach(false);
  await update(base);
  assert.notEqual(git("rev-parse", "HEAD"), head);
});

test("a workspace that is gone, or a remote that keeps failing: the site's word is told alone, once", async (t) => {
  const word = {
    ...{
      issueId: id,
      source: "conflict:base",
      hash: "x",
      text: "The branch conflicts.",
      author: null,
    },
    ...{ url: null, byPerson: false, replyTo: null, at: 0 },
  };
  const gone = await bench(t);
  rmSync(gone.path, { recursive: true });
  const wanted = { base: gone.advance({ "one.txt": "theirs\n" }), conflict: word };
  for (let at = 0; at < 2; at++) await gone.updates.update(id, { ...wanted, onlyConflicts: false });
  assert.deepEqual(gone.feedback(), ["The branch conflicts."]);
  const failing = await bench(t);
  const unknown = { base: "1".repeat(40), conflict: word, onlyConflicts: false };
  await failing.updates.update(id, unknown);
  await failing.updates.update(id, unknown);
  assert.deepEqual(failing.feedback(), []);
  for (let at = 0; at < 3; at++) await failing.updates.update(id, unknown);
  assert.deepEqual(failing.feedback(), ["The branch conflicts."]);
  // A person reads why, with what to do, until an update goes through.
  const said = failing.store.of(id)?.problem ?? "";
  assert.match(said, /^main \(1{10}\) was not merged into the branch: .+; next: symphony attach /);
  assert.equal(failing.refused.length, 1);
  assert.equal(gone.store.of(id)?.problem ?? null, null);
  await failing.update(failing.advance({ "three.txt": "theirs\n" }), true);
  assert.equal(failing.store.of(id)?.problem ?? null, null);
});

test("delivery.regenerate: a lock file is written by its command from the base's version", async (t) => {
  const regenerate = { "package-lock.json": "echo regenerated >> package-lock.json" };
  const { git, head, advance, update, feedback, pushes } = await bench(t, { regenerate });
  const base = advance({ "package-lock.json": "lock\npinned by the base\n" });
  await update(base, true);
  assert.deepEqual(feedback(), []);
  assert.equal(git("show", "HEAD:package-lock.json"), "lock\npinned by the base\nregenerated");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.equal(git("status", "--porcelain"), "");
  assert.equal(pushes.length, 1);
});

test("a lock file without a command, or whose command fails, is one turn that says so; the base's pins are in it", async (t) => {
  for (const regenerate of [{}, { "*.json": "echo no network; exit 1" }]) {
    const { read, advance, update, feedback, pushes } = await bench(t, { regenerate });
    const base = advance({ "package-lock.json": "lock\npinned by the base\n" });
    for (let at = 0; at < 2; at++) await update(base, true);
    assert.equal(feedback().length, 1);
    assert.match(feedback()[0] ?? "", /at the version of main: package-lock\.json\. Do not edit/);
    assert.equal(/no network/.test(feedback()[0] ?? ""), "*.json" in regenerate);
    assert.equal(read("package-lock.json"), "lock\npinned by the base\n");
    assert.deepEqual(pushes, []);
  }
});

test("delivery.checks that fail on the merge keep it from being pushed: the next turn reads why", async (t) => {
  const checks = ["test ! -e bad.txt || { echo bad.txt is bad; false; }"];
  const { head, store, advance, update, feedback, pushes } = await bench(t, { checks });
  await update(advance({ "bad.txt": "bad\n" }));
  assert.match(
    feedback()[0] ?? "",
    /was merged into the branch, and then the check .*bad\.txt is bad/s,
  );
  assert.deepEqual(pushes, []);
  assert.equal(store.of(id)?.head, head);
});

test("what a failed check says is kept, once, also when the end of the update cannot be saved", async (t) => {
  const { store, advance, update, feedback, fillDisk } = await bench(t, { checks: ["false"] });
  const base = advance({ "two.txt": "theirs\n" });
  fillDisk(true);
  await update(base);
  assert.deepEqual([feedback().length, store.of(id)?.updatedFor ?? null], [1, null]);
  fillDisk(false);
  await update(base);
  assert.equal(feedback().length, 1);
  assert.ok(store.of(id)?.updatedFor?.endsWith(base));
  assert.equal(await readMerging(store.of(id)?.workspacePath ?? ""), null);
});

test("a merge of generated files that a restart cut off in its checks is checked again and pushed, as one to review", async (t) => {
  const regenerate = { "package-lock.json": "echo regenerated >> package-lock.json" };
  const { path, git, head, store, advance, update, pushes, refused, interrupt } = await bench(t, {
    regenerate,
  });
  const base = advance({ "package-lock.json": "lock\npinned by the base\n" });
  interrupt(1);
  await update(base);
  const merge = git("rev-parse", "HEAD");
  assert.deepEqual([git("log", "-1", "--format=%P"), pushes], [`${head} ${base}`, []]);
  // As if the kill had come between the commit and its record.
  const left = await readMerging(path);
  assert.ok(left?.commit === merge);
  await writeMerging(path, { ...left, commit: null });
  await update(base);
  assert.deepEqual([refused, pushes.map(({ payload }) => payload["commit"])], [[], [merge]]);
  assert.deepEqual([store.of(id)?.head, store.of(id)?.carried ?? []], [merge, []]);
});

test("a merge of generated files that a restart cut off before its commit is made again, also for a base that moved on", async (t) => {
  const regenerate = { "package-lock.json": "echo regenerated >> package-lock.json" };
  const { path, git, head, advance, update, pushes, refused, interrupt, feedback } = await bench(
    t,
    {
      regenerate,
    },
  );
  const base = advance({ "package-lock.json": "lock\npinned by the base\n" });
  interrupt(0);
  await update(base);
  assert.deepEqual([git("rev-parse", "HEAD"), pushes], [head, []]);
  const newer = advance({ "two.txt": "theirs\n" });
  await update(newer);
  assert.deepEqual([refused, feedback(), pushes.length], [[], [], 1]);
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.equal(await readMerging(path), null);
});

test("what a command of delivery.regenerate changes besides is not pushed without a turn, also after a restart", async (t) => {
  const regenerate = {
    "package-lock.json": "echo new >> package-lock.json; mkdir -p .github; echo x > .github/x.yml",
  };
  for (const isCutOff of [false, true]) {
    const it = await bench(t, { regenerate });
    if (isCutOff) it.interrupt(1);
    const base = it.advance({ "package-lock.json": "lock\npinned by the base\n" });
    await it.update(base);
    if (isCutOff) await it.update(base);
    assert.deepEqual([it.pushes, it.store.of(id)?.head], [[], it.head]);
    assert.match(it.feedback().join(), /changed others too: \.github\/x\.yml\./);
    assert.equal(it.git("log", "-1", "--format=%P"), `${it.head} ${base}`);
    await it.update(it.advance({ "two.txt": "theirs\n" }));
    assert.deepEqual([it.pushes, it.store.of(id)?.head], [[], it.head], "its turn offers it");
  }
});

test("a generated file that may not be pushed holds the issue, with its path and kind; the merge stays in the workspace", async (t) => {
  const faults: readonly (readonly [string, Partial<Config["delivery"]>, RegExp])[] = [
    ["echo canary-secret >> package-lock.json", {}, /package-lock\.json \(secret: a token\)/],
    ["head -c 5000 /dev/zero > package-lock.json", { maxFile: 4_096 }, /\(too large: 5000 bytes/],
  ];
  for (const [command, more, said] of faults) {
    const it = await bench(t, { regenerate: { "package-lock.json": command }, ...more });
    const base = it.advance({ "package-lock.json": "lock\npinned by the base\n" });
    await it.update(base);
    assert.deepEqual([it.pushes, it.store.of(id)?.head, it.feedback()], [[], it.head, []]);
    assert.match(it.stops.join(), said);
    assert.match(it.stops.join(), /^main was merged .*; next: .*, then symphony deliver A-1$/);
    assert.equal(it.git("log", "-1", "--format=%P"), `${it.head} ${base}`);
  }
});

test("a merge that an agent commits itself is never pushed without its turn, and no approval is carried to it", async (t) => {
  const { path, git, head, store, advance, update, updates, pushes, feedback } = await bench(t);
  const base = advance({ "one.txt": "theirs\n" });
  await update(base);
  assert.equal(feedback().length, 1, "its turn has the conflict");
  await updates.ready(id);
  git("stash", "-q");
  git("merge", "-q", "-X", "ours", "-m", "my own merge", base);
  writeFileSync(join(path, "secret.txt"), "what an offer is examined for\n");
  git("add", "-A");
  git("commit", "-q", "--amend", "--no-edit");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  // Its attempt ended before its turn did, as by a restart.
  await update(advance({ "two.txt": "theirs\n" }));
  assert.deepEqual([pushes, store.of(id)?.head], [[], head]);
});

test("an update that a restart cut off while its checks ran is checked again and pushed", async (t) => {
  const { path, git, head, store, advance, update, pushes, refused, interrupt } = await bench(t, {
    checks: ["true"],
  });
  const base = advance({ "two.txt": "theirs\n" });
  interrupt();
  await update(base);
  const merge = git("rev-parse", "HEAD");
  assert.equal(git("log", "-1", "--format=%P"), `${head} ${base}`);
  assert.deepEqual([pushes, store.of(id)?.head], [[], head]);
  await update(base);
  assert.deepEqual(refused, []);
  assert.deepEqual(
    pushes.map(({ payload }) => payload["commit"]),
    [merge],
  );
  assert.equal(store.of(id)?.head, merge);
  // A kill between the two: the head is saved, and the record of the merge is still there.
  store.save({ ...(store.of(id) as Delivered), pushed: merge });
  const tree = git("rev-parse", "HEAD^{tree}");
  const left = { base, head, tree, commit: merge, marked: [], generated: [], moving: false };
  await writeMerging(path, left);
  const newer = advance({ "three.txt": "theirs\n" });
  await update(newer);
  assert.deepEqual(refused, []);
  assert.equal(git("log", "-1", "--format=%P"), `${merge} ${newer}`);
});

test("what a kill left of a merge is finished at the start, so that what a person writes there later stays", async (t) => {
  const { path, git, head, advance, update, updates, read, attach } = await bench(t);
  const base = advance({ "new.txt": "theirs\n" });
  await update(base);
  const commit = git("rev-parse", "HEAD");
  const tree = git("rev-parse", "HEAD^{tree}");
  // As if the kill had come before the branch moved, with half of a file.
  git("reset", "--soft", head);
  git("rm", "--cached", "-q", "new.txt");
  writeFileSync(join(path, "new.txt"), "the");
  await writeMerging(path, {
    ...{ base, head, tree, commit, marked: [], generated: [], moving: true },
  });
  attach(true);
  updates.start();
  await updates.settled(id);
  assert.equal(read("new.txt"), "the", "a person is at work there");
  attach(false);
  updates.start();
  await updates.ready(id);
  assert.deepEqual([git("rev-parse", "HEAD"), git("status", "--porcelain")], [commit, ""]);
  assert.equal(read("new.txt"), "theirs\n");
  writeFileSync(join(path, "one.txt"), "a person's\n");
  await updates.ready(id);
  assert.equal(read("one.txt"), "a person's\n");
});

test("a base is not merged where an agent made the repository borrow foreign objects", async (t) => {
  const { path, git, head, advance, update, refused } = await bench(t);
  const file = join(path, ".git", "objects", "info", "alternates");
  writeFileSync(
    file,
    `${readFileSync(file, "utf8")}${join(path, "..", "..", "seed/.git/objects")}\n`,
  );
  const base = advance({ "two.txt": "theirs\n" });
  for (let time = 0; time < 3; time++) await update(base);
  assert.match(refused.join(), /borrows objects of another repository; next: symphony attach A-1/);
  assert.equal(git("rev-parse", "HEAD"), head);
});

test("patterns of delivery.regenerate", () => {
  const rules = { "src/**/*.gen.ts": "a", "*.snap": "b", "./dist/?.js": "c" };
  const at = (path: string) => commandsFor([path], rules).commands[0] ?? null;
  assert.deepEqual(
    [
      "src/x.gen.ts",
      "src/a/b/x.gen.ts",
      "lib/x.gen.ts",
      "a/b/c.snap",
      "dist/1.js",
      "dist/12.js",
    ].map(at),
    ["a", "a", null, "b", "c", null],
  );
  assert.deepEqual(commandsFor(["a.snap", "b.snap", "go.mod"], rules), {
    commands: ["b"],
    missing: ["go.mod"],
  });
  assert.ok(isGenerated("web/yarn.lock", {}) && !isGenerated("web/yarn.txt", {}));
});
