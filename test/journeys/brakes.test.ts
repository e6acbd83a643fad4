import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { doublesWorld } from "../support/worlds/doubles-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import type { World } from "../support/worlds/world.ts";

/** Writes one limit into the workflow file. */
async function limit(world: World, name: string, value: number): Promise<void> {
  const text = await readFile(world.workflowPath, "utf8");
  await writeFile(
    world.workflowPath,
    text.replace("agent:", `brakes:\n  ${name}: ${value}\nagent:`),
  );
}

async function heldWith(server: Served): Promise<string> {
  const { reason } = await eventually("the issue is held", async () => {
    const { held } = await server.client.system.state({});
    return held[0];
  });
  return reason;
}

/** Releases a held issue, and waits until it is done. */
async function release(world: World): Promise<void> {
  const released = await symphony(world, "transition", world.issue, "queued");
  assert.equal(released.code, 0, released.stderr);
  await isDone(world);
}

async function isDone(world: World): Promise<void> {
  await eventually("the issue is Done", async () => (await world.stateOf(world.issue)) === "Done");
}

async function statuses(server: Served, world: World): Promise<readonly string[]> {
  const { attempts } = await server.client.issues.attempts({ params: { id: world.issue } });
  return attempts.map(({ status }) => status).reverse();
}

test("tokens_per_issue: an agent that uses too many tokens is stopped in mid-turn; a transition to queued resumes the issue", async () => {
  await using world = await doublesWorld();
  await limit(world, "tokens_per_issue", 5_000);
  await world.play([
    { do: "tokens", input: 4_000, output: 0 },
    { do: "tokens", input: 2_500, output: 0 },
    { do: "hang" },
  ]);
  await using server = await Served.start(world);
  const reason = await heldWith(server);
  assert.equal(reason, "token budget used up: 6,500 of 5,000 (brakes.tokens_per_issue)");
  await eventually("the agent is stopped", async () => {
    return (await statuses(server, world))[0] === "canceled";
  });
  const metrics = await (await fetch(new URL("/metrics", server.url))).text();
  assert.match(metrics, /^symphony_brakes_total\{brake="tokens_per_issue"\} 1$/m);
  const audit = await symphony(world, "audit", "--json");
  const entries = audit.stdout + audit.stderr;
  assert.match(entries, /"brake":\s*"tokens_per_issue"/);
  await release(world);
});

test("turns_without_progress: an agent that ends its turns well without progress is stopped; a transition to queued resumes the issue", async () => {
  await using world = await doublesWorld();
  await limit(world, "turns_without_progress", 2);
  await world.play([{ do: "say", text: "I will." }], [{ do: "say", text: "I will soon." }]);
  await using server = await Served.start(world);
  assert.match(await heldWith(server), /: 2 of 2 \(brakes\.turns_without_progress\)$/);
  await release(world);
});

test("attempt_timeout_ms: an attempt that takes too long times out and its issue is held; a transition to queued resumes it", async () => {
  await using world = await doublesWorld();
  await limit(world, "attempt_timeout_ms", 5_000);
  await world.play([{ do: "say", text: "A long one." }, { do: "hang" }]);
  await using server = await Served.start(world);
  assert.match(await heldWith(server), /of 5,000 ms \(brakes\.attempt_timeout_ms\)$/);
  await eventually("it timed out", async () => {
    return (await statuses(server, world))[0] === "timed_out";
  });
  await symphony(world, "config", "overlay", "set", "brakes.attempt_timeout_ms", "0");
  await release(world);
});

test("tokens_per_day: after the turn that reaches the limit nothing runs, also after a restart; a higher limit takes effect at once", async () => {
  await using world = await doublesWorld();
  await limit(world, "tokens_per_day", 5_000);
  await world.play([
    { do: "tokens", input: 6_000, output: 0 },
    { do: "say", text: "Half of it." },
  ]);
  {
    await using server = await Served.start(world);
    await eventually("it waits", async () => {
      const { retrying, paused } = await server.client.system.state({});
      return paused[0]?.agent === null && /6,000 of 5,000/.test(retrying[0]?.error ?? "");
    });
    assert.deepEqual(await statuses(server, world), ["succeeded"]);
  }
  await using server = await Served.start(world);
  const shown = await symphony(world, "state");
  assert.match(shown.stdout, /nothing new is started, on again .*6,000 of 5,000/);
  const raised = await symphony(
    world,
    "config",
    "overlay",
    "set",
    "brakes.tokens_per_day",
    "50000",
  );
  assert.equal(raised.code, 0, raised.stderr);
  await isDone(world);
  const { paused } = await server.client.system.state({});
  assert.deepEqual(paused, []);
});

test("a limited provider is paused until the time it names, then work resumes automatically", async () => {
  await using world = await doublesWorld();
  const resetsAt = Math.ceil(Date.now() / 1_000) + 15;
  const rateLimits = { limitId: "codex", primary: { usedPercent: 100, resetsAt } };
  await world.play([
    { do: "notify", method: "account/rateLimits/updated", params: { rateLimits } },
    { do: "fail", message: "You've hit your usage limit.", info: "usageLimitExceeded" },
  ]);
  await using server = await Served.start(world);
  const row = await eventually("it waits", async () => {
    const { retrying, paused } = await server.client.system.state({});
    return paused[0]?.agent === "codex" ? retrying[0] : null;
  });
  assert.equal(row.due_at, new Date(resetsAt * 1_000).toISOString());
  assert.match(row.error ?? "", /You've hit your usage limit/);
  const shown = await symphony(world, "state");
  assert.match(shown.stdout, /nothing new is started with codex/);
  await isDone(world);
  assert.ok(Date.now() >= resetsAt * 1_000, "not before its time");
  const all = await statuses(server, world);
  assert.deepEqual([all.length, all[0]], [2, "failed"]);
});
