import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { liveProcesses } from "../../src/core/agent/process-table.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type Answer, modelServer } from "../support/model-server.ts";
import { OpenaiBench } from "../support/openai-bench.ts";
import { coded } from "../support/storage.ts";

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
  test(`a turn over ${api}: commands, patches, files and the tracker's tools`, async () => {
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

test("a thread goes on in another session, with its totals, and its file is private", async () => {
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
  // As a crash in the middle of a call, and of a write, leaves it.
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

test("a thread that is not there, or is no thread, makes a new one", async () => {
  await using provider = await modelServer([]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  for (const resumeThreadId of ["thr_00000000-0000-0000-0000-000000000000", "../../etc/passwd"]) {
    await using session = await bench.start({ resumeThreadId });
    assert.equal(session.resumed, false);
    assert.notEqual(session.threadId, resumeThreadId);
  }
});

test("guidance goes in before the next request; without a turn it is refused", async () => {
  await using provider = await modelServer([
    { calls: [{ name: "shell", args: { command: "until [ -e go ]; do sleep 0.05; done" } }] },
    (body) => ({ text: `heard ${/auth first/.exec(JSON.stringify(body["input"]))?.[0]}` }),
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await assert.rejects(session.steer("st_0", "early"), { code: "no_active_turn" });
  const turn = session.turn("Work.", { model: null });
  await bench.until(({ type }) => type === "command");
  const { turnId } = await session.steer("st_1", "auth first");
  assert.equal(bench.of("turn.started")[0]?.turnId, turnId);
  assert.deepEqual(bench.of("steer.delivered"), []);
  await writeFile(join(bench.workspace, "go"), "");
  await turn;
  assert.deepEqual(bench.of("steer.delivered"), [{ type: "steer.delivered", steerId: "st_1" }]);
  assert.equal(bench.of("message").at(-1)?.text, "heard auth first");
});

test("an interrupt ends the command and the turn, and the thread can go on", async () => {
  await using provider = await modelServer([
    { calls: [{ name: "shell", args: { command: "sleep 600" } }] },
    { text: "On." },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  const turn = session.turn("Work.", { model: null });
  await bench.until(({ type }) => type === "command");
  await session.interrupt();
  await assert.rejects(turn, { code: "turn_cancelled" });
  assert.equal(bench.of("turn.failed").length, 1);
  await session.turn("Again.", { model: null });
  assert.equal(bench.of("message").at(-1)?.text, "On.");
});

for (const level of ["safe", "danger"] as const) {
  test(`disposing in mid-turn at level ${level} leaves no process, whatever it started`, async () => {
    const command = "setsid sleep 601 & trap '' TERM; echo up; sleep 602";
    await using provider = await modelServer([{ calls: [{ name: "shell", args: { command } }] }]);
    await using bench = await OpenaiBench.make({ base_url: provider.url });
    const session = await bench.start({ level });
    const over = assert.rejects(session.turn("Work.", { model: null }), { code: "turn_cancelled" });
    await bench.until((event) => event.type === "activity" && event.method === "command/output");
    const { runId } = bench.spec();
    const ours = async () => (await liveProcesses()).filter((entry) => entry.runId === runId);
    assert.ok((await ours()).length > 0);
    await session[Symbol.asyncDispose]();
    await over;
    assert.deepEqual(await ours(), []);
    await assert.rejects(session.turn("More.", { model: null }), { code: "turn_cancelled" });
  });
}

test("without a key it does not start, and says which command helps", async () => {
  await using bench = await OpenaiBench.make();
  bench.secrets = {};
  await assert.rejects(bench.start(), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.equal(error.code, "agent_unavailable");
    assert.equal(error.hint, "symphony secrets add OPENAI_API_KEY");
    return true;
  });
});

test("the key is looked up at each request", async () => {
  await using provider = await modelServer([{ text: "One." }, { text: "Two." }]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await session.turn("Go.", { model: null });
  bench.secrets = { OPENAI_API_KEY: "sk-another-987654" };
  await session.turn("Go.", { model: null });
  assert.deepEqual(
    provider.asked.map(({ headers }) => headers.authorization),
    ["Bearer sk-test-0123456789", "Bearer sk-another-987654"],
  );
});

test("only https, or http on this machine, gets the key", async () => {
  for (const base_url of [
    "http://example.com/v1",
    "http://169.254.169.254/v1",
    "file:///etc/passwd",
    "https://user:word@example.com/v1",
    "no url",
  ]) {
    await using bench = await OpenaiBench.make({ base_url });
    await assert.rejects(bench.start(), coded("invalid_config"));
  }
});

test("without a sandbox nothing starts but at level danger", async () => {
  await using provider = await modelServer([]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  bench.env = { ...bench.env, PATH: "/nowhere" };
  for (const level of ["safe", "networked"] as const) {
    await assert.rejects(bench.start({ level }), coded("agent_unavailable", /bubblewrap/));
  }
  await using session = await bench.start({ level: "danger" });
  assert.match(JSON.stringify(bench.of("notice")), /without a sandbox/);
  assert.match(bench.logs.join(), /without a sandbox/);
  assert.equal(session.resumed, false);
});

test("a long conversation is shortened by a summary, and the newest of it stays", async () => {
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

test("a wish to leave the sandbox goes to a person where people are asked", async () => {
  await using provider = await modelServer([
    {
      calls: [
        {
          name: "shell",
          args: {
            command: "echo here > ../outside.txt && cat ../outside.txt",
            with_escalated_permissions: true,
            justification: "to publish it",
          },
        },
      ],
    },
    { calls: [{ name: "ask_user", args: { question: "Which?", options: ["red", "blue"] } }] },
    (body) => ({ text: JSON.stringify(body["input"]).includes("blue, please") ? "Blue." : "No." }),
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start({ people: { approvals: "ask", timeoutMs: 60_000 } });
  const turn = session.turn("Work.", { model: null });
  await bench.until(({ type }) => type === "approval.requested");
  const [first] = bench.of("approval.requested");
  assert.match(first?.needs.prompt ?? "", /outside\.txt[\s\S]*to publish it/);
  session.answer(first?.ask?.id ?? "", { type: "decision", approve: true });
  await bench.until((e) => e.type === "approval.requested" && e.needs.kind === "question");
  const second = bench.of("approval.requested")[1];
  session.answer(second?.ask?.id ?? "", { type: "answers", answers: ["blue, please"] });
  await turn;
  assert.equal(bench.of("message").at(-1)?.text, "Blue.");
  const outside = join(bench.workspace, "..", "outside.txt");
  assert.equal(await readFile(outside, "utf8"), "here\n");
});

test("where nobody is asked the sandbox cannot be left, and it is not offered", async () => {
  for (const approvals of ["auto", "decline"] as const) {
    const args = { command: "touch ../outside", with_escalated_permissions: true };
    await using provider = await modelServer([{ calls: [{ name: "shell", args }] }]);
    await using bench = await OpenaiBench.make({ base_url: provider.url });
    await using session = await bench.start({ people: { approvals, timeoutMs: 60_000 } });
    await session.turn("Work.", { model: null });
    assert.deepEqual(bench.of("command")[0]?.status, "declined");
    assert.deepEqual(bench.of("approval.resolved")[0]?.decision, "declined");
    const tools = JSON.stringify(provider.asked[0]?.body["tools"]);
    assert.doesNotMatch(tools, /with_escalated/);
    assert.equal(/ask_user/.test(tools), approvals === "auto");
    await assert.rejects(stat(join(bench.workspace, "..", "outside")), { code: "ENOENT" });
  }
});

test("a question that nobody may wait for ends the turn with what was asked", async () => {
  await using provider = await modelServer([
    { calls: [{ name: "ask_user", args: { question: "Which?" } }] },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await assert.rejects(
    session.turn("Work.", { model: null }),
    coded("turn_input_required", /Which\?/),
  );
});

test("what a model does wrong is told to it and the turn goes on", async () => {
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

test("a turn that never ends is ended", async () => {
  const again = { calls: [{ name: "list_files", args: {} }] };
  await using provider = await modelServer([again, again, again]);
  await using bench = await OpenaiBench.make({ base_url: provider.url, max_requests_per_turn: 3 });
  await using session = await bench.start();
  await assert.rejects(session.turn("Work.", { model: null }), coded("turn_failed", /3 requests/));
});

test("a silent command is no stall: it gives signs of life", async () => {
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
  test(`over ${api} a cut answer is gone on with, and a filtered one fails the turn`, async () => {
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

test("an interrupt reaches a turn that waits for a person, and one that waits for the provider", async () => {
  await using provider = await modelServer([
    { calls: [{ name: "ask_user", args: { question: "Which?" } }] },
    { status: 503, headers: { "retry-after": "50" } },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start({ people: { approvals: "ask", timeoutMs: 60_000 } });
  const asking = assert.rejects(session.turn("Work.", { model: null }), { code: "turn_cancelled" });
  await bench.until(({ type }) => type === "approval.requested");
  await session.interrupt();
  await asking;
  const askId = bench.of("approval.requested")[0]?.ask?.id ?? "";
  const late = () => session.answer(askId, { type: "answers", answers: ["red"] });
  assert.throws(late, coded("nothing_asked"));
  const waiting = assert.rejects(session.turn("On.", { model: null }), { code: "turn_cancelled" });
  await bench.until((event) => event.type === "notice" && /again in 50000/.test(event.message));
  await session.interrupt();
  await waiting;
  await session.interrupt();
});

test("a limit of the provider ends the turn and says until when", async () => {
  await using provider = await modelServer([
    { status: 429, error: { type: "usage_limit_reached", resets_at: 1_900_000_000 } },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start();
  await assert.rejects(session.turn("Work.", { model: null }), (error) => {
    assert.ok(error instanceof SymphonyError);
    assert.deepEqual([error.code, error.details], ["provider_limited", { untilWall: 1.9e12 }]);
    return true;
  });
  assert.match(bench.of("turn.failed")[0]?.message ?? "", /limit/);
});
