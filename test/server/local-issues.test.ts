import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve } from "../support/worlds/server.ts";

const post = (body: unknown) => ({ method: "POST", body });

describe("the embedded tracker's issues", () => {
  test("one that is not in memory is moved only in its tracker", async () => {
    await using world = await createWorld({ local: true });
    await using server = await serve(world);
    await server.ask("/api/v1/issues", post({ title: "Done before", state: "Done" }));
    const path = "/api/v1/LOCAL-1/transition";
    const refused = await server.ask(path, post({ to: "held" }));
    assert.deepEqual([refused.status, refused.json().error.code], [409, "transition_not_allowed"]);
    const moved = await server.ask(path, post({ to: "todo" }));
    assert.deepEqual([moved.json().from, moved.json().to], ["Done", "Todo"]);
    assert.equal(
      (await server.ask("/api/v1/LOCAL-2/transition", post({ to: "todo" }))).status,
      404,
    );
  });

  test("are created, changed, commented on, listed and shown", async () => {
    await using world = await createWorld({ local: true });
    await using server = await serve(world);
    const body = { title: "<b>First</b>", labels: ["Backend"], priority: 1 };
    const created = await server.ask("/api/v1/issues", post(body));
    assert.equal(created.status, 201);
    assert.equal(created.headers.location, "/api/v1/LOCAL-1");
    assert.deepEqual(api.issues.create.reply.parse(created.json()).labels, ["backend"]);
    await server.ask("/api/v1/issues", post({ title: "Second", blocked_by: ["local-1"] }));
    const edit = { method: "PUT", body: { state: "done", description: null } };
    const edited = await server.ask("/api/v1/issues/local-1", edit);
    assert.deepEqual([edited.json().state, edited.json().title], ["Done", "<b>First</b>"]);
    const comment = await server.ask("/api/v1/issues/LOCAL-2/comments", post({ body: " ok " }));
    assert.equal(comment.status, 201);
    const said = api.issues.comment.reply.parse(comment.json());
    assert.deepEqual([said.issue_identifier, said.body], ["LOCAL-2", "ok"]);
    const read = await server.ask("/api/v1/issues/local-2/comments");
    const { comments, ...rest } = api.issues.comments.reply.parse(read.json());
    assert.deepEqual(rest, { issue_identifier: "LOCAL-2", truncated: false });
    assert.deepEqual(
      comments.map(({ author, by, body: text }) => [author, by, text]),
      [["operator", "person", "ok"]],
    );
    assert.equal((await server.ask("/api/v1/issues/LOCAL-9/comments")).status, 404);
    const list = api.issues.list.reply.parse(
      (await server.ask("/api/v1/issues?limit=1&offset=1")).json(),
    );
    assert.deepEqual([list.total, list.issues[0]?.identifier], [2, "LOCAL-2"]);
    assert.deepEqual(
      list.issues[0]?.blocked_by.map(({ identifier, title: name }) => [identifier, name]),
      [["LOCAL-1", "<b>First</b>"]],
    );
    const done = await server.ask("/api/v1/issues?state=DONE");
    assert.deepEqual(
      done.json().issues.map((row: { identifier: string }) => row.identifier),
      ["LOCAL-1"],
    );
    assert.equal((await server.ask("/api/v1/local-1")).json().status, null);
  });

  test("refuse an unknown issue, state or blocker with an error", async () => {
    await using world = await createWorld({ local: true });
    await using server = await serve(world);
    const missing = await server.ask("/api/v1/issues/LOCAL-9", { method: "PUT", body: {} });
    assert.equal(missing.json().error.code, "issue_not_found");
    const state = await server.ask("/api/v1/issues", post({ title: "x", state: "Nowhere" }));
    assert.equal(state.status, 400);
    assert.ok(state.json().error.details.allowed.includes("Todo"));
    const blocker = await server.ask("/api/v1/issues", post({ title: "x", blocked_by: ["NO-1"] }));
    assert.equal(blocker.status, 400);
  });

  test("a comment on a running issue steers its agent, where the policy allows it", async () => {
    const settings = config({ tracker: { commentSteering: "mention" } });
    await using world = await createWorld({
      local: true,
      issues: [issue("LOCAL-1", { id: "local-1" })],
      config: settings,
    });
    await using server = await serve(world);
    const made = await server.ask("/api/v1/issues", post({ title: "One" }));
    const known = { ...issue("LOCAL-1"), id: String(made.json().id) };
    world.scheduler.issues.clear();
    world.scheduler.set(known);
    await world.scheduler.advance(30_000);
    const comment = (body: string) => server.ask("/api/v1/issues/LOCAL-1/comments", post({ body }));
    for (const body of ["use tabs", "@symphony use tabs"]) await comment(body);
    await settled();
    const waiting = world.core.history.undelivered(known.id).map(({ message }) => message);
    assert.equal(waiting.length, 1);
    assert.match(waiting[0] ?? "", /"operator" wrote on LOCAL-1[\s\S]*\n> @symphony use tabs$/);
  });

  test("of another tracker are listed, commented on and moved; what else is edited there is said", async () => {
    const settings = config({ tracker: { kind: "linear" } });
    const issues = [issue("ENG-1"), issue("ENG-2", { state: "Backlog" })];
    await using world = await createWorld({ issues, config: settings });
    await using server = await serve(world);
    const list = api.issues.list.reply.parse((await server.ask("/api/v1/issues")).json());
    assert.deepEqual(
      list.issues.map((row) => [row.identifier, row.status]),
      [["ENG-1", "running"]],
    );
    const refused = [
      await server.ask("/api/v1/issues", post({ title: "x" })),
      await server.ask("/api/v1/issues/ENG-1", { method: "PUT", body: { title: "x" } }),
    ];
    for (const answer of refused) {
      const { code, details } = answer.json().error;
      assert.deepEqual([answer.status, code], [409, "tracker_read_only"]);
      assert.match(details.hint, /in the tracker/);
    }
    const said = await server.ask("/api/v1/issues/ENG-1/comments", post({ body: "x" }));
    assert.deepEqual([said.status, said.json().body], [201, "x"]);
    const change = { method: "PUT", body: { state: "Done" } };
    const moved = await server.ask("/api/v1/issues/ENG-1", change);
    assert.deepEqual([moved.status, moved.json().state], [200, "Done"]);
    // One that is not in memory is looked up, and what was answered before a move is no answer after it.
    const stateNow = async () => (await server.ask("/api/v1/ENG-2")).json().issue.state;
    assert.equal(await stateNow(), "Backlog");
    await server.ask("/api/v1/issues/ENG-2", change);
    await world.scheduler.advance(1_000);
    assert.equal(await stateNow(), "Done");
    await server.ask("/api/v1/ENG-2/transition", post({ to: "Todo" }));
    await world.scheduler.advance(1_000);
    assert.equal(await stateNow(), "Todo");
  });
});
