import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { type Answer, modelServer } from "../support/fakes/model-server.ts";
import { coded } from "../support/makers/storage.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";

const patch = "*** Begin Patch\n*** Add File: hello.txt\n+hello\n*** End Patch";
const work: readonly Answer[] = [
  { sealed: "sealed-1", calls: [{ name: "shell", args: { command: "echo one; echo two >&2" } }] },
  { text: "Now a file.", calls: [{ name: "apply_patch", args: { input: patch } }] },
  {
    calls: [
      { name: "read_file", args: { path: "hello.txt" } },
      { name: "list_files", args: {} },
      { name: "search", args: { pattern: "hel+o" } },
      { name: "issue_move", args: { state: "Done" } },
    ],
  },
  { text: "All done.", usage: { input: 100, output: 7, cached: 90 } },
];

for (const api of ["responses", "chat"] as const) {
  test(`a turn over ${api} can use commands, patches, files and the tracker's tools`, async () => {
    await using provider = await modelServer(work, [api]);
    await using bench = await OpenaiBench.make({ base_url: provider.url });
    const moved: unknown[] = [];
    await using session = await bench.start({
      tools: {
        specs: [{ name: "issue_move", description: "moves it", inputSchema: { type: "object" } }],
        call: async (name, args) => {
          moved.push([name, args]);
          return { success: true, output: "moved" };
        },
      },
    });
    await session.turn("Do it.", { model: "gpt-test", effort: "high" });
    assert.equal(await readFile(join(bench.workspace, "hello.txt"), "utf8"), "hello\n");
    assert.deepEqual(moved, [["issue_move", { state: "Done" }]]);
    assert.deepEqual(
      bench.of("message").map(({ text }) => text),
      ["Now a file.", "All done."],
    );
    const [started, ended] = bench.of("command");
    assert.equal(started?.status, "started");
    assert.deepEqual(
      [ended?.status, ended?.exitCode, ended?.output],
      ["completed", 0, "one\ntwo\n"],
    );
    assert.deepEqual(bench.of("file_change")[0]?.paths, ["hello.txt"]);
    assert.deepEqual(
      bench
        .of("tool_call")
        .map(({ tool, outcome }) => `${tool} ${outcome}`)
        .sort(),
      ["issue_move", "list_files", "read_file", "search"].map((tool) => `${tool} completed`),
    );
    const totals = bench.of("tokens").map(({ total }) => total.total);
    assert.deepEqual(totals, [15, 30, 45, 152]);
    assert.equal(bench.of("tokens").at(-1)?.total.cachedInput, 90);
    const types = bench.events.map(({ type }) => type);
    assert.deepEqual([types[0], types.at(-1)], ["session.started", "turn.completed"]);
    assert.match(JSON.stringify(bench.of("notice")), /level safe/);
    const last = provider.asked.at(-1);
    assert.equal(last?.headers.authorization, "Bearer sk-test-0123456789");
    assert.equal(last?.body["model"], "gpt-test");
    const sent = JSON.stringify(last?.body);
    for (const words of [/1\\thello/, /hello.txt:1:hello/, /moved/]) assert.match(sent, words);
    if (api === "responses") {
      assert.deepEqual(last?.body["reasoning"], { effort: "high" });
      assert.match(sent, /sealed-1/);
      assert.equal(last?.body["store"], false);
    } else assert.equal(last?.body["reasoning_effort"], "high");
    assert.equal(provider.asked.length, 4);
  });
}

test("a thread continues in another session, with its totals, and its file is private", async () => {
  await using provider = await modelServer([
    { text: "One." },
    (body) => ({ text: JSON.stringify(body["input"]).includes("One.") ? "I remember." : "Who?" }),
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  let threadId: string;
  {
    await using first = await bench.start();
    await first.turn("Begin.", { model: null });
    threadId = first.threadId;
  }
  const file = join(bench.dataDir, "threads", `${threadId}.jsonl`);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  // As after a crash in the middle of a call and of a write.
  const call = { type: "function_call", call_id: "c9", name: "shell", arguments: "{}" };
  const open = JSON.stringify({ items: [call], totals: bench.of("tokens").at(-1)?.total });
  await writeFile(file, `${await readFile(file, "utf8")}${open}\n{"items":[{"ty`);
  await using second = await bench.start({ resumeThreadId: threadId });
  assert.deepEqual([second.resumed, second.threadId], [true, threadId]);
  await second.turn("Go on.", { model: null });
  assert.equal(bench.of("message").at(-1)?.text, "I remember.");
  assert.equal(bench.of("tokens").at(-1)?.total.total, 30);
  assert.match(JSON.stringify(provider.asked[1]?.body["input"]), /"call_id":"c9","output":"interr/);
});

test("a missing or invalid thread is replaced by a new one", async () => {
  await using provider = await modelServer([]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  for (const resumeThreadId of ["thr_00000000-0000-0000-0000-000000000000", "../../etc/passwd"]) {
    await using session = await bench.start({ resumeThreadId });
    assert.equal(session.resumed, false);
    assert.notEqual(session.threadId, resumeThreadId);
  }
});

test("a long conversation is shortened by a summary, and its newest part stays", async () => {
  const long = "word ".repeat(2_000);
  await using provider = await modelServer([
    { text: long, usage: { input: 3_000, output: 2_500 } },
    { text: "SUMMARY: half is done." },
    (body) => ({ text: JSON.stringify(body["input"]).includes("SUMMARY") ? "Going on." : "Lost." }),
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url, context_tokens: 6_000 });
  await using session = await bench.start();
  await session.turn("The task: paint it red.", { model: null });
  await session.turn("Go on.", { model: null });
  assert.equal(bench.of("message").at(-1)?.text, "Going on.");
  const last = JSON.stringify(provider.asked.at(-1)?.body["input"]);
  assert.match(last, /paint it red.*SUMMARY.*Go on\./);
  assert.ok(last.length < 2_000, "the long answer is gone");
  assert.match(JSON.stringify(bench.of("notice")), /shortened from 3 to/);
  assert.equal(bench.of("tokens").at(-1)?.total.total, 5_500 + 15 + 15);
});

test("a model's mistakes are reported to it and the turn continues", async () => {
  const calls = [
    { name: "shell", args: "no json" },
    { name: "shell", args: { command: 5 } },
    { name: "read_file", args: { path: "../../etc/passwd" } },
    { name: "apply_patch", args: { input: "nothing" } },
    { name: "unheard_of", args: {} },
  ];
  await using provider = await modelServer([{ calls }]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await session.turn("Work.", { model: null });
  assert.deepEqual(
    bench.of("tool_call").map(({ outcome }) => outcome),
    ["failed", "failed", "failed", "failed", "unsupported"],
  );
  assert.equal(bench.of("turn.completed").length, 1);
});

test("a turn that would never end is stopped", async () => {
  const again = { calls: [{ name: "list_files", args: {} }] };
  await using provider = await modelServer([again, again, again]);
  await using bench = await OpenaiBench.make({ base_url: provider.url, max_requests_per_turn: 3 });
  await using session = await bench.start();
  await assert.rejects(session.turn("Work.", { model: null }), coded("turn_failed", /3 requests/));
});

test("a silent command is no stall: it reports activity", async () => {
  const clock = new FakeClock();
  await using provider = await modelServer([
    { calls: [{ name: "shell", args: { command: "until [ -e go ]; do sleep 0.05; done" } }] },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  bench.clock = clock;
  await using session = await bench.start();
  const turn = session.turn("Work.", { model: null });
  await bench.until(({ type }) => type === "command");
  clock.advance(61_000);
  const signs = bench.of("activity").filter(({ method }) => method === "command/running");
  assert.equal(signs.length, 2);
  await writeFile(join(bench.workspace, "go"), "");
  await turn;
});

for (const api of ["responses", "chat"] as const) {
  test(`over ${api} a truncated answer is continued, and a filtered one fails the turn`, async () => {
    await using provider = await modelServer(
      [{ text: "Half", ends: "length" }, { text: "Whole." }, { text: "No", ends: "filter" }],
      [api],
    );
    await using bench = await OpenaiBench.make({ base_url: provider.url });
    await using session = await bench.start();
    await session.turn("Work.", { model: null });
    assert.equal(bench.of("message").at(-1)?.text, "Whole.");
    const filtered = session.turn("More.", { model: null });
    await assert.rejects(filtered, coded("turn_failed", /filter/));
  });
}

// A5 is a row of the cases of agents: a context that is smaller than configured, in the words of other providers.
for (const named of [true, false]) {
  test(`A5: a turn goes on in a context that is smaller than configured, ${named ? "with" : "without"} its size in the refusal`, async () => {
    const limit = 40_000;
    const facts = named ? { n_ctx: 8_000, n_prompt_tokens: 14_429 } : {};
    const error = {
      ...{ code: 400, type: "exceed_context_size_error", ...facts },
      message: "the request exceeds the available context size",
    };
    let commands = 0;
    const answer = (body: Readonly<Record<string, unknown>>): Answer => {
      if (JSON.stringify(body).length > limit) return { status: 400, error };
      if (JSON.stringify(body).includes("CONTEXT CHECKPOINT")) return { text: "A summary." };
      if (commands++ < 4) {
        const command = `seq 1 4000 | head -c 15000; echo ${commands}`;
        return { calls: [{ name: "shell", args: { command } }] };
      }
      return { text: "done" };
    };
    await using provider = await modelServer(Array(60).fill(answer), ["chat"]);
    const settings = { base_url: provider.url, api: "chat", context_tokens: 200_000 } as const;
    await using bench = await OpenaiBench.make(settings);
    await using session = await bench.start();
    await session.turn("Count.", { model: "gpt-test" });
    assert.deepEqual(
      bench
        .of("message")
        .map(({ text }) => text)
        .at(-1),
      "done",
    );
    assert.match(JSON.stringify(bench.of("notice")), /the conversation was shortened/);
    const refused = provider.asked.filter(({ body }) => JSON.stringify(body).length > limit).length;
    assert.ok(refused <= (named ? 2 : 8), `${refused} requests were too long`);
  });
}
