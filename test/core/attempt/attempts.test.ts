import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type {
  AgentEvent,
  AgentRuntime,
  AgentSession,
  AgentTools,
} from "../../../src/core/agent/agent.ts";
import { createCodexRuntime } from "../../../src/core/agent/codex/runtime.ts";
import { Attempts } from "../../../src/core/attempt/attempts.ts";
import type { AttemptDeps } from "../../../src/core/attempt/run.ts";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import type { HooksConfig } from "../../../src/core/config/config.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { CommentList, Issue } from "../../../src/core/model/issue.ts";
import type { AttemptOrder, Exit, Made, Turned } from "../../../src/core/orchestrator/messages.ts";
import type { Steer } from "../../../src/core/store/store.ts";
import type { Tracker, Uploads } from "../../../src/core/tracker/tracker.ts";
import { findAt, openGitMarker } from "../../../src/core/workspace/place.ts";
import { createWorkspaces } from "../../../src/core/workspace/workspaces.ts";
import type { Step } from "../../../src/demo/script.ts";
import { issue, config as settings } from "../../support/makers/issue.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

interface Parts {
  readonly turns?: readonly (readonly Step[])[];
  readonly hooks?: Partial<HooksConfig>;
  readonly maxTurns?: number;
  readonly level?: "safe" | "danger";
  readonly writesGit?: boolean;
  readonly template?: string;
  /** What the tracker returns when the issue is read after a turn. */
  readonly after?: () => Promise<readonly Issue[]>;
  /** The model chosen for the issue; read at each turn. */
  readonly model?: () => string | null;
  readonly resumeThreadId?: string;
  readonly tools?: AgentTools;
  readonly comments?: () => Promise<CommentList>;
  readonly goesOn?: () => boolean;
  readonly runtime?: AgentRuntime;
  readonly uploads?: Uploads;
  readonly made?: AttemptDeps["made"];
  /** What a stop waits by. */
  readonly clock?: Clock;
}

/** One attempt on ENG-1 with real hooks, a real directory and a real agent process. */
async function bench(parts: Parts) {
  const root = await mkdtemp(join(tmpdir(), "symphony-attempt-"));
  const at = (name: string) => join(root, name);
  await mkdir(at("workspaces"));
  await writeFile(
    at("script.json"),
    JSON.stringify({ issues: { default: parts.turns ?? [[{ do: "say", text: "ok" }]] } }),
  );
  const words = [
    process.execPath,
    agentFile,
    "--script",
    at("script.json"),
    "--state",
    at("state"),
  ];
  const config = settings({
    agent: { maxTurns: parts.maxTurns ?? 20, level: parts.level ?? "safe" },
    workspace: { root: at("workspaces") },
    codex: { command: words.map((word) => `"${word}"`).join(" "), readTimeoutMs: 30_000 },
    hooks: { afterRun: `echo ran >> '${at("after-run.txt")}'`, ...parts.hooks },
  });
  const env = { PATH: process.env["PATH"] ?? "", HOME: root };
  const log = createLogger({
    level: "error",
    format: "logfmt",
    sinks: [],
    clock: systemClock,
    redact: (text) => text,
  });
  const tracker: Tracker = {
    kind: "test",
    secretEnvNames: [],
    fetchIssuesByStates: async () => [],
    fetchIssuesByIds: parts.after ?? (async () => []),
    ...(parts.comments && { comments: parts.comments }),
    ...(parts.uploads && { uploads: parts.uploads }),
    bindTools: () =>
      parts.tools ?? { specs: [], call: async () => ({ success: false, output: "none" }) },
    workflow: { states: async () => [], move: async () => {} },
    watch: () => () => {},
    close() {},
  };
  const waiting: Steer[] = [];
  const events: AgentEvent[] = [];
  const phases: string[] = [];
  const turned: Turned[] = [];
  const world: AttemptDeps = {
    tracker,
    runtime: async () =>
      parts.runtime ?? {
        ...createCodexRuntime({ config: () => config.codex, clock: systemClock, env }),
        writesGit: () => parts.writesGit ?? false,
      },
    workspaces: createWorkspaces({
      settings: () => ({ root: config.workspace.root, hooks: config.hooks }),
      env: () => env,
      clock: systemClock,
      log,
      onHookFailed() {},
    }),
    promptAt: null,
    promptTemplate: parts.template ?? "Do {{ issue.identifier }}",
    config: () => config,
    runId: `${root}/att_000000001`,
    choice: () => ({ model: parts.model?.() ?? null, effort: null }),
    earlierWork: (_, other) => (other === null ? "An earlier run did this." : null),
    mayContinue: () => parts.goesOn?.() ?? true,
    ready: async () => {},
    feedback: () => [],
    given() {},
    made: parts.made ?? (async () => null),
    redact: (text) => text.replaceAll("s3cr3t-1", "[redacted]"),
    undelivered: () => [...waiting],
    log() {},
  };
  let attempts = new Attempts(parts.clock ?? systemClock, root);
  const order: AttemptOrder = {
    attemptId: "att_000000001",
    issue: issue("ENG-1"),
    attempt: null,
    resumeThreadId: parts.resumeThreadId ?? null,
    isRound: false,
    agent: "codex",
    templateId: "workflow",
  };
  return {
    get attempts() {
      return attempts;
    },
    restart() {
      attempts = new Attempts(systemClock, root);
    },
    events,
    phases,
    turned,
    waiting,
    order,
    run: (own: Partial<AttemptOrder> = {}): Promise<Exit> =>
      attempts.run({ ...order, ...own }, world, {
        entered: (phase) => phases.push(phase),
        turned: (what) => turned.push(what),
        reported: (event) => {
          events.push(event);
          if (event.type === "steer.delivered") waiting.length = 0;
        },
      }),
    said: () => events.flatMap((event) => (event.type === "message" ? [event.text] : [])),
    count: (type: AgentEvent["type"]) => events.filter((event) => event.type === type).length,
    believesRefs: async () => {
      const marker = openGitMarker(join(await realpath(at("workspaces")), "ENG-1"));
      return (await findAt(marker)) === "nothing";
    },
    afterRuns: async () =>
      (await readFile(at("after-run.txt"), "utf8").catch(() => "")).split("\n").length - 1,
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

const routable = async () => [issue("ENG-1")];

test("A-21: an issue that is missing, inactive or unroutable after a turn ends the attempt normally; a failed read does not", async () => {
  for (const after of [
    async () => [],
    async () => [issue("ENG-1", { state: "Human Review" })],
    async () => [issue("ENG-1", { dispatchable: false })],
  ]) {
    await using it = await bench({ after });
    assert.equal((await it.run()).kind, "completed");
    assert.equal(it.count("turn.completed"), 1);
  }
  await using it = await bench({ after: () => Promise.reject(new Error("tracker is down")) });
  const exit = await it.run();
  assert.equal(exit.kind, "failed");
  assert.equal(await it.afterRuns(), 1);
});

test("the refs of a workspace are believed while no agent could write its .git", async () => {
  const git = { hooks: { afterCreate: "git init -q" } };
  for (const [parts, isBelieved] of [
    [{ ...git }, true],
    [{ ...git, level: "danger" }, false],
    [{ ...git, writesGit: true }, false],
    [{}, false],
  ] as const) {
    await using it = await bench(parts);
    assert.equal((await it.run()).kind, "completed");
    assert.equal(await it.believesRefs(), isBelieved, JSON.stringify(parts));
  }
});

test("A-22, P-9: max_turns turns run on one process and one thread; later ones get guidance only", async () => {
  const echo: readonly Step[] = [{ do: "run", command: "echo turn" }];
  await using it = await bench({ after: routable, maxTurns: 2, turns: [echo, echo, echo] });
  assert.equal((await it.run()).kind, "completed");
  assert.deepEqual([it.count("session.started"), it.count("turn.completed")], [1, 2]);
});

test("a model that is chosen during an attempt applies to the next turn", async () => {
  const tell: readonly Step[] = [{ do: "say", text: "{{turn}} {{model}}" }];
  let model = "first";
  const after = async () => {
    model = "second";
    return routable();
  };
  const choice = { after, maxTurns: 2, model: () => model };
  await using it = await bench({ ...choice, turns: [tell, tell] });
  await it.run();
  assert.deepEqual(it.said(), ["1 first", "2 second"]);
});

test("if a thread cannot be resumed, a new one starts with the task and a summary of earlier work", async () => {
  const turns: readonly Step[][] = [[{ do: "say", text: "{{prompt}}" }]];
  await using it = await bench({ resumeThreadId: "gone", turns });
  await it.run();
  assert.deepEqual(it.said(), ["Do ENG-1\n\nAn earlier run did this."]);
});

test("comments are read when an attempt begins, if its template uses them", async () => {
  let reads = 0;
  const comments = async (): Promise<CommentList> => {
    reads += 1;
    const one = {
      author: "Ada",
      by: "person",
      body: "{{ issue.id }} is text",
      createdAt: 0,
    } as const;
    return { comments: [one], truncated: false };
  };
  const turns: readonly Step[][] = [[{ do: "say", text: "{{prompt}}" }]];
  const template =
    "{{ issue.title }}{% for c in issue.comments %}|{{ c.author }} {{ c.by }} {{ c.created_at }}: {{ c.body }}{% endfor %}";
  await using it = await bench({ comments, turns, template });
  await it.run();
  const told = "Title of ENG-1|Ada person 1970-01-01T00:00:00Z: {{ issue.id }} is text";
  assert.deepEqual([it.said(), reads], [[told], 1]);
  await using other = await bench({ comments, turns });
  await other.run();
  assert.deepEqual([other.said(), reads], [["Do ENG-1"], 1]);
  const down = () => Promise.reject(new SymphonyError("tracker_request", "Linear is down"));
  await using failing = await bench({ comments: down, turns, template });
  const exit = await failing.run();
  assert.deepEqual([exit.kind, failing.said()], ["failed", []]);
});

test("an attempt that is stopped while its session opens begins no turn, and ends the session", async () => {
  const calls: string[] = [];
  const opening = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  // Its last step before it is open takes no notice of the signal.
  const runtime: AgentRuntime = {
    kind: "slow",
    async start() {
      opening.resolve();
      await opened.promise;
      return {
        threadId: "thr_1",
        resumed: false,
        pid: null,
        turn: async () => void calls.push("turn"),
        steer: async () => ({ turnId: "turn_1" }),
        answer() {},
        async interrupt() {},
        [Symbol.asyncDispose]: async () => void calls.push("end"),
      };
    },
  };
  await using it = await bench({ runtime });
  const exit = it.run();
  await opening.promise;
  it.attempts.stop(it.order.attemptId, "the server is stopping", 0);
  opened.resolve();
  assert.equal((await exit).kind, "stopped");
  assert.deepEqual(calls, ["end"]);
});

test("S-12: after_run runs exactly once for every outcome", async () => {
  await using good = await bench({});
  await good.run();
  assert.equal(await good.afterRuns(), 1);

  await using failing = await bench({ turns: [[{ do: "fail", message: "no" }]] });
  assert.equal((await failing.run()).kind, "failed");
  assert.equal(await failing.afterRuns(), 1);

  await using unstartable = await bench({ hooks: { beforeRun: "exit 3" } });
  const exit = await unstartable.run();
  assert.equal(exit.kind === "failed" && exit.code, "hook_failed");
  assert.equal(unstartable.count("session.started"), 0, "S-11: no agent was started");
  assert.equal(await unstartable.afterRuns(), 1);

  await using stopped = await bench({ turns: [[{ do: "say", text: "on it" }, { do: "hang" }]] });
  const run = stopped.run();
  await until(() => stopped.said().length > 0);
  stopped.attempts.stop(stopped.order.attemptId, "aborted", 0);
  assert.equal((await run).kind, "stopped");
  assert.equal(await stopped.afterRuns(), 1);
});

test("a turn that completes in its grace period ends the attempt successfully, with no further turn", async () => {
  const turn: readonly Step[] = [
    { do: "say", text: "last words" },
    { do: "sleep", ms: 400 },
  ];
  await using it = await bench({ after: routable, turns: [turn] });
  const run = it.run();
  await until(() => it.said().length > 0);
  it.attempts.stop(it.order.attemptId, "issue is Done", 20_000);
  assert.equal((await run).kind, "completed");
  assert.equal(it.count("turn.completed"), 1);
});

test("what is made of a turn that ended in its grace period, such as by long checks, is waited for", async () => {
  for (const isStoppedInTurn of [true, false]) {
    const timers = new Set<() => void>();
    const after = (_: number, end: () => void) => {
      timers.add(end);
      return () => timers.delete(end);
    };
    const making = Promise.withResolvers<void>();
    const isMade = Promise.withResolvers<Made>();
    const made = ({ signal }: { readonly signal: AbortSignal }) => {
      making.resolve();
      signal.addEventListener("abort", () => isMade.reject(signal.reason));
      return isMade.promise;
    };
    const turns = [[{ do: "say", text: "last words" } as const]];
    await using it = await bench({
      after: routable,
      turns,
      made,
      clock: { ...systemClock, after },
    });
    const stop = () => it.attempts.stop(it.order.attemptId, "issue is Done", 10_000);
    const run = it.run();
    await until(() => it.count("turn.started") > 0);
    if (isStoppedInTurn) stop();
    await making.promise;
    if (!isStoppedInTurn) stop();
    for (const end of timers) end();
    isMade.resolve({ kind: "changed", head: "a".repeat(40) });
    const exit = await run;
    assert.equal(exit.kind === "completed" && exit.made?.kind, "changed");
  }
});

test("S-10: a failed after_create leaves no workspace, so after_run does not run", async () => {
  await using it = await bench({ hooks: { afterCreate: "exit 1" } });
  const exit = await it.run();
  assert.equal(exit.kind === "failed" && exit.code, "hook_failed");
  assert.equal(await it.afterRuns(), 0);
});

test("P-8: a template that cannot be rendered fails this attempt and starts no agent", async () => {
  await using it = await bench({ template: "{{ issue.nope }}" });
  const exit = await it.run();
  assert.equal(exit.kind === "failed" && exit.code, "template_render_error");
  assert.equal(it.count("session.started"), 0);
});

test("guidance that no turn took up opens the next turn and then counts as delivered", async () => {
  await using it = await bench({ after: routable, maxTurns: 2 });
  it.waiting.push({
    id: "str_1",
    issueId: "id-ENG-1",
    attemptId: it.order.attemptId,
    turnId: "gone",
    message: "auth first",
    key: null,
    at: 0,
    delivered: false,
  });
  await it.run();
  const types = it.events.map((event) => event.type);
  assert.ok(types.indexOf("steer.delivered") > types.indexOf("turn.started"));
  assert.equal(it.count("steer.delivered"), 1);
});

test("a session that needs a person ends the attempt with its request", async () => {
  const ask: readonly Step[] = [{ do: "ask", question: "Which one?", options: ["a", "b"] }];
  await using it = await bench({ turns: [ask] });
  const exit = await it.run();
  assert.equal(exit.kind, "needs");
  assert.ok(exit.kind === "needs" && exit.needs.prompt.includes("Which one?"));
});

test("after each turn it reports whether the workspace changed or the tracker was written to", async () => {
  const turns: readonly (readonly Step[])[] = [
    [{ do: "say", text: "nothing" }],
    [{ do: "edit", path: "made.txt", content: "x" }],
    [{ do: "tool", name: "read", arguments: {} }],
    [{ do: "tool", name: "write", arguments: { body: "it is s3cr3t-1" } }],
    [{ do: "tool", name: "refused", arguments: {} }],
  ];
  const given: unknown[] = [];
  const tools: AgentTools = {
    specs: ["read", "write", "refused"].map((name) => ({
      ...{ name, description: name, inputSchema: { type: "object" } },
    })),
    writes: (name) => name !== "read",
    async call(name, args) {
      given.push(args);
      return { success: name !== "refused", output: "{}" };
    },
  };
  await using it = await bench({ after: routable, maxTurns: 5, turns, tools });
  assert.equal((await it.run()).kind, "completed");
  assert.deepEqual(
    it.turned.map(({ moved }) => moved),
    [false, true, false, true, false],
  );
  assert.ok(it.turned.every((turn) => turn.issue?.identifier === "ENG-1"));
  assert.deepEqual(given[1], { body: "it is [redacted]" }, "THREAT-3: no secret is written");
});

test("S34: attempts of one turn that take back what the last one did make no progress", async () => {
  const edit = (content: string) => [{ do: "edit", path: "made.txt", content }] as const;
  const turns = ["a", "b", "a", "b", "c"].map(edit);
  await using it = await bench({ after: routable, maxTurns: 1, turns });
  for (const _ of turns) assert.equal((await it.run()).kind, "completed");
  assert.deepEqual(
    it.turned.map(({ moved }) => moved),
    [true, true, false, false, true],
  );
});

test("when the day's tokens are used up the turn ends successfully and no further one starts", async () => {
  await using it = await bench({ after: routable, goesOn: () => false });
  assert.equal((await it.run()).kind, "completed");
  assert.deepEqual([it.count("turn.completed"), it.turned.length], [1, 1]);
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((done) => setTimeout(done, 20));
}

test("images come with the message that shows them: of the issue, of guidance between turns and in mid-turn, once for each thread, also over a restart, and in the order of the guidance", async () => {
  const png = Buffer.from("89504e470d0a1a0a", "hex");
  const server = createServer((_, response) => response.end(png));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await using _ = { [Symbol.asyncDispose]: async () => void server.close() };
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const picture = (name: string) => `![x](${origin}/${name}.png)`;
  const uploads: Uploads = {
    holds: (url) => url.origin === origin,
    authorization: () => "key",
  };
  /** One attempt after another on one thread; what each message had. */
  const played = async (kind: Partial<AgentSession>) => {
    const given: string[] = [];
    const noted = (text: string, images: readonly unknown[] = []) => {
      const names = [...text.matchAll(/(\w)\.png(?=$|\n|: )/g)].map(([, name]) => name);
      given.push(`${images.length} ${names.join("")}`);
    };
    let during = async () => {};
    let resumed = false;
    const runtime: AgentRuntime = {
      kind: "noting",
      start: async () => ({
        ...{ threadId: "thr_1", resumed, pid: null, ...kind },
        async turn(prompt, { images }) {
          noted(prompt, images);
          const now = during;
          during = async () => {};
          await now();
        },
        async steer(_id, message, images) {
          noted(message, images);
          return { turnId: "turn_1" };
        },
        answer() {},
        async interrupt() {},
        async [Symbol.asyncDispose]() {},
      }),
    };
    const shown = issue("ENG-1", { description: `As here: ${picture("a")}` });
    const comments = async () => ({
      comments: [{ author: "ada", by: "person", body: picture("b"), createdAt: 1 } as const],
      truncated: false,
    });
    const template = "Work.{% for one in issue.comments %} {{ one.author }}{% endfor %}";
    await using it = await bench({
      ...{ runtime, uploads, comments, template, maxTurns: 2 },
      after: async () => [shown],
    });
    during = async () => {
      const steer = (id: string, text: string) => it.attempts.steer("att_000000001", id, text);
      // The image of the first is read while the second comes.
      await Promise.all([steer("s1", `In mid-turn: ${picture("c")}`), steer("s2", "After that")]);
      it.waiting.push(guidance(`Between: ${picture("d")}`));
    };
    assert.equal((await it.run({ issue: shown })).kind, "completed");
    it.waiting.splice(0);
    it.restart();
    resumed = true;
    const edited = { ...shown, description: `${shown.description} ${picture("e")}` };
    assert.equal((await it.run({ issue: edited, resumeThreadId: "thr_1" })).kind, "completed");
    const told = it.events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
    return [given, [...new Set(told)]];
  };
  const all = ["2 ab", "1 c", "0 ", "1 d"];
  const some = (count: number) => `images of the issue for the agent: ${count}`;
  assert.deepEqual(await played({ takesImages: true }), [
    [...all, "1 e", "0 "],
    [some(2), some(1)],
  ]);
  // The names after those of the message are those that its thread has lost, said once.
  assert.deepEqual(await played({ takesImages: true, forgetsImages: true }), [
    [...all, "2 aecbd", "0 "],
    [some(2), some(1)],
  ]);
  const none = "the images of the issue are not given to this agent: it takes none";
  assert.deepEqual(await played({}), [["0 ab", "0 c", "0 ", "0 d", "0 ae", "0 "], [none]]);
});

test("a thread has the images of a turn that was cut off after its first answer, and gets those of one that had none again", async () => {
  const png = Buffer.from("89504e470d0a1a0a", "hex");
  const server = createServer((_, response) => response.end(png));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await using _ = { [Symbol.asyncDispose]: async () => void server.close() };
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const uploads: Uploads = { holds: (url) => url.origin === origin, authorization: () => "key" };
  for (const speaks of [true, false]) {
    const given: number[] = [];
    const runtime: AgentRuntime = {
      kind: "cut off",
      start: async ({ onEvent, resumeThreadId }) => ({
        ...{ threadId: "thr_1", resumed: resumeThreadId !== null, pid: null, takesImages: true },
        async turn(_prompt, { images = [] }) {
          given.push(images.length);
          onEvent({ type: "turn.started", turnId: "t" });
          if (speaks) onEvent({ type: "message", text: "I see it" });
          throw new SymphonyError("port_exit", "cut off");
        },
        steer: async () => ({ turnId: "t" }),
        answer() {},
        async interrupt() {},
        async [Symbol.asyncDispose]() {},
      }),
    };
    const shown = issue("ENG-1", { description: `![x](${origin}/a.png)` });
    await using it = await bench({ runtime, uploads });
    assert.equal((await it.run({ issue: shown })).kind, "failed");
    it.restart();
    await it.run({ issue: shown, resumeThreadId: "thr_1", isRound: true });
    assert.deepEqual(given, speaks ? [1, 0] : [1, 1]);
  }
});

function guidance(message: string): Steer {
  const at = { issueId: "id-ENG-1", attemptId: "att_000000001", turnId: "", at: 0 };
  return { id: "str_1", key: null, delivered: false, message, ...at };
}
