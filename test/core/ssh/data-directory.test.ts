// A data directory that is older than what is on a host, or is used by two servers.

import assert from "node:assert/strict";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { gitIn } from "../../support/makers/git-repository.ts";
import { SshWorld } from "../../support/worlds/ssh-world.ts";
import { eventually, isAlive, killed, symphony } from "../../support/worlds/symphony.ts";

let world: SshWorld;
before(async () => {
  world = await SshWorld.open({
    hosts: ["alpha"],
    agent: `echo "$$ $PWD" >> "$shared/started"
until [ -e "$shared/go" ]; do sleep 0.1; done
echo more >> one; git commit -qam more`,
  });
  await world.serve();
});
after(() => world[Symbol.asyncDispose]());

const there = (key: string) => `${world.home("alpha")}/spaces/${key}`;
const attemptsOf = async (id: string) =>
  (await world.client.issues.attempts({ params: { id } })).attempts;

async function again(id: string) {
  const count = (await attemptsOf(id)).length;
  const moved = await symphony(world.place, "transition", id, "queued", "--yes");
  assert.equal(moved.code, 0, moved.stderr);
  return world.ended(id, count + 1);
}

test("an older data directory: what is the same on both sides, or more on one, is continued without a failed attempt; an unknown directory is moved aside, and that is in the events", async () => {
  world.go();
  await world.issue("One");
  assert.equal((await world.ended("LOCAL-1"))?.status, "succeeded", world.server?.log);
  await world.server?.[Symbol.asyncDispose]();
  cpSync(world.place.dataDir, `${world.dir}/older`, { recursive: true });
  await world.serve();
  await again("LOCAL-1");
  await world.issue("Two");
  await world.ended("LOCAL-2");
  // What came into being later, and is not committed.
  writeFileSync(`${there("LOCAL-1")}/only-there`, "work\n");
  await world.server?.[Symbol.asyncDispose]();
  rmSync(world.place.dataDir, { recursive: true });
  cpSync(`${world.dir}/older`, world.place.dataDir, { recursive: true });
  await world.serve();
  const next = await again("LOCAL-1");
  assert.deepEqual([next?.status, (await attemptsOf("LOCAL-1")).length], ["succeeded", 2]);
  const path = next?.workspace?.path ?? "";
  assert.equal(readFileSync(`${path}/one`, "utf8"), "one\nmore\nmore\nmore\n");
  assert.ok(existsSync(`${path}/only-there`));
  await world.issue("Two of another life");
  await world.ended("LOCAL-2");
  const aside = readdirSync(there(".symphony-ssh")).find((one) => one.startsWith("LOCAL-2.aside-"));
  assert.ok(aside);
  const { recent_events: events } = await world.client.issues.detail({ params: { id: "LOCAL-2" } });
  const said = `moved to ${there(".symphony-ssh")}/${aside} on alpha`;
  assert.ok(
    events.some(({ message }) => message?.includes(said)),
    JSON.stringify(events),
  );
  await world.server?.[Symbol.asyncDispose]();
  rmSync(world.place.dataDir, { recursive: true });
  cpSync(`${world.dir}/older`, world.place.dataDir, { recursive: true });
  // Here there is more than on the host, and more than the data directory knows.
  for (const place of [path, there("LOCAL-1")]) rmSync(`${place}/only-there`);
  const git = gitIn(path);
  writeFileSync(`${path}/only-here`, "work\n");
  git("add", "-A");
  git("commit", "-q", "-m", "here");
  await world.serve();
  const last = await again("LOCAL-1");
  assert.equal(last?.status, "succeeded", String(last?.error));
  assert.match(git("log", "--format=%s"), /^here$/m);
  assert.ok(existsSync(`${path}/only-here`));
});

test("what a person resets here while work has not come back is replaced by that, and the events say so", async () => {
  world.stop();
  const { length } = await attemptsOf("LOCAL-1");
  const path = (await attemptsOf("LOCAL-1")).at(-1)?.workspace?.path ?? "";
  const { length: before } = world.shared("started");
  assert.equal((await symphony(world.place, "transition", "LOCAL-1", "queued", "--yes")).code, 0);
  await eventually("its agent runs", async () => world.shared("started").length > before);
  await killed(world.server?.child ?? null);
  world.go();
  const log = (cwd: string) => gitIn(cwd)("log", "--format=%h");
  const had = log(path);
  await eventually("it has committed", async () => log(there("LOCAL-1")) !== had);
  const made = log(there("LOCAL-1")).split("\n")[0] ?? "none";
  gitIn(path)("reset", "-q", "--hard", "HEAD~1");
  await world.serve();
  assert.equal((await world.ended("LOCAL-1", length + 2))?.status, "succeeded", world.server?.log);
  assert.ok(log(path).includes(made));
  const { recent_events: events } = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.ok(
    events.some(({ message }) => /was changed here, and .* has all of it/.test(message ?? "")),
    JSON.stringify(events),
  );
});

test("a copy of the data directory: the server that was started later has the host; the other one's agent ends, it starts no other there and names that server", async () => {
  world.stop();
  await using other = await SshWorld.open({
    hosts: ["alpha"],
    agent: `echo "$$ $PWD" >> "$shared/started"; sleep 600`,
    beside: world,
  });
  await world.server?.[Symbol.asyncDispose]();
  rmSync(other.place.dataDir, { recursive: true, force: true });
  cpSync(world.place.dataDir, other.place.dataDir, { recursive: true });
  await world.serve();
  await world.isReady("alpha");
  await world.issue("Two, copied");
  // The agent of the host is that of the other world now.
  const started = (count: number) =>
    eventually(`${count} agents have started`, async () => other.shared("started")[count - 1]);
  const first = await started(1);
  await other.serve();
  await other.isReady("alpha");
  assert.equal(isAlive(Number.parseInt(first, 10)), false);
  await other.issue("Two of the copy");
  const second = await started(2);
  await world.ended("LOCAL-2");
  const explained = await eventually("it is said", async () => {
    const { stdout } = await symphony(world.place, "explain", "LOCAL-2");
    return stdout.includes("was started later with the same data directory") ? stdout : null;
  });
  assert.ok(explained.includes(other.place.dataDir), explained);
  await world.client.system.refresh();
  assert.equal(other.shared("started").length, 2);
  assert.ok(isAlive(Number.parseInt(second, 10)));
  const { stdout } = await symphony(world.place, "doctor", "--json");
  assert.match(stdout, /alpha answers as .*, runs agents of \w+ .*\.symphony/);
});
