import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Delivered, fresh } from "../../../src/core/delivery/delivered.ts";
import { Radar } from "../../../src/core/delivery/radar.ts";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
import type { SymphonyEvent } from "../../../src/core/model/event.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { gitIn, origin, setTraps } from "../../support/makers/git-repository.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { eventually } from "../../support/worlds/symphony.ts";

type Updated = Extract<Input, { type: "radar.updated" }>;

const rule = { name: "shop" } as never;

/** A mirror, workspaces that borrow from it, and a radar over the real store and git. */
function bench(t: TestContext) {
  const root = temporaryDir(t);
  const mirror = origin(root);
  const clock = new FakeClock();
  const store = openDeliveryStore(root, () => 0);
  t.after(() => store.close());
  const posted: Updated[] = [];
  const listeners: ((event: SymphonyEvent) => void)[] = [];
  let isBroken = false;
  const ended = new Set<string>();
  const unused = () => {
    throw new Error("not used");
  };
  const open = () => {
    const radar = new Radar({
      clock,
      store,
      log: { debug() {}, info() {}, warn() {}, error() {} } as never,
      bus: { publish() {} },
      config: () => ({ ...config(), git: { ...config().git, repositories: [rule] } }),
      save: (delivery: Delivered) => store.save(delivery),
      post: (input: Input) => posted.push(input as Updated),
      isRunning: () => false,
      isEnded: (issueId: string) => ended.has(issueId),
      headOf: async () => (isBroken ? null : gitIn(mirror)("rev-parse", "main")),
      ports: {
        mirror: async () => mirror,
        subscribe: (_: unknown, listener: (event: SymphonyEvent) => void) => {
          listeners.push(listener);
          return () => listeners.splice(0);
        },
      },
      ...{ tracker: unused, forgeFor: unused, push: unused, isContained: unused },
      lastMessage: unused,
    } as never);
    t.after(() => radar.close());
    return radar;
  };
  /** A branch of its own with these files. */
  const work = (name: string, files: Readonly<Record<string, string>>, since: number) => {
    const path = join(root, name);
    gitIn(root)("clone", "-q", "--shared", mirror, path);
    const git = gitIn(path);
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    git("add", "-A");
    git("commit", "-q", "-m", name);
    const head = git("rev-parse", "HEAD");
    const where = { repository: "shop", branch: `symphony/${name}`, base: "main" };
    const state = {
      head,
      pushed: head,
      workspacePath: path,
      startedAt: since,
      mode: "branch",
    } as const;
    store.save({ ...fresh(issue(name)), ...where, ...state });
    return path;
  };
  /** The result of the next comparison. */
  const next = async (): Promise<Updated> => {
    const before = posted.length;
    return eventually("the branches are compared", async () => {
      clock.advance(1_000);
      return posted[before];
    });
  };
  const tell = (type: string, data = {}) => {
    for (const listener of [...listeners])
      listener({ type, issueId: null, data } as unknown as SymphonyEvent);
  };
  return {
    ...{ root, store, posted, ended, open, work, next, tell },
    break: () => {
      isBroken = true;
    },
  };
}

test("the branches of all workspaces are compared when a head moved, with the earlier one first", async (t) => {
  const { open, work, next, tell, posted, store } = bench(t);
  work("A-2", { "one.txt": "second\n" }, 2);
  work("A-1", { "one.txt": "first\n" }, 1);
  work("A-3", { "three.txt": "third\n" }, 3);
  open().start();
  const { overlaps, judged } = await next();
  assert.deepEqual(
    overlaps?.map(({ first, second, conflicts, files }) => [
      first.issueIdentifier,
      second.issueIdentifier,
      conflicts,
      files,
    ]),
    [
      [
        "A-1",
        "A-2",
        true,
        [
          {
            path: "one.txt",
            kind: "conflict",
            lines: [[{ start: 1, count: 1 }], [{ start: 1, count: 1 }]],
          },
        ],
      ],
    ],
  );
  assert.equal(judged.get("id-A-3"), store.of("id-A-3")?.head);
  const count = posted.length;
  for (let at = 0; at < 20; at++) tell("branch.pushed");
  await next();
  assert.equal(posted.length, count + 1, "events that come together are one comparison");
});

test("the branch of an issue that was closed is no longer compared, unless a pull request is open", async (t) => {
  const { open, work, next, tell, ended, store } = bench(t);
  work("A-1", { "one.txt": "first\n" }, 1);
  work("A-2", { "one.txt": "second\n" }, 2);
  open().start();
  assert.equal((await next()).overlaps?.length, 1);
  ended.add("id-A-1");
  tell("issue.completed");
  assert.deepEqual((await next()).overlaps, []);
  const first = store.of("id-A-1");
  const pullRequest = { number: 1 } as Delivered["pullRequest"];
  if (first) store.save({ ...first, pullRequest });
  tell("issue.completed");
  assert.equal((await next()).overlaps?.length, 1);
});

test("a merged branch is no longer compared; a restart continues from what was known", async (t) => {
  const { open, work, next, tell, posted, store } = bench(t);
  work("A-1", { "one.txt": "first\n" }, 1);
  work("A-2", { "one.txt": "second\n" }, 2);
  open().start();
  assert.equal((await next()).overlaps?.length, 1);
  assert.equal(store.of("id-A-2")?.overlaps?.length, 1);
  posted.length = 0;
  open().start();
  assert.deepEqual([posted[0]?.isRestored, posted[0]?.overlaps?.length], [true, 1]);
  await next();
  const first = store.of("id-A-1");
  if (first) store.save({ ...first, over: true });
  tell("pull_request.merged");
  await eventually("nothing conflicts", async () => ((await next()).overlaps?.length ?? 1) === 0);
  assert.deepEqual(store.of("id-A-2")?.overlaps, []);
});

test("a repository that cannot be read leaves what is known, and says which commits it was asked for", async (t) => {
  const { open, work, next, store, ...bad } = bench(t);
  work("A-1", { "one.txt": "first\n" }, 1);
  work("A-2", { "one.txt": "second\n" }, 2);
  bad.break();
  open().start();
  const { overlaps, judged } = await next();
  assert.equal(overlaps, null);
  assert.equal(judged.get("id-A-2"), store.of("id-A-2")?.head);
});

test("THREAT-15: nothing that a workspace configures is run, and one that is gone disturbs nobody", async (t) => {
  const { root, open, work, next, store } = bench(t);
  const marks = join(root, "marks");
  const path = work("A-1", { "one.txt": "first\n" }, 1);
  work("A-2", { "one.txt": "second\n" }, 2);
  work("A-3", { "one.txt": "third\n" }, 3);
  const third = store.of("id-A-3");
  if (third) store.save({ ...third, workspacePath: join(root, "gone") });
  setTraps(path, marks);
  const { readdirSync, rmSync } = await import("node:fs");
  for (const name of readdirSync(marks)) rmSync(join(marks, name));
  mkdirSync(join(root, "gone"));
  open().start();
  assert.equal((await next()).overlaps?.length, 1);
  assert.deepEqual(readdirSync(marks), []);
});
