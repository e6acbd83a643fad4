// Calls of tools as models write them and providers stream them: each runs once, with its own arguments.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { argumentsIn } from "../../../../src/core/agent/openai/calls.ts";
import { withAnswers } from "../../../../src/core/agent/openai/thread.ts";
import type { JsonObject } from "../../../../src/core/text/text.ts";
import {
  calls,
  chat,
  json,
  messagesOf,
  place,
  refusal,
  sse,
  texts,
} from "../../../support/worlds/answering-provider.ts";
import { OpenaiBench } from "../../../support/worlds/openai-bench.ts";

const stream = (text: string) => json(200, text, "text/event-stream");
const done = "data: [DONE]\n\n";
const delta = (one: JsonObject, reason: string | null = null) => ({
  choices: [{ index: 0, delta: one, finish_reason: reason }],
});
const ends = delta({}, "tool_calls");
interface Part {
  readonly index?: unknown;
  readonly id?: string;
  readonly name?: string;
  readonly args?: unknown;
}
/** A chunk with a part of a call; what is left out of the part is not in the chunk. */
const part = ({ name, args, ...rest }: Part) =>
  delta({
    tool_calls: [
      {
        ...rest,
        function: {
          ...(name !== undefined && { name }),
          ...(args !== undefined && { arguments: args }),
        },
      },
    ],
  });
const [ls, pwd] = ['{"command":"ls"}', '{"command":"pwd"}'];

describe("A3: parts of calls", () => {
  const one: readonly (readonly [string, string])[] = [["shell", ls]];
  const two: readonly (readonly [string, string])[] = [
    ["shell", ls],
    ["shell", pwd],
  ];
  const answers: readonly (readonly [string, readonly Part[], typeof two])[] = [
    [
      "two calls with one id",
      [
        { index: 0, id: "a", name: "shell", args: ls },
        { index: 1, id: "a", name: "shell", args: pwd },
      ],
      two,
    ],
    [
      "two calls with one id and one index",
      [
        { index: 0, id: "a", name: "shell", args: ls },
        { index: 0, id: "a", name: "shell", args: pwd },
      ],
      two,
    ],
    [
      "two calls without id and index",
      [
        { name: "shell", args: ls },
        { name: "shell", args: pwd },
      ],
      two,
    ],
    [
      "one call whose pieces repeat its id and name",
      [
        { index: 0, id: "a", name: "shell", args: ls.slice(0, 5) },
        { index: 0, id: "a", name: "shell", args: ls.slice(5) },
      ],
      one,
    ],
    [
      "one call whose pieces have an index each",
      [
        { index: 0, id: "a", name: "shell", args: ls.slice(0, 5) },
        { index: 1, id: "a", name: "shell", args: ls.slice(5) },
      ],
      one,
    ],
    [
      "one call that comes whole after its pieces",
      [
        { index: 0, id: "a", name: "shell", args: ls.slice(0, 5) },
        { index: 0, args: ls.slice(5) },
        { index: 0, id: "a", name: "shell", args: ls },
      ],
      one,
    ],
    [
      "a name in two parts",
      [
        { index: 0, id: "a", name: "sh", args: "" },
        { index: 0, name: "ell" },
        { index: 0, args: ls },
      ],
      one,
    ],
    [
      "a name that grows",
      [
        { index: 0, id: "a", name: "sh", args: "" },
        { index: 0, id: "a", name: "shell", args: ls },
      ],
      one,
    ],
    [
      "a name after its arguments",
      [
        { index: 0, id: "a", args: ls },
        { index: 0, name: "shell" },
      ],
      one,
    ],
    [
      "an object without keys before the arguments",
      [
        { index: 0, id: "a", name: "shell", args: {} },
        { index: 0, args: ls.slice(0, 5) },
        { index: 0, args: ls.slice(5) },
      ],
      one,
    ],
    ["an index as text", [{ index: "0", id: "a", name: "shell", args: ls }], one],
  ];
  for (const [name, parts, wanted] of answers) {
    test(`A3: ${name}`, async () => {
      await using at = await place([stream(sse(...parts.map(part), ends) + done)]);
      const items = await at.ask();
      assert.deepEqual(calls(items), wanted);
      const ids = items.flatMap((item) => (item.type === "function_call" ? [item.call_id] : []));
      assert.equal(new Set(ids).size, wanted.length);
      assert.ok(ids.every((id) => id !== ""));
    });
  }

  test("A3: calls without an id get other ids in each answer", async () => {
    const answer = stream(sse(part({ name: "shell", args: ls }), ends) + done);
    await using at = await place([answer, answer]);
    const ids = [...(await at.ask()), ...(await at.ask())].flatMap((item) =>
      item.type === "function_call" ? [item.call_id] : [],
    );
    assert.equal(new Set(ids).size, 2);
    assert.match(ids.join(), /^[a-zA-Z0-9]{9},[a-zA-Z0-9]{9}$/, "Mistral takes no other");
  });

  test("A3: after a crash a call is answered although an earlier one of its id has an answer", () => {
    const call = {
      type: "function_call",
      call_id: "call_0",
      name: "shell",
      arguments: ls,
    } as const;
    const output = { type: "function_call_output", call_id: "call_0", output: "x" } as const;
    const types = withAnswers([call, output, call]).map(({ type }) => type);
    assert.deepEqual(types, [call.type, output.type, call.type, output.type]);
    assert.equal(withAnswers([call, output]).length, 2);
  });
});

test("A17: arguments of no call, null, or JSON in a text of JSON are read; anything but an object is none", () => {
  for (const none of ["", " ", "null", '""', "{}"]) assert.deepEqual(argumentsIn(none), {}, none);
  for (const written of [ls, JSON.stringify(ls), JSON.stringify(JSON.stringify(ls)), `${ls}\n`]) {
    assert.deepEqual(argumentsIn(written), { command: "ls" }, written);
  }
  for (const bad of ["[]", "5", "{", '"ls"', `${ls}${ls}`])
    assert.equal(argumentsIn(bad), null, bad);
});

test("A17: a call with arguments in a text of JSON runs, and goes back as an object", async () => {
  const args = JSON.stringify(JSON.stringify({ command: "touch up" }));
  const call = part({ index: 0, id: "a", name: "shell", args });
  await using at = await place([stream(sse(call, ends) + done), chat({ content: "Done." })]);
  await using bench = await OpenaiBench.make(at.written);
  await using session = await bench.start({ level: "danger" });
  await session.turn("please", { model: null });
  assert.ok(existsSync(join(bench.workspace, "up")));
  const [sent] = messagesOf(at.asked[1]).flatMap(({ tool_calls: all }) => (all ? [all] : []));
  assert.match(JSON.stringify(sent), /"arguments":"\{\\"command\\":\\"touch up\\"\}"/);
});

describe("A12: ends and lines of streams", () => {
  const said = delta({ content: "Done." });
  const stop = delta({}, "stop");
  const usage = { choices: [], usage: { prompt_tokens: 5, completion_tokens: 1 } };
  const answers: readonly (readonly [string, string])[] = [
    ["no [DONE]", sse(said, stop)],
    ["no reason", sse(said) + done],
    ["no reason and no [DONE], but its usage", sse(said, usage)],
    ["lines that end with CR and LF", (sse(said, stop) + done).replaceAll("\n", "\r\n")],
    ["no empty line after an event", (sse(said, stop) + done).replaceAll("\n\n", "\n")],
    [
      "an event of two lines",
      `${sse(said)}data: {"choices":\ndata: [{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n`,
    ],
    ["comments", `: waiting\n\n${sse(said)}: waiting\n\n${sse(stop)}${done}`],
  ];
  for (const [name, text] of answers) {
    test(`A12: ${name}`, async () => {
      await using at = await place([stream(text)]);
      assert.deepEqual(texts(await at.ask()), ["Done."]);
    });
  }

  for (const [name, before] of [
    ["an error in plain text", "event: error\ndata: upstream exploded\n\n"],
    ["plain text in the place of an event", `${sse(said)}data: upstream exploded\n\n`],
  ] as const) {
    test(`A12: ${name} is told in its words`, async () => {
      for (const api of ["chat", "responses"]) {
        await using at = await place([stream(before)], { api });
        const { message } = await refusal(at.ask());
        assert.match(message, /: upstream exploded$/);
      }
    });
  }

  test("A12: text without an end of any kind is asked for again", async () => {
    await using at = await place([stream(sse(said)), chat({ content: "Whole." })], {
      max_retries: 1,
    });
    assert.deepEqual(texts(await at.ask()), ["Whole."]);
  });
});

describe("A18: calls of the Responses API", () => {
  const item = { type: "function_call", call_id: "c", id: "fc", name: "shell" };
  const completed = (output: readonly object[]) => ({
    type: "response.completed",
    response: { status: "completed", output },
  });
  const added = { type: "response.output_item.added", output_index: 0, item };
  const args = (type: string, more: object) => ({
    type: `response.function_call_arguments.${type}`,
    output_index: 0,
    ...more,
  });
  const ended = (one: object) => ({
    type: "response.output_item.done",
    output_index: 0,
    item: one,
  });
  const answers: readonly (readonly [string, readonly object[], string])[] = [
    ["no call_id", [ended({ ...item, call_id: undefined, arguments: ls }), completed([])], ""],
    [
      "arguments as an object",
      [ended({ ...item, arguments: { command: "ls" } }), completed([])],
      "",
    ],
    [
      "arguments that stand in their pieces alone",
      [
        added,
        args("delta", { delta: ls.slice(0, 5) }),
        args("delta", { delta: ls.slice(5) }),
        ended({ ...item, arguments: "" }),
        completed([]),
      ],
      "",
    ],
    [
      "a call that comes twice",
      [ended({ ...item, arguments: ls }), ended({ ...item, arguments: ls }), completed([])],
      "",
    ],
    [
      "OpenRouter's last event",
      [{ type: "response.done", response: { output: [{ ...item, arguments: ls }] } }],
      "",
    ],
    ["no last event, but [DONE]", [ended({ ...item, arguments: ls })], done],
    ["no items and no last event, but [DONE]", [added, args("done", { arguments: ls })], done],
  ];
  for (const [name, events, end] of answers) {
    test(`A18: ${name}`, async () => {
      await using at = await place([stream(sse(...events) + end)], { api: "responses" });
      assert.deepEqual(calls(await at.ask()), [["shell", ls]]);
    });
  }

  test("A18: two calls with one id are both run, and each has its own answer", async () => {
    const two = [ls, pwd].map((written) => ({ ...item, arguments: written }));
    await using at = await place([stream(sse(completed(two)))], { api: "responses" });
    const items = await at.ask();
    assert.deepEqual(calls(items), [
      ["shell", ls],
      ["shell", pwd],
    ]);
    assert.equal(new Set(items.map((one) => "call_id" in one && one.call_id)).size, 2);
  });

  const whole = {
    type: "message",
    role: "assistant",
    content: [{ type: "output_text", text: "Done." }],
  };
  const answered: readonly (readonly [string, readonly object[]])[] = [
    ["a message without a role", [completed([{ ...whole, role: undefined }])]],
    [
      "text that stands in its last piece alone",
      [{ type: "response.output_text.done", output_index: 0, text: "Done." }, completed([])],
    ],
  ];
  for (const [name, events] of answered) {
    test(`A18: ${name}`, async () => {
      await using at = await place([stream(sse(...events))], { api: "responses" });
      assert.deepEqual(texts(await at.ask()), ["Done."]);
    });
  }

  test("A18: events whose type stands in the line before alone", async () => {
    const { type, response } = completed([whole]);
    const text = `event: ${type}\ndata: ${JSON.stringify({ response })}\n\n`;
    await using at = await place([stream(text)], { api: "responses" });
    assert.deepEqual(texts(await at.ask()), ["Done."]);
  });

  test("A17: an answer that is completed by its event and failed by its status is asked for again", async () => {
    const error = { code: "server_error", message: "boom" };
    const failed = {
      type: "response.completed",
      response: { status: "failed", output: [whole], error },
    };
    const replies = [stream(sse(failed)), stream(sse(completed([whole])))];
    await using at = await place(replies, { api: "responses", max_retries: 1 });
    assert.deepEqual(texts(await at.ask()), ["Done."]);
    assert.equal(at.asked.length, 2);
  });
});
