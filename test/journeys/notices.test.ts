// Notices of a real server that is killed and restarted. "D26" names the row of the situations of an operator's desk that went
// wrong elsewhere.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FakeReceiver } from "../support/fakes/receiver.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

async function project(receiver: FakeReceiver) {
  const dir = await mkdtemp(join(tmpdir(), "symphony-notices-"));
  const workflowPath = join(dir, "WORKFLOW.md");
  const write = (rules: readonly object[]) => {
    const head = {
      tracker: { kind: "local", required_labels: ["ready"] },
      workspace: { root: "workspaces" },
      codex: { command: "sleep 600" },
      notify: rules,
    };
    return writeFile(workflowPath, `---\n${JSON.stringify(head)}\n---\nWork\n`);
  };
  const place = {
    workflowPath,
    dataDir: join(dir, "data"),
    env: { HOOK_URL: receiver.url, HOME: dir },
  };
  return {
    place,
    write,
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true, maxRetries: 5 }),
  };
}

const rule = { when: ["held"], to: "webhook", url: "$HOOK_URL", batch_ms: 0 };

/** Creates an issue and holds it; no agent starts. */
async function hold({ client }: Served, title: string): Promise<void> {
  await client.system.pause({ body: {} });
  const { identifier } = await client.issues.create({ body: { title, labels: ["ready"] } });
  await client.system.refresh({ query: { wait: "true" } });
  await client.issues.transition({ params: { id: identifier }, body: { to: "held" } });
}

function titles(receiver: FakeReceiver) {
  return receiver.received.map(({ body }) => [body.repeat, body.occasions[0]?.title]);
}

test("D26: a server killed between send and note repeats it once, marked, with the same id; two restarts repeat nothing", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await project(receiver);
  await world.write([]);
  {
    await using first = await Served.start(world.place);
    await hold(first, "of the past");
    await first.stop();
  }
  await world.write([rule]);
  // The first request is never answered: the server cannot know whether it arrived.
  receiver.answer = (_, count) => (count === 1 ? null : { status: 200 });
  await using killed = await Served.start(world.place);
  await hold(killed, "one");
  await eventually("it was sent", async () => receiver.received.length === 1);
  await killed.crash();
  for (const title of ["two", "three"]) {
    await using again = await Served.start(world.place);
    await eventually("what was left is sent", async () => {
      const [one] = (await again.client.notices.list()).rules;
      return one?.waiting === 0 && one.last?.outcome === "sent";
    });
    const before = receiver.received.length;
    await hold(again, title);
    await eventually("the new one is sent", async () => receiver.received.length > before);
    await eventually("and noted", async () => {
      const [one] = (await again.client.notices.list()).rules;
      return one?.waiting === 0;
    });
    await again.stop();
  }
  assert.deepEqual(titles(receiver), [
    [false, "one"],
    [true, "one"],
    [false, "two"],
    [false, "three"],
  ]);
  const [first, repeat] = receiver.received;
  assert.equal(repeat?.body.id, first?.body.id);
});

test("a test notice through the command line says what came back, and ends with 1 when one did not arrive", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await project(receiver);
  await world.write([
    { ...rule, name: "team" },
    { ...rule, name: "unset", url: "$UNSET_URL" },
  ]);
  await using _server = await Served.start(world.place);
  const around = { dataDir: world.place.dataDir, cwd: tmpdir(), env: world.place.env };
  const good = await symphony(around, "notify", "test", "--to", "team");
  assert.equal(good.code, 0, good.stderr);
  assert.match(good.stdout, /^team +webhook +sent +HTTP 200 \(\d+ ms\)$/m);
  const all = await symphony(around, "notify", "test");
  assert.equal(all.code, 1);
  assert.match(all.stdout, /^unset +webhook +failed +UNSET_URL is not set/m);
  assert.match(all.stderr, /Next: symphony secrets add UNSET_URL/);
  const none = await symphony(around, "notify", "test", "--to", "taem");
  assert.equal(none.code, 3);
  assert.match(none.stderr, /there is no rule taem in notify\n.*did you mean team\?/s);
  const list = await symphony(around, "notify", "list", "--json");
  const names = JSON.parse(list.stdout).rules.map(({ name }: { name: string }) => name);
  assert.deepEqual(names, ["team", "unset"]);
});
