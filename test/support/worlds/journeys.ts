import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { liveProcesses } from "../../../src/core/process/table.ts";
import { eventually, Served, symphony } from "./symphony.ts";
import { trackerFaults, type World } from "./world.ts";

/** The journeys of the main job, each from a real `symphony` process to a real agent process. */
export function journeys(name: string, makeWorld: () => Promise<World>): void {
  test(`${name}: an issue is started, worked on and moved to Done; its workspace is kept with the work`, async () => {
    await using world = await makeWorld();
    await world.work("finish");
    await using server = await Served.start(world);
    await eventually(
      "the issue is Done",
      async () => (await world.stateOf(world.issue)) === "Done",
    );
    const completed = await eventually("the issue is completed", async () => {
      const { completed: rows } = await server.client.system.state({});
      return rows.find((row) => row.issue_identifier === world.issue);
    });
    assert.equal(completed.state, "Done");
    assert.ok(completed.tokens.total_tokens > 0, "the tokens were counted");
    assert.match(await readFile(world.keptFile, "utf8"), /hello/);
    const kept = await eventually("the workspace is kept", async () => {
      const detail = await server.client.issues.detail({ params: { id: world.issue } });
      return detail.kept;
    });
    assert.match(await readFile(join(kept.path, "hello.txt"), "utf8"), /hello/);
    assert.notDeepEqual(kept.holds, []);
    const diff = await symphony(world, "diff", world.issue);
    assert.match(diff.stdout, /^\+hello$/m);
    const events = await server.events(world.issue);
    const changed = events.filter(({ type }) => type === "agent.file_change");
    assert.match(JSON.stringify(changed), /hello\.txt/);
    assert.ok(events.some(({ type }) => type === "agent.tool_call"));
    assert.deepEqual(await processesOf(events[0]?.attempt_id ?? ""), []);
    assert.equal(await server.stop(), 0);
  });

  test(`${name}: the workspace of a finished issue is removed when its agent left no work`, async () => {
    await using world = await makeWorld();
    await world.work("nothing");
    await using server = await Served.start(world);
    await eventually("the issue is completed", async () => {
      const { completed: rows } = await server.client.system.state({});
      return rows.some((row) => row.issue_identifier === world.issue);
    });
    await eventually("the workspace is removed", async () => {
      const left = await readdir(world.workspaces);
      return !left.includes(world.issue);
    });
    assert.deepEqual((await server.client.system.state({})).kept, []);
  });

  test(`${name}: steering in mid-turn reaches the agent`, async () => {
    await using world = await makeWorld();
    await world.work("listen");
    await using server = await Served.start(world);
    await turnStarted(server, world);
    const steered = await symphony(world, "steer", world.issue, "auth module first", "--json");
    assert.equal(steered.code, 0, steered.stderr);
    assert.equal(JSON.parse(steered.stdout).issue_identifier, world.issue);
    await eventually("the agent repeats it", async () => {
      const events = await server.events(world.issue);
      return (
        events.some(({ type }) => type === "steer.delivered") &&
        events.some((e) => e.type === "agent.message" && /auth module first/.test(e.message))
      );
    });
  });

  test(`${name}: abort ends every process of the attempt, and no poll starts it again`, async () => {
    await using world = await makeWorld();
    await world.work("busy");
    await using server = await Served.start(world);
    const attemptId = await commandStarted(server, world);
    await eventually("the agent runs", async () => (await processesOf(attemptId)).length > 0);
    const aborted = await symphony(world, "abort", world.issue, "--reason", "wrong branch");
    assert.equal(aborted.code, 0, aborted.stderr);
    await eventually("no process is left", async () => (await processesOf(attemptId)).length === 0);
    await eventually("it is held", async () => {
      const { held } = await server.client.system.state({});
      return held.some((row) => row.reason === "aborted: wrong branch");
    });
    await symphony(world, "refresh");
    await polls(server, 3);
    const { attempts } = await server.client.issues.attempts({ params: { id: world.issue } });
    assert.deepEqual(
      attempts.map(({ status }) => status),
      ["canceled"],
    );
  });

  test(`${name}: after kill -9 in mid-turn nothing runs twice and the thread is resumed`, async () => {
    await using world = await makeWorld();
    await world.work("busy");
    let first: string;
    let thread: string | null;
    {
      await using server = await Served.start(world);
      first = await commandStarted(server, world);
      const { running } = await server.client.issues.detail({ params: { id: world.issue } });
      thread = running?.thread_id ?? null;
      await server.crash();
    }
    await using server = await Served.start(world);
    assert.deepEqual(await processesOf(first), [], "the orphans are gone before anything starts");
    await eventually(
      "the issue is Done",
      async () => (await world.stateOf(world.issue)) === "Done",
    );
    const attempts = await eventually("the second attempt ends", async () => {
      const list = await server.client.issues.attempts({ params: { id: world.issue } });
      return list.attempts.every(({ ended_at }) => ended_at !== null) ? list.attempts : null;
    });
    assert.deepEqual([attempts.length, attempts.at(-1)?.status], [2, "interrupted"]);
    assert.equal(attempts.at(-1)?.id, first);
    assert.equal(attempts[0]?.thread_id, thread);
  });

  for (const fault of trackerFaults) {
    test(`${name}: a tracker that answers ${fault} stops no attempt`, async () => {
      await using world = await makeWorld();
      await world.work("busy");
      await using server = await Served.start(world);
      const attemptId = await commandStarted(server, world);
      await world.failNext(fault, 6);
      await eventually("the failure is shown", async () => {
        const { tracker } = await server.client.system.state({});
        return !tracker.healthy && tracker.last_error;
      });
      await eventually("the tracker is healthy again", async () => {
        const { tracker } = await server.client.system.state({});
        return tracker.healthy;
      });
      const { running } = await server.client.issues.detail({ params: { id: world.issue } });
      assert.equal(running?.attempt_id, attemptId);
      assert.equal(running?.stopping, null);
    });
  }

  test(`${name}: a second server on the same data directory refuses, naming the first`, async () => {
    await using world = await makeWorld();
    await world.work("busy");
    await using server = await Served.start(world);
    const args = ["serve", world.workflowPath, "--port", "0"];
    const second = await symphony(world, ...args);
    assert.equal(second.code, 7, second.stderr);
    assert.match(second.stderr, new RegExp(`${server.child.pid}`));
    assert.ok(second.stderr.includes(server.url));
  });
}

async function turnStarted(server: Served, world: World): Promise<string> {
  return eventually("a turn is under way", async () => {
    const { running } = await server.client.issues.detail({ params: { id: world.issue } });
    return running?.session_id ? running.attempt_id : null;
  });
}

/** Resolves with the attempt whose agent is in the middle of its long command. */
async function commandStarted(server: Served, world: World): Promise<string> {
  const attemptId = await turnStarted(server, world);
  await eventually("the long command runs", async () => {
    const events = await server.events(world.issue);
    return events.some(
      ({ type, message }) => type === "agent.command" && /sleep 600/.test(message),
    );
  });
  return attemptId;
}

async function polls(server: Served, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { polling } = await server.client.system.state({});
    await eventually("another poll has ended", async () => {
      const now = await server.client.system.state({});
      return now.polling.last_poll_at !== polling.last_poll_at;
    });
  }
}

async function processesOf(attemptId: string): Promise<readonly number[]> {
  const all = await liveProcesses();
  const remaining = all.filter(({ runId }) => `${runId}/`.includes(`/${attemptId}/`));
  return remaining.map(({ pid }) => pid);
}
