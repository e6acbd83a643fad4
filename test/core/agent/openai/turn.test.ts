import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  call,
  json,
  place,
  type Reply,
  refusal,
  sse,
} from "../../../support/worlds/answering-provider.ts";
import { OpenaiBench } from "../../../support/worlds/openai-bench.ts";

const usage = { choices: [], usage: { prompt_tokens: 90, completion_tokens: 10 } };

function answer(delta: object, reason: string): Reply {
  const text = `${sse({ choices: [{ index: 0, delta, finish_reason: reason }] }, usage)}data: [DONE]\n\n`;
  return json(200, text, "text/event-stream");
}

const calling = (args: string, name = "shell") =>
  answer({ tool_calls: [call("c", name, args)] }, "tool_calls");
const ran = calling('{"command":"true"}');
const said = answer({ content: "Done." }, "stop");
const empty = answer({}, "stop");
const times = (count: number, ...replies: readonly Reply[]) =>
  Array.from({ length: count }, () => replies).flat();

/** The session of a provider that answers with these, at its first turn. */
async function turnOf(replies: readonly Reply[], then: (turn: Promise<void>) => Promise<unknown>) {
  await using at = await place(replies);
  await using bench = await OpenaiBench.make(at.written);
  await using session = await bench.start({ level: "danger" });
  await then(session.turn("please", { model: null }));
  return { requests: at.asked.length, tokens: bench.of("tokens").at(-1)?.total.total };
}

async function failsAs(replies: readonly Reply[], expected: RegExp) {
  return turnOf(replies, async (turn) => {
    const error = await refusal(turn);
    assert.equal(error.code, "turn_failed");
    assert.match(error.message, expected);
  });
}

describe("a turn whose model gets nowhere ends, since each answer is paid", () => {
  const nowhere: readonly (readonly [string, Reply])[] = [
    ["is cut off without a word", answer({}, "length")],
    ["is cut off in its text", answer({ content: "I think" }, "length")],
    ["calls with broken JSON", calling('{"command": ls}')],
    ["calls a tool that there is not", calling("{}", "nothing")],
    ["leaves out what a tool needs", calling("{}")],
  ];
  for (const [name, reply] of nowhere) {
    test(`after ten answers: it ${name}`, async () => {
      const { requests, tokens } = await failsAs(times(20, reply), /^10 answers in a row/);
      assert.deepEqual([requests, tokens], [10, 1_000]);
    });
  }

  test("a call that could be carried out begins the count anew", async () => {
    const replies = [...times(3, ...times(9, nowhere[2]?.[1] ?? said), ran), said];
    assert.equal((await turnOf(replies, (turn) => turn)).requests, 31);
  });

  test("after the same calls with the same results fifty times; other calls between them are progress", async () => {
    assert.equal((await failsAs(times(60, ran), /^the model made the same calls/)).requests, 51);
    const replies = [...times(45, ran), calling('{"command":"echo"}'), ...times(45, ran), said];
    assert.equal((await turnOf(replies, (turn) => turn)).requests, 92);
  });

  test("an empty answer is asked for once more; after a call it ends the turn", async () => {
    assert.equal((await turnOf([empty, said], (turn) => turn)).requests, 2);
    assert.equal((await turnOf([ran, empty], (turn) => turn)).requests, 2);
    assert.equal((await failsAs([empty, empty], /answers are empty/)).requests, 2);
  });
});

test("a call of the tracker's tools with broken arguments is not carried out", async () => {
  const args: unknown[] = [];
  const tools = {
    specs: [{ name: "comment", description: "comments", inputSchema: { type: "object" } }],
    call: async (_: string, given: unknown) => {
      args.push(given);
      return { success: true, output: "yes" };
    },
  };
  await using at = await place([calling('{"text": hi}', "comment"), calling("", "comment"), said]);
  await using bench = await OpenaiBench.make(at.written);
  await using session = await bench.start({ level: "danger", tools });
  await session.turn("please", { model: null });
  assert.deepEqual(args, [{}]);
  assert.deepEqual(
    bench.of("tool_call").map(({ outcome }) => outcome),
    ["failed", "completed"],
  );
});
