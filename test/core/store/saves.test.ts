import assert from "node:assert/strict";
import { test } from "node:test";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { StorageTrouble } from "../../../src/core/model/gates.ts";
import { reasonOf, SavedLater, storageUnavailable } from "../../../src/core/store/durable.ts";
import { SaveQueue } from "../../../src/core/store/saves.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { coded } from "../../support/makers/storage.ts";
import { settled } from "../../support/worlds/scheduler.ts";

const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { errno: -28 });

/** A queue with a fake clock and a disk that accepts writes or refuses them. */
function queue() {
  const clock = new FakeClock();
  const saves = new SaveQueue(clock);
  const troubles: (StorageTrouble | null)[] = [];
  saves.follow((trouble) => troubles.push(trouble));
  const disk = { isFull: true, tries: 0, written: [] as string[] };
  const write = (text: string) => () => {
    disk.tries += 1;
    if (disk.isFull) throw storageUnavailable("/data/file", full);
    disk.written.push(text);
  };
  const later = (text: string) => async () => write(text)();
  return { clock, saves, troubles, disk, write, later };
}

test("a successful write reports no trouble", () => {
  const { saves, troubles, disk, write } = queue();
  disk.isFull = false;
  assert.equal(saves.now("a", write("one")), true);
  assert.deepEqual([disk.written, troubles], [["one"], []]);
});

test("a refused write is repeated after 1, 2, 4, 8 and then every 10 s, until it succeeds", () => {
  const { clock, saves, disk, write } = queue();
  assert.equal(saves.now("a", write("one")), false);
  const at: number[] = [];
  for (let ms = 0; ms < 46_000; ms += 500) {
    const before = disk.tries;
    clock.advance(500);
    if (disk.tries > before) at.push(clock.now() / 1_000);
  }
  assert.deepEqual(at, [1, 3, 7, 15, 25, 35, 45]);
  disk.isFull = false;
  clock.advance(10_000);
  assert.deepEqual([disk.written, clock.pending], [["one"], 0]);
  clock.advance(60_000);
  disk.isFull = true;
  saves.now("a", write("two"));
  disk.isFull = false;
  clock.advance(1_000);
  assert.deepEqual(disk.written, ["one", "two"], "the next outage begins with short waits again");
});

test("of several writes with one key only the newest is repeated; other keys keep theirs", () => {
  const { clock, saves, disk, write } = queue();
  saves.now("a", write("a1"));
  saves.now("b", write("b1"));
  saves.now("a", write("a2"));
  disk.isFull = false;
  clock.advance(1_000);
  assert.deepEqual(disk.written, ["a2", "b1"]);
});

test("a later write that succeeds makes the earlier one unnecessary", () => {
  const { clock, saves, disk, write, troubles } = queue();
  saves.now("a", write("a1"));
  disk.isFull = false;
  assert.equal(saves.now("a", write("a2")), true);
  assert.equal(troubles.at(-1)?.waiting, 0, "the disk may refuse the next one");
  clock.advance(60_000);
  assert.deepEqual(disk.written, ["a2"]);
  assert.equal(troubles.at(-1), null);
});

test("a disk that accepts one write and refuses the next is retried at growing intervals", () => {
  const { clock, saves, disk, write, troubles } = queue();
  const ends: number[] = [];
  for (let round = 0; round < 6; round++) {
    disk.isFull = true;
    saves.now("a", write("a"));
    disk.isFull = false;
    const from = clock.now();
    saves.now("a", write("a"));
    while (troubles.at(-1) !== null) clock.advance(500);
    ends.push((clock.now() - from) / 1_000);
  }
  assert.deepEqual(ends, [1, 2, 4, 8, 10, 10]);
});

test("a follower receives the reason, the count, the start, and the end of the trouble", () => {
  const { clock, saves, disk, write, troubles } = queue();
  const sinceWall = clock.wall();
  saves.now("a", write("a"));
  clock.advance(500);
  saves.now("b", write("b"), () => 3);
  saves.tell("events", new Error("a reason of its own"));
  disk.isFull = false;
  clock.advance(1_000);
  saves.tell("events", null);
  clock.advance(1_000);
  const reason = "no space left on device";
  assert.deepEqual(troubles, [
    { reason, waiting: 1, sinceWall },
    { reason, waiting: 4, sinceWall },
    { reason: "a reason of its own", waiting: 5, sinceWall },
    { reason: "a reason of its own", waiting: 4, sinceWall },
    { reason: "a reason of its own", waiting: 1, sinceWall },
    { reason: "a reason of its own", waiting: 0, sinceWall },
    null,
  ]);
});

test("a refused promise rejects with the save that follows, and its `saved` resolves then", async () => {
  const { clock, saves, disk, later } = queue();
  const refused = await saves.save("a", later("one")).catch((error: unknown) => error);
  assert.ok(refused instanceof SavedLater);
  assert.deepEqual(
    [refused.code, refused.details],
    ["storage_unavailable", { file: "/data/file", reason: reasonOf(full), savedLater: true }],
  );
  assert.match(
    refused.as("ENG-1: the stop").message,
    /^ENG-1: the stop took effect but is not saved yet \(no space left on device\); it is saved as soon as/,
  );
  disk.isFull = false;
  clock.advance(1_000);
  await refused.saved;
  assert.deepEqual(disk.written, ["one"]);
});

test("an old write in flight cannot complete the work of a newer one with its key", async () => {
  const { clock, saves, disk } = queue();
  const slow = Promise.withResolvers<void>();
  const first = saves.save("a", () => slow.promise);
  const second = saves
    .save("a", async () => {
      throw storageUnavailable("/data/file", full);
    })
    .catch((error: unknown) => error);
  assert.ok((await second) instanceof SavedLater);
  slow.resolve();
  await first;
  assert.equal(saves.has("a"), true);
  saves.save("a", async () => void disk.written.push("third")).catch(() => {});
  await settled();
  assert.deepEqual([saves.has("a"), disk.written], [false, ["third"]]);
  clock.advance(60_000);
  await settled();
  assert.deepEqual(disk.written, ["third"]);
});

test("an error that is not a disk fault is thrown and not repeated", async () => {
  const { clock, saves } = queue();
  const bug = () => {
    throw new TypeError("a bug");
  };
  assert.throws(() => saves.now("a", bug), TypeError);
  await assert.rejects(
    saves.save("b", async () => bug()),
    TypeError,
  );
  const refused = new SymphonyError("invalid_request", "no");
  const refuse = () => {
    throw refused;
  };
  assert.throws(() => saves.now("a", refuse), coded("invalid_request"));
  assert.equal(clock.pending, 0);
});

test("closing retries once, and names what it could not save", async () => {
  const { clock, saves, disk, write, later } = queue();
  saves.now("a", write("one"));
  const refused = await saves.save("b", later("two")).catch((error: unknown) => error);
  assert.ok(refused instanceof SavedLater);
  // A caller that waited makes a last write, which the disk accepts.
  const told = refused.saved.catch(() => {
    disk.isFull = false;
    return saves.now("c", write("a last word"));
  });
  assert.deepEqual(await saves.close(), ["a", "b"]);
  assert.equal(await told, true);
  assert.deepEqual([disk.written, clock.pending], [["a last word"], 0]);

  const slow = queue();
  const failing = Promise.withResolvers<void>();
  slow.saves.save("d", () => failing.promise).catch(() => {});
  const closed = slow.saves.close();
  failing.reject(storageUnavailable("/data/file", full));
  assert.deepEqual(await closed, ["d"], "what is under way is waited for");

  const other = queue();
  other.saves.now("a", other.write("one"));
  other.disk.isFull = false;
  assert.deepEqual(await other.saves.close(), []);
  assert.deepEqual(other.disk.written, ["one"]);
});

test("the reason is given as the system and SQLite name it", () => {
  const sqlite = Object.assign(new Error("database or disk is full"), { errcode: 13 });
  assert.equal(reasonOf(storageUnavailable("/data/history.db", sqlite)), "no space left on device");
  const readOnly = Object.assign(new Error("EROFS: …"), { errno: -30 });
  assert.equal(reasonOf(readOnly), "read-only file system");
  assert.equal(reasonOf(new Error("database is locked")), "database is locked");
});
