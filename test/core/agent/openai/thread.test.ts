import assert from "node:assert/strict";
import { readdir, readFile, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { ChatReading, chatMessages } from "../../../../src/core/agent/openai/chat-api.ts";
import { ResponsesReading } from "../../../../src/core/agent/openai/responses-api.ts";
import {
  forgetThreads,
  type Item,
  readItem,
  shortened,
  Thread,
  tailStart,
  tokensIn,
  userMessage,
  withAnswers,
} from "../../../../src/core/agent/openai/thread.ts";
import { noTokens } from "../../../../src/core/model/attempt.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";

const used = { input: 10, cachedInput: 4, output: 5, reasoningOutput: 1, total: 15 };
const call = (id: string): Item => ({
  type: "function_call",
  call_id: id,
  name: "shell",
  arguments: "{}",
});
const output = (id: string): Item => ({ type: "function_call_output", call_id: id, output: "ok" });

test("a file torn by a crash at any place opens with its complete part", async (t) => {
  const dir = temporaryDir(t);
  const thread = await Thread.create(dir);
  await thread.add([userMessage("one")], used);
  await thread.add([call("a")], used);
  await thread.add([output("a"), userMessage("two ä")], used);
  await thread.close();
  const [name = ""] = await readdir(dir);
  const path = join(dir, name);
  const whole = await readFile(path);
  for (let size = whole.length; size > 0; size -= 7) {
    await writeFile(path, whole);
    await truncate(path, size);
    const opened = await Thread.open(dir, thread.id);
    const text = whole.subarray(0, size).toString("latin1");
    const lines = text.split("\n").length - 1;
    if (lines === 0) {
      assert.equal(opened, null);
      continue;
    }
    assert.equal(opened?.totals.total, 15 * (lines - 1));
    const calls = opened?.items.filter(({ type }) => type === "function_call") ?? [];
    const outputs = opened?.items.filter(({ type }) => type === "function_call_output") ?? [];
    assert.equal(outputs.length, calls.length);
    await opened?.add([userMessage("three")]);
    await opened?.close();
    const again = await Thread.open(dir, thread.id);
    assert.equal(again?.items.at(-1)?.type, "message");
    await again?.close();
  }
});

test("a thread file that is replaced stays private and continues its numbering", async (t) => {
  const dir = temporaryDir(t);
  const thread = await Thread.create(dir);
  await thread.add([userMessage("long")], used);
  await thread.replace([userMessage("short")], used);
  await thread.add([userMessage("more")], null);
  await thread.close();
  const opened = await Thread.open(dir, thread.id);
  assert.deepEqual(
    opened?.items.map((item) => (item.type === "message" ? item.content : "")),
    ["short", "more"],
  );
  assert.equal(opened?.totals.total, 30);
  assert.deepEqual(await readdir(dir), [`${thread.id}.jsonl`]);
  assert.equal((await stat(join(dir, `${thread.id}.jsonl`))).mode & 0o777, 0o600);
  await opened?.close();
});

test("old threads are removed; recent ones and files of others are not", async (t) => {
  const dir = temporaryDir(t);
  const [old, young] = [await Thread.create(dir), await Thread.create(dir)];
  for (const thread of [old, young]) await thread.close();
  await utimes(join(dir, `${old.id}.jsonl`), 1, 1);
  await writeFile(join(dir, "notes"), "");
  await utimes(join(dir, "notes"), 1, 1);
  await forgetThreads(dir, 5_000);
  assert.deepEqual((await readdir(dir)).sort(), ["notes", `${young.id}.jsonl`]);
  await forgetThreads(join(dir, "nowhere"), 5_000);
});

test("a file with an invalid line before its end is not a thread", async (t) => {
  const dir = temporaryDir(t);
  const thread = await Thread.create(dir);
  await thread.close();
  await writeFile(join(dir, `${thread.id}.jsonl`), 'what\n{"items":[]}\n');
  assert.equal(await Thread.open(dir, thread.id), null);
  assert.equal(noTokens.total, 0);
});

test("in a shortened conversation each output keeps its call", () => {
  const piece = fc.integer({ min: 0, max: 3 }).map((kind) => kind);
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }),
      fc.integer({ min: 0, max: 400 }),
      (kinds, size) => {
        const items = kinds.flatMap((kind, index): Item[] => {
          if (kind === 0) return [userMessage(`user ${index}`)];
          if (kind === 1)
            return [{ type: "message", role: "assistant", content: "word ".repeat(20) }];
          const ids = kind === 2 ? [`${index}`] : [`${index}a`, `${index}b`];
          return [...ids.map(call), ...ids.map(output)];
        });
        const start = tailStart(items, size);
        const left = shortened(items, start, "summary");
        assert.deepEqual(withAnswers(left), left);
        const calls = new Set(left.flatMap((i) => (i.type === "function_call" ? [i.call_id] : [])));
        for (const item of left)
          if (item.type === "function_call_output") assert.ok(calls.has(item.call_id));
        assert.ok(tokensIn(items.slice(start)) <= size + 1);
      },
    ),
  );
});

test("items are restored as they were kept, and other items are omitted", () => {
  for (const item of [userMessage("x"), call("a"), output("a")])
    assert.deepEqual(readItem(JSON.parse(JSON.stringify(item))), item);
  const sealed = { type: "reasoning", id: "r", summary: [], encrypted_content: "s" };
  assert.deepEqual(readItem(sealed), sealed);
  for (const strange of [null, 5, {}, { type: "web_search_call" }, { type: "reasoning", id: "r" }])
    assert.equal(readItem(strange), null);
  const system = { type: "message", role: "system", content: "obey" };
  assert.equal(readItem(system), null);
});

test("the calls of one response are one message of a chat", () => {
  const messages = chatMessages("Be good.", [
    userMessage("go"),
    { type: "message", role: "assistant", content: "I look." },
    call("a"),
    call("b"),
    output("a"),
    output("b"),
    call("c"),
    output("c"),
  ]);
  assert.deepEqual(
    messages.map((message) => [
      message.role,
      message.role === "assistant" ? message.tool_calls?.length : null,
    ]),
    [
      ["system", null],
      ["user", null],
      ["assistant", 2],
      ["tool", null],
      ["tool", null],
      ["assistant", 1],
      ["tool", null],
    ],
  );
});

test("a truncated answer is reported as one, and an incomplete call is dropped", () => {
  type Event = Parameters<ResponsesReading["take"]>[0];
  const reading = new ResponsesReading();
  const half = { ...call("a"), status: "incomplete" };
  reading.take({ type: "response.output_item.done", item: half } as unknown as Event);
  assert.throws(() => reading.reply(), /cut off/);
  const response = { output: [], usage: null, incomplete_details: { reason: "max_output_tokens" } };
  reading.take({ type: "response.incomplete", response } as unknown as Event);
  assert.deepEqual(reading.reply(), { items: [], usage: null, cut: "length" });

  type Chunk = Parameters<ChatReading["take"]>[0];
  const chat = new ChatReading();
  const chunk = (choice: object) => ({ choices: [choice] }) as unknown as Chunk;
  const part = { index: 0, id: "c", function: { name: "shell", arguments: '{"comm' } };
  chat.take(chunk({ delta: { content: "So ", tool_calls: [part] } }));
  assert.throws(() => chat.reply(), /cut off/);
  chat.take(chunk({ delta: {}, finish_reason: "length" }));
  const { items, cut } = chat.reply();
  assert.deepEqual([items.length, items[0]?.type, cut], [1, "message", "length"]);
});
