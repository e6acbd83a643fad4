import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SymphonyError } from "../../src/core/model/errors.ts";
import type { Issue } from "../../src/core/model/issue.ts";
import type {
  Activity,
  ConversationLink,
  ConversationPrompt,
  TrackerComment,
  TrackerConversation,
} from "../../src/core/tracker/tracker.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";

interface Wish {
  readonly issues?: readonly Issue[];
  readonly slots?: number;
  readonly publicUrl?: string;
  readonly steering?: "all";
}

/** A tracker's conversations in memory, answered by a core of real parts. */
async function setUp(
  t: TestContext,
  { issues = [issue("ENG-1")], slots = 0, publicUrl, steering }: Wish,
) {
  const said: (Pick<Activity, "type" | "body"> & { readonly id: string })[] = [];
  const links: (readonly ConversationLink[])[] = [];
  const sessions = new Map<string, TrackerConversation>();
  const prompts = new Map<string, ConversationPrompt>();
  const once = new Set<string>();
  let reads = 0;
  const port = {
    shows: "progress",
    read: async (id: string) => {
      reads += 1;
      return sessions.get(id) ?? null;
    },
    prompt: async (id: string) => prompts.get(id) ?? null,
    say: async (id: string, key: string, { type, body }: Activity) => {
      if (!once.has(key)) said.push({ id, type, body });
      once.add(key);
    },
    link: async (_id: string, given: readonly ConversationLink[]) => void links.push(given),
  } as const;
  const world = await createWorld({
    issues,
    config: config({
      agent: { maxConcurrentAgents: slots },
      ...(steering && { tracker: { commentSteering: steering } }),
      ...(publicUrl && { server: { publicUrl } }),
    }),
    conversations: port,
  });
  t.after(() => world[Symbol.asyncDispose]());
  const { core, scheduler, conversations } = world;
  assert.ok(conversations);
  const quiet = async () => {
    for (let turn = 0; turn < 10; turn++) {
      await settled();
      await core.deliveries.idle();
    }
  };
  const open = async (id: string, about = "ENG-1", fields: Partial<TrackerConversation> = {}) => {
    const name = { id: `id-${about}`, identifier: about };
    sessions.set(id, {
      ...{ id, issue: name, openedAt: null, by: "person", mayWrite: true },
      ...{ comment: null, prompts: [] },
      ...fields,
    });
    conversations.received({ id, issueId: name.id, promptId: null });
    await quiet();
  };
  let count = 0;
  const prompt = async (id: string, body: string, fields: { stop?: boolean } = {}) => {
    const promptId = `p-${++count}`;
    const comment: TrackerComment = {
      ...{ id: promptId, issueId: sessions.get(id)?.issue?.id ?? "", author: "Grace", body },
      ...{ by: "person", createdAt: scheduler.clock.wall() },
    };
    prompts.set(promptId, { conversationId: id, stop: fields.stop === true, comment });
    conversations.received({ id, issueId: comment.issueId, promptId });
    await quiet();
    return comment;
  };
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 5_000) {
      scheduler.clock.advance(Math.min(left, 5_000));
      await quiet();
    }
  };
  /** What was said since the last call. */
  const news = () => said.splice(0).map(({ type, body }) => `${type}: ${body}`);
  const status = (identifier = "ENG-1") => core.orchestrator.statusOf(identifier)?.status ?? null;
  const stop = (id: string) => prompt(id, "", { stop: true });
  const counted = { reads: () => reads };
  return {
    ...{ world, core, scheduler, conversations, port, links, open, prompt, stop, pass, news },
    ...{ status, counted, quiet },
  };
}

const stopped = "response: Stopped. `/symphony retry` starts it again.";

test("DELIVERY-37: a stop holds an issue that waits for a slot, and one that no list has; each is answered once", async (t) => {
  const resting = issue("ENG-2", { state: "Backlog" });
  const over = issue("ENG-3", { state: "Done" });
  const world = await setUp(t, { issues: [issue("ENG-1"), resting, over] });
  const { open, stop, news, status, pass, scheduler } = world;
  await open("s-1");
  assert.equal(status(), "queued");
  news();
  await stop("s-1");
  assert.equal(status(), "held");
  assert.deepEqual(news(), [stopped]);
  await pass(60_000);
  assert.deepEqual(news(), [], "it is said once");
  await stop("s-1");
  assert.deepEqual(news(), [stopped], "a second stop is answered too");
  await open("s-2", "ENG-2");
  news();
  await stop("s-2");
  assert.equal(status("ENG-2"), "held");
  assert.deepEqual(news(), [stopped]);
  assert.equal(scheduler.issues.get(resting.id)?.state, "Backlog", "nothing is moved");
  assert.ok(scheduler.records.get(resting.id)?.held, "it is durable");
  await open("s-3", "ENG-3");
  news();
  await stop("s-3");
  assert.match(news().join(), /^response: This issue is done/);
  assert.equal(status("ENG-3"), null);
});

test("DELIVERY-37: a full disk ends no server: each conversation is looked at again", async (t) => {
  const { open, pass, news, world, core } = await setUp(t, {});
  const { deliveries } = core;
  await open("s-1");
  const { orderNow } = deliveries;
  deliveries.orderNow = () => {
    throw new SymphonyError("storage_unavailable", "database or disk is full");
  };
  await core.orchestrator.hold(issue("ENG-1"), "for a test");
  await pass(10_000);
  assert.match(world.logged.join("\n"), /disk is full/);
  news();
  deliveries.orderNow = orderNow;
  await pass(30_000);
  assert.match(news().join(), /^response: .*on hold.*for a test/);
});

test("DELIVERY-37: a conversation ends after its result, and a person's text continues it; a newer run is not shown as stopped", async (t) => {
  const { open, pass, news, core, scheduler, prompt, stop, counted, quiet, status } = await setUp(
    t,
    { slots: 1 },
  );
  await open("s-1");
  assert.match(news().join(), /under way/);
  await stop("s-1");
  await scheduler.run("ENG-1").end();
  await quiet();
  await prompt("s-1", "/symphony retry");
  await pass(10_000);
  assert.equal(status(), "running");
  await pass(40_000);
  news();
  await core.orchestrator.hold(issue("ENG-1"), "by an operator");
  await scheduler.run("ENG-1").end();
  await pass(10_000);
  assert.match(news().join(), /^response: .*on hold.*by an operator/, "no stop of this run");
  await core.orchestrator.transition(issue("ENG-1"), "completed", null);
  await pass(20_000);
  assert.deepEqual(news(), ["response: **symphony: done.**"]);
  assert.deepEqual(core.deliveries.conversations.live(), []);
  const read = counted.reads();
  await pass(700_000);
  assert.equal(counted.reads(), read, "it costs nothing any more");
  await prompt("s-1", "And now?");
  assert.match(news().join(), /No agent works on this issue now/);
  await prompt("s-1", "/symphony retry");
  await pass(40_000);
  assert.match(news().join(), /under way/);
  assert.equal(status(), "running");
});

test("DELIVERY-37: a gate is named without its changing numbers and places; a conversation that a machine opened is answered, and its text is no guidance", async (t) => {
  const { open, pass, news, scheduler, core } = await setUp(t, {});
  const comment: TrackerComment = {
    ...{ id: "c-1", issueId: "id-ENG-1", author: "Bot", body: "Do it." },
    ...{ by: "machine", createdAt: 0 },
  };
  await open("s-own", "ENG-1", { by: "own" });
  assert.equal(core.deliveries.conversations.of("s-own"), null);
  news();
  await open("s-1", "ENG-1", { by: "machine", comment });
  await pass(10_000);
  assert.deepEqual(news(), [
    "thought: symphony has got this.",
    "thought: Not started yet: free slot.",
  ]);
  scheduler.problem = {
    code: "workflow_parse_error",
    message: "/srv/canary/WORKFLOW.md is broken",
  } as never;
  await pass(20_000);
  assert.deepEqual(news(), [], "not within 30 s");
  await pass(20_000);
  assert.deepEqual(news(), ["thought: Not started yet: workflow."]);
  assert.deepEqual(core.history.undelivered("id-ENG-1"), []);
});

test("DELIVERY-37: a link that the tracker refuses ends nothing, and a closed server looks no more", async (t) => {
  const world = await setUp(t, { publicUrl: "https://symphony.example.test" });
  const { open, pass, news, port, core, conversations } = world;
  let asked = 0;
  Object.assign(port, {
    link: async () => {
      asked += 1;
      throw new SymphonyError("tracker_response", "no such field");
    },
  });
  await open("s-1");
  await pass(700_000);
  assert.equal(asked, 3);
  assert.match(news().join(), /Not started yet: free slot/);
  conversations.close();
  await core.orchestrator.hold(issue("ENG-1"), "after the end");
  await pass(20_000);
  assert.deepEqual(news(), []);
});

test("DELIVERY-37: the first report of an older conversation, which comes late, ends that one and not the newer", async (t) => {
  const { open, news, core } = await setUp(t, {});
  const live = () => core.deliveries.conversations.live().map(({ id }) => id);
  await open("s-new", "ENG-1", { openedAt: 2_000 });
  news();
  await open("s-old", "ENG-1", { openedAt: 1_000 });
  assert.deepEqual(live(), ["s-new"]);
  assert.match(news().join(), /response: A newer conversation about this issue continues/);
  await open("s-newest", "ENG-1", { openedAt: 3_000 });
  assert.deepEqual(live(), ["s-newest"]);
  await open("s-undated", "ENG-1");
  assert.deepEqual(live(), ["s-undated"], "without a time the last report counts");
});

test("DELIVERY-37: a text of a conversation counts once where comments steer too: as the answer or as guidance, whichever is reported first", async (t) => {
  const { open, prompt, core, scheduler, quiet } = await setUp(t, { slots: 1, steering: "all" });
  await open("s-1");
  const guided = () => core.history.undelivered("id-ENG-1").map(({ message }) => message);
  const ask = () => {
    const sinceWall = scheduler.clock.wall();
    scheduler.run("ENG-1").say({
      type: "approval.requested",
      needs: { kind: "question", prompt: "Which colour?", options: [] },
      ask: { id: `ask_${sinceWall}`, sinceWall, untilWall: sinceWall + 60_000 },
    });
    scheduler.clock.advance(1);
  };
  const isAsked = () => {
    const row = scheduler.orchestrator.state.issues.get("id-ENG-1");
    return row?.claim === "running" && row.questions.length > 0;
  };
  ask();
  const early: TrackerComment = {
    ...{ id: "p-1", issueId: "id-ENG-1", author: "Grace", body: "Blue" },
    ...{ by: "person", createdAt: scheduler.clock.wall() },
  };
  assert.equal(await core.comments.found(early), false, "it waits for the conversation's report");
  assert.deepEqual(guided(), []);
  const blue = await prompt("s-1", "Blue");
  assert.equal(blue.id, early.id);
  assert.equal(isAsked(), false, "it is the answer");
  assert.equal(await core.comments.found(early), true);
  await quiet();
  assert.deepEqual(guided(), [], "and no guidance");
  const plain = await prompt("s-1", "Also mind the border");
  assert.equal(await core.comments.found(plain), true);
  await quiet();
  const told = guided().filter((message) => message.includes("mind the border"));
  assert.equal(told.length, 1);
  ask();
  const aside = { ...plain, id: "c-aside", body: "By the way" };
  assert.equal(await core.comments.found(aside), false);
  await prompt("s-1", "Green");
  assert.equal(await core.comments.found(aside), true, "guidance once the question is answered");
});
