import assert from "node:assert/strict";
import { test } from "node:test";
import { liveProcesses } from "../../src/core/process/table.ts";
import { piece } from "../support/fakes/acp-script.ts";
import { acpWorld, type LimitsWorld, printingWorld, says } from "../support/worlds/limits-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

// Rows of the case file of agents are named "A2: …".

const seconds = () => Math.floor(Date.now() / 1_000);

/** As Claude Code 2.1.332 prints it at the limit of a claude.ai login. */
function claudeLimit(resetsAt: number): readonly object[] {
  const result = "You've hit your 5-hour limit · resets 1am (UTC)";
  const info = { status: "rejected", resetsAt, rateLimitType: "five_hour", isUsingOverage: false };
  return [
    { type: "system", subtype: "init", session_id: "c-1" },
    { type: "rate_limit_event", rate_limit_info: info, session_id: "c-1" },
    {
      ...{ type: "assistant", error: "rate_limit", parent_tool_use_id: null, session_id: "c-1" },
      message: { model: "<synthetic>", content: [{ type: "text", text: result }] },
    },
    {
      ...{ type: "result", subtype: "success", is_error: true, session_id: "c-1", result },
      ...{ terminal_reason: "api_error", api_error_status: 429, api_error: "usage_limit_reached" },
    },
  ];
}

function claudeDone(result: string): readonly object[] {
  return [
    { type: "system", subtype: "init", session_id: "c-1" },
    {
      ...{ type: "result", subtype: "success", is_error: false, session_id: "c-1", result },
      ...{ terminal_reason: "completed", usage: { input_tokens: 100, output_tokens: 5 } },
    },
  ];
}

const serve = (world: LimitsWorld) => Served.start(world, "--i-understand");

async function paused(server: Served) {
  return eventually("the agent is paused", async () => {
    const state = await server.client.system.state({});
    assert.deepEqual(state.failed, []);
    return state.paused.length > 0 && state.running.length === 0 ? state : null;
  });
}

async function attemptsOf(server: Served, id: string) {
  return (await server.client.issues.attempts({ params: { id } })).attempts.toReversed();
}

test("Claude's usage limit pauses the agent for every issue until the limit ends, then all continue on their threads", async () => {
  await using world = await printingWorld(
    { output: "claude", resumed: claudeDone("All done.") },
    3,
  );
  await using server = await serve(world);
  await eventually("two are at work", async () => {
    const { running } = await server.client.system.state({});
    return running.length === 2 && running.every((row) => row.turn_count === 1);
  });
  const resetsAt = seconds() + 8;
  const until = new Date(resetsAt * 1_000).toISOString();
  await says(world, claudeLimit(resetsAt));
  const state = await paused(server);
  assert.deepEqual(
    state.paused.map((row) => [row.agent, row.until]),
    [["command", until]],
  );
  assert.deepEqual(
    state.retrying.map((row) => [row.due_at, row.attempt]),
    [
      [until, 1],
      [until, 1],
    ],
  );
  assert.match(
    state.queued[0]?.waiting_for ?? "",
    /the provider \(command\) accepts no turns until/,
  );
  const third = state.queued[0]?.issue_identifier ?? "";
  const { explain } = await server.client.issues.detail({ params: { id: third } });
  const gate = explain?.find((one) => one.gate === "provider");
  assert.equal(gate?.pass, false);
  assert.ok(gate?.detail.includes(until), gate?.detail);
  const first = state.retrying[0]?.issue_identifier ?? "";
  const [one, two] = await eventually("it goes on", async () => {
    const attempts = await attemptsOf(server, first);
    return attempts[1]?.status === "succeeded" ? attempts : null;
  });
  assert.ok(Date.now() >= resetsAt * 1_000, "not before its time");
  assert.deepEqual([one?.status, one?.error?.code], ["failed", "provider_limited"]);
  assert.deepEqual([one?.thread_id, two?.thread_id], ["c-1", "c-1"]);
  await eventually("the third one runs as well", async () => {
    return (await attemptsOf(server, third)).length > 0;
  });
  assert.ok(
    server.log.includes(`the provider (command) accepts no turns until ${until}`),
    server.log,
  );
  assert.ok(server.log.includes("command may run again"), server.log);
});

test("the pause survives a restart, and a dry run shows it", async () => {
  const resetsAt = seconds() + 7_200;
  const until = new Date(resetsAt * 1_000).toISOString();
  await using world = await printingWorld({ output: "claude", lines: claudeLimit(resetsAt) });
  let id: string;
  {
    await using server = await serve(world);
    id = (await paused(server)).retrying[0]?.issue_identifier ?? "";
  }
  const args = [world.workflowPath, "--i-understand", "--dry-run", "--json"];
  const plan = await symphony(world, "serve", ...args);
  const [row] = JSON.parse(plan.stdout).plan;
  assert.deepEqual(
    [row.would_run, row.why],
    [false, `the provider (command) accepts no turns until ${until}`],
  );
  await using server = await serve(world);
  const state = await paused(server);
  assert.equal(state.paused[0]?.until, until);
  await symphony(world, "refresh");
  assert.equal((await attemptsOf(server, id)).length, 1);
});

/** The message that each program was seen to write, with a time that is hours away. */
const forms: readonly (readonly [name: string, make: () => Promise<LimitsWorld>])[] = [
  [
    "gemini 0.61.0 that ends with it",
    () => {
      const message =
        "[API Error: You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.]";
      const result = { type: "result", status: "error", error: { type: "unknown", message } };
      return printingWorld({
        output: "gemini",
        lines: [{ type: "init", session_id: "g" }, result],
      });
    },
  ],
  [
    "gemini 0.61.0 that waits for it",
    () => {
      const lastLine =
        "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.. Retrying after 12773246ms...";
      const after = `echo '${lastLine}' >&2; sleep 600`;
      return printingWorld({ output: "gemini", lines: [], after });
    },
  ],
  [
    "codex exec 0.169",
    () => {
      const message =
        "You’ve hit your usage limit. Upgrade to Pro or try again in 3 hours 20 minutes 11 seconds.";
      const lines = [
        { type: "thread.started", thread_id: "t" },
        { type: "error", message },
        { type: "turn.failed", error: { message } },
      ];
      return printingWorld({ output: "codex", lines });
    },
  ],
  [
    "an ACP agent with code 429",
    () => {
      const data = { status: "RESOURCE_EXHAUSTED", retryDelay: "12011s" };
      const error = { code: 429, message: "Too many requests", data };
      return acpWorld({ turns: [{ steps: [], error }] });
    },
  ],
  [
    "an ACP agent with an internal error",
    () => {
      const message =
        "You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.";
      return acpWorld({ turns: [{ steps: [], error: { code: -32603, message } }] });
    },
  ],
  [
    "gemini --acp 0.61.0 that says nothing until it is stalled",
    () => {
      const lastWords =
        "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.. Retrying after 12773246ms...";
      const turn = { steps: [{ do: "cancelled" } as const], end: { stopReason: "cancelled" } };
      return acpWorld({ lastWords, turns: [turn] }, { stallMs: 5_000 });
    },
  ],
];

for (const [name, make] of forms) {
  test(`${name} is paused, and this counts as no failure of the issue`, async () => {
    const begun = Date.now();
    await using world = await make();
    await using server = await serve(world);
    const state = await paused(server);
    const until = Date.parse(state.paused[0]?.until ?? "");
    const wait = 12_011_000;
    assert.ok(until >= begun + wait && until <= Date.now() + wait, `${until - begun}`);
    const [row] = state.retrying;
    assert.equal(row?.attempt, 1);
    assert.match(row?.error ?? "", /the provider's limit is reached/);
    const [attempt] = await attemptsOf(server, row?.issue_identifier ?? "");
    assert.equal(attempt?.error?.code, "provider_limited");
  });
}

test("an agent whose messages mention a limit pauses nothing", async () => {
  const said = "You've hit your limit · resets 1am (UTC). Error 429, rate limit, quota exceeded.";
  for (const make of [
    () => printingWorld({ output: "claude", lines: claudeDone(said), after: "exit 0" }),
    () => acpWorld({ turns: [{ steps: [piece(said)] }] }),
  ]) {
    await using world = await make();
    await using server = await serve(world);
    const { issue_identifier: id } = await eventually("it runs", async () => {
      const state = await server.client.system.state({});
      return [...state.running, ...state.retrying][0];
    });
    await eventually("an attempt has ended", async () => {
      return (await attemptsOf(server, id))[0]?.status === "succeeded";
    });
    assert.deepEqual((await server.client.system.state({})).paused, []);
  }
});

test("A2: the work of a Claude that does not exit after its result counts once", async () => {
  const after = "setsid sleep 600 & sleep 600";
  await using world = await printingWorld({ output: "claude", lines: claudeDone("Done."), after });
  await using server = await serve(world);
  const id = await eventually("it runs", async () => {
    const { running } = await server.client.system.state({});
    return running[0]?.issue_identifier;
  });
  const attempt = await eventually("its first attempt ends", async () => {
    const [first] = await attemptsOf(server, id);
    return first?.ended_at ? first : null;
  });
  assert.deepEqual([attempt.status, attempt.thread_id], ["succeeded", "c-1"]);
  assert.ok(attempt.tokens.total_tokens >= 105);
  const events = await server.events(id);
  assert.ok(events.some(({ message }) => message.includes("command.exit_grace_ms")));
  const remaining = (await liveProcesses()).filter(({ runId }) =>
    `${runId}/`.includes(`/${attempt.id}/`),
  );
  assert.deepEqual(remaining, []);
});
