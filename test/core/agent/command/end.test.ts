import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { CommandConfig } from "../../../../src/core/agent/command/settings.ts";
import { liveProcesses } from "../../../../src/core/process/table.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { type CommandBench, commandBench } from "../../../support/worlds/command-bench.ts";

const plain = { model: null };
const graceMs = 5_000;

/** The last line of each program after a successful turn; claude 2.1.332, gemini 0.61.0, codex exec 0.169. */
const claudeDone = {
  ...{ type: "result", subtype: "success", is_error: false, terminal_reason: "completed" },
  ...{ result: "All done.", session_id: "c-1", usage: { input_tokens: 100, output_tokens: 5 } },
};
const geminiDone = {
  ...{ type: "result", status: "success" },
  stats: { total_tokens: 105, input_tokens: 100, output_tokens: 5, cached: 0 },
};
const codexDone = { type: "turn.completed", usage: { input_tokens: 100, output_tokens: 5 } };
const ownDone = [
  { type: "tokens", input: 100, output: 5 },
  { type: "result", success: true },
];
const programs: readonly (readonly [CommandConfig["output"], readonly object[]])[] = [
  ["claude", [claudeDone]],
  ["gemini", [geminiDone]],
  ["codex", [codexDone]],
  ["jsonl", ownDone],
];

/** A program that prints `lines`, then runs `then`; the clock does not advance. */
async function printing(
  output: CommandConfig["output"],
  lines: readonly object[],
  then: string,
  config: Partial<CommandConfig> = {},
): Promise<{ b: CommandBench; clock: FakeClock }> {
  const clock = new FakeClock();
  const line = `cat ../lines.jsonl; ${then}`;
  const b = await commandBench({ config: { line, output, ...config }, clock });
  await b.program("lines.jsonl", lines.map((one) => `${JSON.stringify(one)}\n`).join(""));
  return { b, clock };
}

const totals = (b: CommandBench) =>
  b.events.flatMap((event) => (event.type === "tokens" ? [event.total.total] : []));
/** Without the notice at the start for a line that exposes claude to a repository. */
const notices = (b: CommandBench) =>
  b.events
    .flatMap((event) => (event.type === "notice" ? [event.message] : []))
    .filter((message) => !message.startsWith("command.line starts claude"));

async function noneLeft(b: CommandBench): Promise<void> {
  const left = (await liveProcesses()).filter(({ runId }) => runId === b.runId);
  assert.deepEqual(left, []);
}

// A child in a session of its own holds the output; another ignores SIGTERM.
const hangs = "setsid sleep 600 & trap '' TERM; sleep 600 & wait; sleep 600";

describe("a program that reported its result and does not exit", () => {
  for (const [output, lines] of programs) {
    test(`${output}: the turn succeeds with its tokens, and no process of the program is left`, async () => {
      const { b, clock } = await printing(output, lines, hangs, { turnTimeoutMs: 1_000 });
      await using _ = b;
      await using session = await b.start();
      const turn = session.turn("go", plain);
      await b.until("tokens");
      clock.advance(graceMs - 1);
      assert.ok(!b.types().includes("turn.completed"));
      clock.advance(1);
      await turn;
      assert.deepEqual(totals(b), [105]);
      assert.match(notices(b).join(), /did not exit within 5000 ms/);
      await noneLeft(b);
    });
  }

  test("a program that exits within its grace is not ended, and its exit code is ignored", async () => {
    for (const [output, lines] of programs) {
      const { b } = await printing(output, lines, "exit 1");
      await using _ = b;
      await using session = await b.start();
      await session.turn("go", plain);
      assert.deepEqual([totals(b), notices(b)], [[105], []]);
    }
  });

  test("A8: a later line of zeros leaves the tokens of the turn, and those of the next one are added", async () => {
    const lines = [
      { type: "tokens", input: "100", output: 5 },
      { type: "tokens", input: 0 },
    ];
    const { b } = await printing("jsonl", [...lines, { type: "result", success: true }], "exit 0");
    await using _ = b;
    await using session = await b.start();
    await session.turn("go", plain);
    await session.turn("go on", plain);
    assert.deepEqual(totals(b), [105, 105, 210, 210]);
  });

  test("the next turn resumes the session that the result named", async () => {
    const { b, clock } = await printing("claude", [claudeDone], "sleep 600", {
      resumeLine: 'echo "$SYMPHONY_SESSION" > resumed; cat ../lines.jsonl',
    });
    await using _ = b;
    await using session = await b.start();
    const turn = session.turn("go", plain);
    await b.until("tokens");
    clock.advance(graceMs);
    await turn;
    assert.equal(session.threadId, "c-1");
    await session.turn("go on", plain);
    assert.equal(await readFile(join(b.workspace, "resumed"), "utf8"), "c-1\n");
    assert.deepEqual(totals(b), [105, 210]);
  });

  test("a background task that resumes the program in its grace: its tokens count, its end changes nothing", async () => {
    const woken = {
      ...claudeDone,
      ...{ is_error: true, terminal_reason: "api_error", api_error_status: 429 },
      origin: { kind: "task-notification" },
    };
    const { b, clock } = await printing("claude", [claudeDone, woken], "sleep 600");
    await using _ = b;
    await using session = await b.start();
    const turn = session.turn("go", plain);
    await b.until("tokens", (event) => event.total.total === 210);
    clock.advance(graceMs);
    await turn;
    assert.deepEqual(totals(b), [105, 210]);
  });

  test("an error is reported after the grace as well: a failure, or a limit with its time", async () => {
    const bad = { ...claudeDone, is_error: true, terminal_reason: "api_error" };
    const failed = { ...bad, result: "API Error: 500" };
    const limited = { ...bad, result: "Claude AI usage limit reached|1795660000" };
    for (const [last, error] of [
      [failed, { code: "turn_failed", message: "the command failed: API Error: 500" }],
      [limited, { code: "provider_limited", message: /limit is reached: Claude AI usage/ }],
    ] as const) {
      const { b, clock } = await printing("claude", [last], "sleep 600");
      await using _ = b;
      await using session = await b.start();
      const turn = session.turn("go", plain);
      const ended = assert.rejects(turn, error);
      await b.until("tokens");
      clock.advance(graceMs);
      await ended;
      assert.equal(b.types().at(-1), "turn.failed");
      await noneLeft(b);
    }
  });

  test("an interrupt in the grace only shortens it", async () => {
    const { b } = await printing("claude", [claudeDone], "sleep 600");
    await using _ = b;
    await using session = await b.start();
    const turn = session.turn("go", plain);
    await b.until("tokens");
    await session.interrupt();
    await turn;
    await noneLeft(b);
  });

  test("a program that closes its output and does not exit is ended without waiting for the grace", async () => {
    const { b } = await printing("claude", [claudeDone], "exec >&-; sleep 600");
    await using _ = b;
    await using session = await b.start();
    await session.turn("go", plain);
    await noneLeft(b);
  });
});

describe("a program that reports no result", () => {
  test("claude, gemini and codex always report a result; without one the turn was cut off", async () => {
    const cut = { code: "turn_failed", message: /status 0 and reported no result/ };
    for (const output of ["claude", "gemini", "codex"] as const) {
      const { b } = await printing(output, [{ type: "system" }], "exit 0");
      await using _ = b;
      await using session = await b.start();
      await assert.rejects(session.turn("go", plain), cut, output);
    }
    for (const output of ["text", "jsonl"] as const) {
      const { b } = await printing(output, [{ type: "system" }], "exit 0");
      await using _ = b;
      await using session = await b.start();
      await session.turn("go", plain);
    }
  });

  test("a failed exit with a limit on stderr is provider_limited for known programs", async () => {
    const dies = "echo 'Error: 429 Too Many Requests, try again in 5 minutes' >&2; exit 1";
    for (const output of ["claude", "gemini", "codex"] as const) {
      const { b, clock } = await printing(output, [], dies);
      await using _ = b;
      await using session = await b.start();
      await assert.rejects(session.turn("go", plain), {
        code: "provider_limited",
        details: { status: 1, untilWall: clock.wall() + 300_000 },
      });
    }
    for (const [output, then] of [
      ["text", dies],
      ["jsonl", dies],
      ["claude", "echo 'rate limit reached'; exit 1"],
      ["claude", "echo 'rate limit reached' >&2; exit 0"],
      ["claude", "echo 'rate limit reached' >&2; kill -9 $$"],
    ] as const) {
      const { b } = await printing(output, [], then);
      await using _ = b;
      await using session = await b.start();
      await assert.rejects(session.turn("go", plain), ({ code }: { code: string }) =>
        ["turn_failed", "port_exit"].includes(code),
      );
    }
  });
});

describe("gemini waits for its quota", () => {
  const told = "Attempt 1 failed: Your quota will reset after 3h20m11s.. Retrying after";

  test("a wait of hours ends the turn at once", async () => {
    const waits = `echo '${told} 12773246ms...' >&2; sleep 600`;
    const { b, clock } = await printing("gemini", [], waits);
    await using _ = b;
    await using session = await b.start();
    await assert.rejects(session.turn("go", plain), {
      code: "provider_limited",
      details: { untilWall: clock.wall() + 12_011_000 },
    });
    await noneLeft(b);
  });

  test("a wait of seconds, or the same text of another program, does not end the turn", async () => {
    const short = `echo '${told} 6173ms...' >&2; cat ../done`;
    const other = `echo '${told} 12773246ms...' >&2; exit 0`;
    const { b } = await printing("gemini", [], short);
    await using _ = b;
    await b.program("done", `${JSON.stringify(geminiDone)}\n`);
    await using session = await b.start();
    await session.turn("go", plain);
    const { b: text } = await printing("text", [], other);
    await using __ = text;
    await using second = await text.start();
    await second.turn("go", plain);
  });
});

test("a limit at the start of a resumed session keeps the session", async () => {
  const message = "[API Error: You have exhausted your daily quota on this model.]";
  const limited = { type: "result", status: "error", error: { type: "unknown", message } };
  const { b } = await printing("gemini", [limited], "exit 1", { resumeLine: "cat ../lines.jsonl" });
  await using _ = b;
  await using session = await b.start({ resumeThreadId: "g-1" });
  await assert.rejects(session.turn("go", plain), { code: "provider_limited" });
  assert.equal(session.threadId, "g-1");
  assert.equal(b.types().filter((type) => type === "session.started").length, 1);
});
