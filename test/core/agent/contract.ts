import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test as register, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { isOfRun, killRun, liveProcesses } from "../../../src/core/process/table.ts";
import { hostileFiles, plant, ran } from "../../support/makers/hostile-files.ts";
import { type Acts, type Stage, usedBy } from "../../support/worlds/agent-stage.ts";
import { eventually } from "../../support/worlds/symphony.ts";
import { type Abilities, type Reasons, type Scenario, scenarios } from "./abilities.ts";

const plain = { model: null };
const asking = { askPolicy: { approvals: "ask", timeoutMs: 60_000 } } as const;
const hostFile = fileURLToPath(new URL("../../support/fakes/session-host.ts", import.meta.url));
const working = "touch up; setsid sleep 600 & sleep 600";
/** Neither a shell, an option parser, a template nor a slash command may act on the text of an issue. */
const hostileText = [
  "/logout",
  "$(touch pwned) `touch pwned` ; touch pwned & touch pwned | touch pwned",
  "'; touch pwned; ' \"; touch pwned; \" --dangerously-skip-permissions -c touch",
  "{{ env.HOME }} {% raw %} %s $HOME @/etc/passwd \u2028 \u202e ünïcödé \\u0000",
].join("\n");

export interface Contract {
  readonly abilities: Abilities;
  make(turns: Acts): Promise<Stage>;
  /** The key of `agentDoubles`, for a host that is killed; null: there is none, as with a real program. */
  readonly double: string | null;
  /** The scenarios that are not run, each with its reason; omitted: all are run. */
  readonly without?: Reasons;
  /** What a session of this kind needs in addition. */
  readonly spec?: Partial<SessionSpec>;
}

/** Registers the tests that every kind of agent has to pass. What a kind cannot do is tested as its inability. */
export function agentContract(contract: Contract): void {
  describe(`the contract of agents: ${contract.abilities.name}`, () => {
    turns(contract);
    people(contract);
    ends(contract);
    numbers(contract);
    hostility(contract);
    limits(contract);
  });
}

/** Registers scenarios. One that the contract is without is reported as skipped, with the reason. */
function scenariosOf({ without = {} }: Contract) {
  return (name: string, scenario: (t: TestContext) => unknown): void => {
    const skip = without[scenarioNamed(name)];
    void register(name, { ...(skip && { skip }) }, async (t) => void (await scenario(t)));
  };
}

const isScenario = (text: string): text is Scenario => text in scenarios;

function scenarioNamed(name: string): Scenario {
  const found = Object.keys(scenarios).find((start) => name.startsWith(start));
  return found !== undefined && isScenario(found) ? found : assert.fail(`no row for "${name}"`);
}

function turns(contract: Contract): void {
  const test = scenariosOf(contract);
  const { abilities } = contract;

  test("start and turn: two turns on one session, their work and their events in order, and no process left", async () => {
    await using stage = await contract.make([
      [{ run: "echo one > one.txt" }, { say: "One." }],
      [{ run: "echo two > two.txt" }, { say: "Two." }],
    ]);
    {
      await using session = await started(stage, contract);
      await session.turn("please", plain);
      assert.equal(await readFile(join(stage.workspace, "one.txt"), "utf8"), "one\n");
      await session.turn("continue", plain);
      assert.equal(await readFile(join(stage.workspace, "two.txt"), "utf8"), "two\n");
      assert.equal(session.pid === null, abilities.process !== "one for a session");
      assert.ok(session.threadId !== "" && !session.resumed);
      await assert.rejects(session.steer("str_0", "x"), { code: "no_active_turn" });
      await session.interrupt();
    }
    const said = stage.of("message").map(({ text }) => text);
    assert.deepEqual([said.includes("One."), said.at(-1)], [true, "Two."]);
    const bracket = stage.events.filter(({ type }) => /^(?:session|turn)\./.test(type));
    const kinds = bracket
      .map(({ type }) => type)
      .filter((type, at) => at === 0 || type !== "session.started");
    const turn = ["turn.started", "turn.completed"];
    assert.deepEqual(kinds, ["session.started", ...turn, ...turn]);
    assert.equal(new Set(stage.of("turn.started").map(({ turnId }) => turnId)).size, 2);
    const received = await stage.received();
    for (const prompt of ["please", "continue"]) {
      assert.ok(
        received.some((text) => text.includes(prompt)),
        prompt,
      );
    }
    await assertNothingLeft(stage);
  });

  test(`steer: ${abilities.steer}`, async () => {
    await using stage = await contract.make([
      [{ run: "touch up" }, "guidance", { say: "Yes." }],
      [{ say: "Next." }],
    ]);
    await using session = await started(stage, contract);
    const turn = session.turn("please", plain);
    await existing(stage, "up");
    const { turnId } = await stage.until("turn.started");
    const steered = session.steer("str_1", "use tabs");
    const isInTurn = abilities.steer === "in mid-turn";
    await stage.release();
    assert.equal((await steered).turnId, turnId);
    await turn;
    const delivered = stage.of("steer.delivered").map(({ steerId }) => steerId);
    assert.deepEqual(delivered, isInTurn ? ["str_1"] : []);
    const texts = await stage.received();
    assert.equal(
      texts.some((text) => text.includes("use tabs")),
      isInTurn,
    );
    assert.equal(stage.of("turn.completed").length, 1);
    await session.turn("continue", plain);
  });

  test(`resume: ${abilities.resume}`, async () => {
    await using stage = await contract.make([[{ say: "One." }], [{ say: "Two." }]]);
    const first = await started(stage, contract);
    await first.turn("please", plain);
    await first[Symbol.asyncDispose]();
    await stage.later();
    await using next = await started(stage, contract, { resumeThreadId: first.threadId });
    const isSame = abilities.resume === "same thread";
    assert.deepEqual([next.resumed, next.threadId === first.threadId], [isSame, isSame]);
    await next.turn("continue", plain);
    assert.equal(stage.of("message").at(-1)?.text, "Two.");
    assert.equal(
      stage.of("session.started").some(({ resumed }) => resumed),
      isSame,
    );
  });

  test("a thread that cannot be resumed is replaced by a new one", async () => {
    await using stage = await contract.make([[{ say: "One." }]]);
    await using session = await started(stage, contract, { resumeThreadId: "-x gone" });
    assert.ok(!session.resumed && session.threadId !== "-x gone");
    await session.turn("please", plain);
  });
}

function people(contract: Contract): void {
  const test = scenariosOf(contract);
  const { approve, question } = contract.abilities;
  const asks = { run: "touch done-by-agent", asks: true } as const;

  for (const isGranted of [true, false]) {
    test(`${isGranted ? "approve" : "decline"}: ${approve}`, async () => {
      await using stage = await contract.make([[asks, { say: "Done." }]]);
      await using session = await started(stage, contract, asking);
      const turn = session.turn("please", plain);
      if (approve === "never") {
        await turn;
        assert.deepEqual(stage.of("approval.requested"), []);
        assert.ok(existsSync(join(stage.workspace, "done-by-agent")));
        const notices = stage.of("notice").map(({ message }) => message);
        assert.equal(
          notices.filter((text) => /agent\.approvals .* no effect/.test(text)).length,
          1,
        );
        return;
      }
      const { ask, needs } = await stage.until("approval.requested");
      assert.equal(needs.kind, "approval");
      assert.ok(needs.prompt.includes(asks.run), needs.prompt);
      assert.ok(!existsSync(join(stage.workspace, "done-by-agent")), "nothing ran before");
      const id = ask?.id ?? "";
      assert.throws(() => session.answer(id, { type: "answers", answers: ["x"] }), {
        code: "invalid_request",
      });
      session.answer(id, { type: "decision", approve: isGranted });
      await turn;
      assert.equal(existsSync(join(stage.workspace, "done-by-agent")), isGranted);
      assert.throws(() => session.answer(id, { type: "decision", approve: true }), {
        code: "nothing_asked",
      });
      const resolved = stage.of("approval.resolved").filter(({ askId }) => askId === id);
      const decision = isGranted ? "approved" : "declined";
      assert.deepEqual(
        resolved.map((one) => [one.decision, one.automatic]),
        [[decision, false]],
      );
    });
  }

  test(`question: ${question}`, async () => {
    const asked = { question: "Which colour?", options: ["Red", "Blue"] };
    await using stage = await contract.make([[asked, { say: "Done." }]]);
    await using session = await started(stage, contract, asking);
    const turn = session.turn("please", plain);
    if (question === "no way to ask") {
      await turn;
      assert.deepEqual(stage.of("approval.requested"), []);
      return;
    }
    const { ask, needs } = await stage.until("approval.requested");
    assert.deepEqual([needs.kind, needs.options], ["question", asked.options]);
    assert.ok(needs.prompt.includes(asked.question));
    session.answer(ask?.id ?? "", { type: "answers", answers: ["Blue, please"] });
    await turn;
    assert.ok((await stage.received()).some((text) => text.includes("Blue, please")));
  });
}

function ends(contract: Contract): void {
  const test = scenariosOf(contract);
  const { abilities } = contract;

  test("abort: disposing in mid-turn leaves no process, also none in a session of its own", async () => {
    await using stage = await contract.make([[{ run: working }]]);
    const session = await started(stage, contract);
    const turn = rejection(session.turn("please", plain));
    await existing(stage, "up");
    await Promise.all([session[Symbol.asyncDispose](), session[Symbol.asyncDispose]()]);
    assert.equal((await turn).code, "turn_cancelled");
    await assertNothingLeft(stage);
  });

  test("abort: by the signal, in a session and at its start", async () => {
    await using stage = await contract.make([[{ run: working }]]);
    const abort = new AbortController();
    await using session = await started(stage, contract, {}, abort.signal);
    const turn = rejection(session.turn("please", plain));
    await existing(stage, "up");
    abort.abort(new SymphonyError("turn_cancelled", "the operator said so"));
    await turn;
    await assert.rejects(started(stage, contract, {}, abort.signal), /the operator said so/);
    const starting = new AbortController();
    const start = started(stage, contract, {}, starting.signal);
    starting.abort(abort.signal.reason);
    await assert.rejects(start, /the operator said so/);
    await session[Symbol.asyncDispose]();
    await assertNothingLeft(stage);
  });

  test("interrupt: the turn ends as cancelled, and the session takes the next one", async () => {
    await using stage = await contract.make([[{ run: working }], [{ say: "Again." }]]);
    await using session = await started(stage, contract);
    const turn = rejection(session.turn("please", plain));
    await existing(stage, "up");
    await session.interrupt();
    assert.equal((await turn).code, "turn_cancelled");
    assert.equal(stage.of("turn.failed").length, 1);
    await session.turn("continue", plain);
    assert.equal(stage.of("message").at(-1)?.text, "Again.");
  });

  test("kill -9 of the agent: the turn fails, nothing is left, and the thread is resumed", async () => {
    await using stage = await contract.make([
      [
        { run: working },
        ...(abilities.process === "inside the server" ? [{ say: "It was killed." }] : []),
      ],
      [{ say: "Again." }],
    ]);
    const session = await started(stage, contract);
    if (abilities.process === "inside the server") {
      // Only its commands are processes: the model gets the outcome of one that was killed.
      const turn = session.turn("please", plain);
      await killed(stage);
      await turn;
      assert.equal(stage.of("message").at(-1)?.text, "It was killed.");
      await session[Symbol.asyncDispose]();
    } else {
      const turn = rejection(session.turn("please", plain));
      await existing(stage, "up");
      process.kill(-(session.pid ?? assert.fail("it has a process")), "SIGKILL");
      assert.equal((await turn).code, "port_exit");
      await session[Symbol.asyncDispose]();
    }
    await assertNothingLeft(stage);
    await resumedAfter(session.threadId, stage, contract);
  });

  test("kill -9 of the host: what is left is known by its run, and the thread is resumed", async () => {
    const { double } = contract;
    assert.ok(double !== null, "a real program is without this scenario");
    await using stage = await contract.make([[{ run: working }], [{ say: "Again." }]]);
    const args = [hostFile, double, JSON.stringify(stage.place)];
    const host = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(host, "exit");
    const lines = createInterface({ input: host.stdout });
    const [threadId] = await Promise.race([once(lines, "line"), exited]);
    host.kill("SIGKILL");
    await exited;
    // As a new server does with the runs of its predecessor.
    await killRun(stage.place.runId);
    await assertNothingLeft(stage);
    await resumedAfter(String(threadId), stage, contract);
  });
}

function numbers(contract: Contract): void {
  const test = scenariosOf(contract);
  const { limit, tokens } = contract.abilities;

  test(`limit: ${limit}`, async () => {
    const resetsAt = Math.ceil(Date.now() / 1_000) + 7_200;
    await using stage = await contract.make([[{ limitedUntil: resetsAt }], [{ say: "Again." }]]);
    await using session = await started(stage, contract);
    const error = await rejection(session.turn("please", plain));
    assert.equal(stage.of("turn.failed").length, 1);
    if (limit === "a failed turn") {
      assert.equal(error.code, "turn_failed");
      assert.match(error.message, /usage limit reached/);
      return;
    }
    assert.equal(error.code, "provider_limited");
    const until = Number(error.details["untilWall"]);
    // A wait is counted from the moment of the refusal.
    assert.ok(Math.abs(until - resetsAt * 1_000) < 600_000, `${until}`);
  });

  test(`budget: tokens are known ${tokens}, and a turn that is stopped there leaves nothing`, async () => {
    const used = { input: 1_000, output: 10 };
    await using stage = await contract.make([
      [
        { run: "true", used },
        { run: working, used },
      ],
    ]);
    const session = await started(stage, contract);
    const turn = rejection(session.turn("please", plain));
    await existing(stage, "up");
    if (tokens === "in mid-turn") {
      await stage.until("tokens", ({ total }) => total.total >= 1_000);
    } else assert.deepEqual(stage.of("tokens"), []);
    assert.deepEqual(stage.of("turn.completed"), []);
    await session[Symbol.asyncDispose]();
    await turn;
    await assertNothingLeft(stage);
  });

  test("usage: the sum of the provider's own counts, over turns and a resumed session", async () => {
    const acts: Acts = [
      [
        { run: "true", used: { input: 10_000, output: 20 } },
        { say: "One.", used: { input: 11_000, output: 30 } },
      ],
      [{ say: "Two.", used: { input: 12_000, output: 40 } }],
      [{ say: "Three.", used: { input: 13_000, output: 50 } }],
    ];
    await using stage = await contract.make(acts);
    const session = await started(stage, contract);
    await session.turn("please", plain);
    await session.turn("continue", plain);
    await session[Symbol.asyncDispose]();
    const counted = () => stage.of("tokens").at(-1)?.total;
    if (tokens === "never") return assert.equal(counted(), undefined);
    const own = usedBy(acts.slice(0, 2).flat());
    assert.deepEqual([counted()?.input, counted()?.output], [own.input, own.output]);
    assertRising(stage);
    await stage.later();
    await using next = await started(stage, contract, { resumeThreadId: session.threadId });
    const { countsAnew = false } = stage.of("session.started").at(-1) ?? {};
    await next.turn("continue", plain);
    const after = usedBy((countsAnew ? acts.slice(2) : acts).flat());
    assert.deepEqual([counted()?.input, counted()?.output], [after.input, after.output]);
  });
}

function hostility(contract: Contract): void {
  const test = scenariosOf(contract);

  test("a hostile workspace: nothing of it runs, nothing of it is changed, and no file of ours is added", async () => {
    await using stage = await contract.make([[{ run: "touch made" }, { say: "Done." }]]);
    const nowhere = "http://127.0.0.1:9";
    const { claude, gemini, codex, opencode } = hostileFiles;
    const files = {
      ...claude(nowhere),
      ...gemini(nowhere),
      ...codex(nowhere),
      ...opencode(nowhere),
    };
    await plant(stage.workspace, files);
    const before = await filesIn(stage.workspace);
    {
      await using session = await started(stage, contract);
      await session.turn("please", plain);
    }
    assert.deepEqual(await ran(stage.workspace), []);
    assert.deepEqual(await filesIn(stage.workspace), [...before, "made"].sort());
    for (const [name, text] of Object.entries(files)) {
      assert.equal(await readFile(join(stage.workspace, name), "utf8"), text, name);
    }
  });

  test("hostile text of an issue reaches the model as it is, and nothing of it runs", async () => {
    await using stage = await contract.make([[{ run: "touch made" }, { say: "Done." }]]);
    {
      const title = `ENG-1: ${hostileText}`;
      await using session = await started(stage, contract, { title });
      await session.turn(hostileText, plain);
    }
    const received = await stage.received();
    assert.ok(
      received.some((text) => text.includes(hostileText)),
      received.join("\n").slice(-3_000),
    );
    assert.deepEqual(await filesIn(stage.workspace), ["made"]);
  });

  test("20 MB of output are shortened", async () => {
    const run = "head -c 20000000 /dev/zero | tr '\\0' x";
    await using stage = await contract.make([[{ run }, { say: "Done." }], [{ say: "Again." }]]);
    await using session = await started(stage, contract);
    await session.turn("please", plain);
    await session.turn("continue", plain);
    assert.equal(stage.of("message").at(-1)?.text, "Again.");
    const size = stage.events.reduce((sum, event) => sum + JSON.stringify(event).length, 0);
    // Pieces of a command's output are events while it runs: the slower it is read, the more of them.
    assert.ok(size < 1_000_000, `${size} characters of events`);
  });
}

/** Each probe is bounded by itself: it harms no machine on which a limit does not work. */
function limits(contract: Contract): void {
  const test = scenariosOf(contract);
  const inServer = contract.abilities.process === "inside the server";
  const none = {
    ...{ maxProcesses: null, maxMemoryBytes: null, maxFileBytes: null },
    leastFreeBytes: 0,
  };
  const ending = inServer ? "the command, and the model is told why" : "the attempt: agent_limit";
  const probes = [
    [
      "THREAT-18: a fork bomb",
      "for i in $(seq 300); do sleep 60 & done; wait",
      { maxProcesses: 60 },
      /processes/,
    ],
    [
      "THREAT-19: a disk fill",
      "for i in $(seq 30); do head -c 10000000 /dev/zero >fill-$i; sleep 0.1; done",
      { leastFreeBytes: 2 ** 60 },
      /disk/,
    ],
  ] as const;
  for (const [name, run, bounds, why] of probes) {
    test(`${name} ends ${ending}`, async () => {
      await using stage = await contract.make([[{ run }, { say: "Done." }]]);
      await using session = await started(stage, contract, { bounds: { ...none, ...bounds } });
      const turn = session.turn("please", plain);
      if (inServer) {
        await turn;
        const received = (await stage.received()).join("\n");
        assert.match(
          received,
          /stopped: (?:it started too many processes|the disk is nearly full)/,
        );
      } else {
        const { code, message } = await rejection(turn);
        assert.equal(code, "agent_limit", message);
        assert.match(message, why);
      }
      await session[Symbol.asyncDispose]();
      await assertNothingLeft(stage);
    });
  }
}

function started(
  stage: Stage,
  { spec }: Contract,
  own: Partial<SessionSpec> = {},
  signal?: AbortSignal,
): Promise<AgentSession> {
  return stage.start({ ...spec, ...own }, signal);
}

function existing(stage: Stage, name: string): Promise<boolean> {
  return eventually(name, async () => existsSync(join(stage.workspace, name)));
}

async function rejection(turn: Promise<void>): Promise<SymphonyError> {
  const error = await turn.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SymphonyError, `${error ?? "the turn succeeded"}`);
  return error;
}

async function processesOf(stage: Stage): Promise<readonly number[]> {
  const all = await liveProcesses();
  return all.filter(({ runId }) => isOfRun(runId, stage.place.runId)).map(({ pid }) => pid);
}

async function assertNothingLeft(stage: Stage): Promise<void> {
  assert.deepEqual(await processesOf(stage), []);
}

/** Kills the commands of an agent that has no process of its own. */
async function killed(stage: Stage): Promise<void> {
  await existing(stage, "up");
  const pids = await eventually("a command", async () => {
    const found = await processesOf(stage);
    return found.length > 0 ? found : null;
  });
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended with another one.
    }
  }
}

async function resumedAfter(threadId: string, stage: Stage, contract: Contract): Promise<void> {
  await stage.later();
  await using next = await started(stage, contract, { resumeThreadId: threadId });
  assert.equal(next.resumed, contract.abilities.resume === "same thread");
  await next.turn("continue", plain);
  assert.ok(stage.of("message").some(({ text }) => text === "Again."));
}

function assertRising(stage: Stage): void {
  const totals = stage.of("tokens").map(({ total }) => total.total);
  assert.deepEqual(
    totals,
    totals.toSorted((a, b) => a - b),
    "absolute totals never fall",
  );
}

async function filesIn(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  return files.map(({ parentPath, name }) => join(parentPath, name).slice(dir.length + 1)).sort();
}
