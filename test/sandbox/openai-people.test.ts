import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isOfRun, liveProcesses } from "../../src/core/process/table.ts";
import { modelServer } from "../support/fakes/model-server.ts";
import { coded } from "../support/makers/storage.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";

test("guidance is sent with the next request; without a turn it is refused", async () => {
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

for (const level of ["safe", "danger"] as const) {
  test(`disposing in mid-turn at level ${level} leaves no process, including those that a command started`, async () => {
    const command = "setsid sleep 601 & trap '' TERM; echo up; sleep 602";
    await using provider = await modelServer([{ calls: [{ name: "shell", args: { command } }] }]);
    await using bench = await OpenaiBench.make({ base_url: provider.url });
    const session = await bench.start({ level });
    const over = assert.rejects(session.turn("Work.", { model: null }), { code: "turn_cancelled" });
    await bench.until((event) => event.type === "activity" && event.method === "command/output");
    const { runId } = bench.spec();
    const remaining = async () =>
      (await liveProcesses()).filter((entry) => isOfRun(entry.runId, runId));
    assert.ok((await remaining()).length > 0);
    await session[Symbol.asyncDispose]();
    await over;
    assert.deepEqual(await remaining(), []);
    await assert.rejects(session.turn("More.", { model: null }), { code: "turn_cancelled" });
  });
}

test("a request to leave the sandbox goes to a person when the policy asks one", async () => {
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
  await using session = await bench.start({ askPolicy: { approvals: "ask", timeoutMs: 60_000 } });
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

test("when the policy asks no person the sandbox cannot be left, and the tool does not offer it", async () => {
  for (const approvals of ["auto", "decline"] as const) {
    const args = { command: "touch ../outside", with_escalated_permissions: true };
    await using provider = await modelServer([{ calls: [{ name: "shell", args }] }]);
    await using bench = await OpenaiBench.make({ base_url: provider.url });
    await using session = await bench.start({ askPolicy: { approvals, timeoutMs: 60_000 } });
    await session.turn("Work.", { model: null });
    assert.deepEqual(bench.of("command")[0]?.status, "declined");
    assert.deepEqual(bench.of("approval.resolved")[0]?.decision, "declined");
    const tools = JSON.stringify(provider.asked[0]?.body["tools"]);
    assert.doesNotMatch(tools, /with_escalated/);
    assert.equal(/ask_user/.test(tools), approvals === "auto");
    await assert.rejects(stat(join(bench.workspace, "..", "outside")), { code: "ENOENT" });
  }
});

test("a question ends the turn and is reported when the policy does not allow waiting", async () => {
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

test("an interrupt reaches a turn that waits for a person, and one that waits for the provider", async () => {
  await using provider = await modelServer([
    { calls: [{ name: "ask_user", args: { question: "Which?" } }] },
    { status: 503, headers: { "retry-after": "50" } },
  ]);
  await using bench = await OpenaiBench.make({ base_url: provider.url });
  await using session = await bench.start({ askPolicy: { approvals: "ask", timeoutMs: 60_000 } });
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
