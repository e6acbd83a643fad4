import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { glob, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { AgentTools } from "../../src/core/agent/agent.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { liveProcesses } from "../../src/core/process/table.ts";
import {
  canaryKey,
  evilAddress,
  hostileFiles,
  plant,
  ran,
} from "../support/makers/hostile-files.ts";
import { onePixel } from "../support/makers/image.ts";
import { assertNoBreach, plantProbes } from "../support/worlds/prey.ts";
import { type RealClaude, realClaude, recordOf } from "../support/worlds/real-claude.ts";
import { eventually } from "../support/worlds/symphony.ts";

// Rows of the case file of agents are named "A11: …". They need SYMPHONY_CLAUDE and SYMPHONY_EQUIPMENT.

const plain = { model: null };
const networked = { level: "networked" } as const;
const safe = { level: "safe" } as const;
/** Reads what a command can reach of a key: variables, processes, files. */
const search = [
  "env",
  "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'",
  'grep -rsa --exclude=told.txt "" "$CLAUDE_CONFIG_DIR" ~ /tmp /run | cut -c -2000',
  "echo finished",
].join("; ");
const asking = { askPolicy: { approvals: "ask", timeoutMs: 60_000 } } as const;

async function leftOf(b: RealClaude): Promise<readonly unknown[]> {
  return (await liveProcesses()).filter(({ runId }) => runId === b.runId);
}

/** The id of the message with this guidance. */
async function sentAs(b: RealClaude, steerId: string): Promise<string> {
  const [file = ""] = await Array.fromAsync(
    glob(join(b.root, ".symphony/claude/*/*/guidance.jsonl")),
  );
  const lines = (await readFile(file, "utf8")).trim().split("\n");
  const sent = lines.map((line) => JSON.parse(line)).find((one) => one.steer_id === steerId);
  return sent.uuid;
}

function refusedBy(b: RealClaude): Promise<SymphonyError> {
  return (async () => {
    await using session = await b.start();
    const error: unknown = await session.turn("please", plain).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof SymphonyError, "the turn failed");
    return error;
  })();
}

describe("the real Claude Code", () => {
  test("works inside symphony's sandbox, is counted as its provider counts, and resumes in a new attempt", async () => {
    await using b = await realClaude([
      { type: "bash", cmd: "touch ../outside; echo ran | tee ran.txt; setsid sleep 300 & true" },
      { type: "write", path: "made.txt", content: "by a tool\n" },
      { type: "text", text: "All done.", usage: { input: 1000, output: 10, cacheRead: 200 } },
      { type: "text", text: "Still done." },
    ]);
    const git = (...args: string[]) => execFileSync("git", args, { cwd: b.workspace });
    git("init", "-q", ".");
    let thread: string;
    {
      await using session = await b.start(safe);
      await session.turn("please", plain);
      thread = session.threadId;
    }
    assert.equal(await readFile(join(b.workspace, "ran.txt"), "utf8"), "ran\n");
    assert.ok(!existsSync(join(b.root, "outside")));
    assert.deepEqual(b.said, ["All done."]);
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(command?.type === "command" && command.status === "completed");
    // Its own sandbox would leave files of its own here.
    assert.deepEqual((await readdir(b.workspace)).sort(), [".git", "made.txt", "ran.txt"]);
    git("add", "-A");
    assert.deepEqual(await leftOf(b), []);
    await using session = await b.start({ ...safe, resumeThreadId: thread });
    assert.ok(session.resumed && session.threadId === thread);
    await session.turn("and again", plain);
    assert.equal(b.said.at(-1), "Still done.");
  });

  test("tracker tools, guidance, an approval, a question and the reminder, in one turn; tokens as the provider counted them", async () => {
    const usage = { input: 100, output: 10, cacheRead: 50 };
    await using b = await realClaude([
      { type: "bash", cmd: "while [ ! -e go ]; do sleep 0.05; done; echo x > y", usage },
      {
        type: "tool",
        name: "AskUserQuestion",
        input: {
          questions: [
            {
              question: "Which colour?",
              header: "Colour",
              options: [
                { label: "Red", description: "r" },
                { label: "Blue", description: "b" },
              ],
              multiSelect: false,
            },
          ],
        },
        usage,
      },
      { type: "text", text: "Is it done?", usage },
      { type: "tool", name: "mcp__tracker__issue_move", input: { state: "Done" }, usage },
      { type: "echo", usage },
    ]);
    const calls: unknown[] = [];
    const tools: AgentTools = {
      specs: [
        {
          name: "issue_move",
          description: "moves the issue",
          inputSchema: { type: "object", properties: { state: { type: "string" } } },
        },
      ],
      call: async (name, args) => {
        calls.push([name, args]);
        return { success: true, output: "moved to Done" };
      },
    };
    let reminders = 0;
    const unfinished = async () => {
      reminders += 1;
      return calls.length === 0 ? "ENG-1 is still in Todo" : null;
    };
    await using session = await b.start({ ...asking, tools, unfinished });
    const turn = session.turn("work", plain);
    const approval = await b.until("approval.requested");
    session.answer(approval.ask?.id ?? "", { type: "decision", approve: true });
    await session.steer("str_1", "do the login first", [onePixel]);
    await writeFile(join(b.workspace, "go"), "");
    const question = await b.until("approval.requested", ({ needs }) => needs.kind === "question");
    assert.deepEqual(question.needs.options, ["Red", "Blue"]);
    session.answer(question.ask?.id ?? "", { type: "answers", answers: ["Blue"] });
    await turn;
    assert.deepEqual(calls, [["issue_move", { state: "Done" }]]);
    assert.equal(reminders, 1);
    assert.equal((await b.until("steer.delivered")).steerId, "str_1");
    const sent = JSON.stringify(await b.model.requests());
    for (const text of [
      "do the login first",
      "Blue",
      "ENG-1 is still in Todo",
      "moved to Done",
      onePixel.base64,
    ]) {
      assert.ok(sent.includes(text), text);
    }
    assert.equal(b.types().filter((type) => type === "turn.completed").length, 1);
    const counted = b.events.filter((event) => event.type === "tokens");
    const names = counted.flatMap(({ models = {} }) => Object.keys(models));
    assert.equal(new Set(names).size, 1, `a model has one name, in mid-turn too: ${names}`);
    const total = counted.at(-1)?.total;
    assert.deepEqual([total?.input, total?.cachedInput, total?.output], [750, 250, 50]);
  });

  test("subagents and the cache are counted, each model by itself, as the provider counted them", async () => {
    const input = { description: "Look", prompt: "look around", subagent_type: "general-purpose" };
    const usage = { input: 100, output: 10, cacheRead: 50, cacheWrite: 20 };
    await using b = await realClaude({
      routes: [
        {
          when: { kind: "subagent" },
          steps: [
            { type: "bash", cmd: "true", usage: { input: 7, output: 3 } },
            { type: "text", text: "Seen.", usage: { input: 9, output: 1 } },
          ],
        },
      ],
      steps: [
        { type: "tool", name: "Agent", input: { ...input, model: "haiku" }, usage },
        { type: "text", text: "All done.", usage },
      ],
    });
    await using session = await b.start({ model: "claude-opus-5-5" });
    await session.turn("please", plain);
    const counted = b.events.findLast((event) => event.type === "tokens");
    const models = Object.entries(counted?.models ?? {});
    const of = (name: RegExp) => models.find(([model]) => name.test(model))?.[1];
    const [opus, haiku] = [of(/opus/), of(/haiku/)];
    assert.equal(models.length, 2, JSON.stringify(models));
    assert.deepEqual([opus?.input, opus?.cachedInput, opus?.output], [340, 100, 20]);
    assert.deepEqual([haiku?.input, haiku?.cachedInput, haiku?.output], [16, 0, 4]);
    assert.equal(counted?.total.total, 380);
  });

  test("A11: 401, no credit and an unknown model are told within 10 s, with what mends them", async () => {
    for (const [step, kind] of [
      [
        { type: "error", status: 401, message: "invalid x-api-key", sticky: true },
        "authentication",
      ],
      [
        {
          type: "error",
          status: 400,
          message: "Your credit balance is too low to access the API",
          sticky: true,
        },
        "billing",
      ],
      [{ type: "error", status: 404, message: "model: nonesuch", sticky: true }, "model not found"],
    ] as const) {
      await using b = await realClaude([step]);
      const began = performance.now();
      const error = await refusedBy(b);
      assert.equal(error.code, "provider_refused", `${kind}: ${error.message}`);
      assert.ok(error.message.includes(kind), error.message);
      assert.ok(performance.now() - began < 10_000, kind);
    }
  });

  test("A1: the usage limit of a login is a limit until its reset", async () => {
    const reset = Math.ceil(Date.now() / 1_000) + 7_200;
    const headers = {
      "retry-after": "7200",
      "anthropic-ratelimit-unified-status": "rejected",
      "anthropic-ratelimit-unified-reset": String(reset),
      "anthropic-ratelimit-unified-representative-claim": "five_hour",
      "anthropic-ratelimit-unified-5h-status": "rejected",
      "anthropic-ratelimit-unified-5h-utilization": "1.0",
      "anthropic-ratelimit-unified-5h-reset": String(reset),
    };
    await using b = await realClaude(
      [{ type: "error", status: 429, message: "limit", headers, sticky: true }],
      {
        config: { login: "oauth_token" },
        secrets: { CLAUDE_CODE_OAUTH_TOKEN: "sk-ant-oat01-fake-for-tests" },
      },
    );
    const error = await refusedBy(b);
    assert.deepEqual([error.code, error.details["untilWall"]], ["provider_limited", reset * 1_000]);
  });

  test("model and effort between turns, an unknown model, and the list of models", async () => {
    await using b = await realClaude([
      { type: "text", text: "one" },
      { type: "text", text: "two" },
    ]);
    await using session = await b.start({ model: "claude-opus-5-5" });
    await session.turn("one", { model: "claude-opus-5-5", effort: "low" });
    await session.turn("two", { model: "claude-sonnet-5-5", effort: "high" });
    const main = (await b.model.requests()) as { kind: string; model: string; effort?: string }[];
    assert.deepEqual(
      main.filter(({ kind }) => kind === "main").map(({ model, effort }) => [model, effort]),
      [
        ["claude-opus-5-5", "low"],
        ["claude-sonnet-5-5", "high"],
      ],
    );
  });

  test("nothing of a repository acts: settings, hooks, MCP servers, slash commands, file mentions; its notes are text", async () => {
    await using evil = await evilAddress();
    await using b = await realClaude([
      { type: "bash", cmd: "env > env.txt; while [ ! -e go ]; do sleep 0.05; done" },
      { type: "bash", cmd: "touch two.txt; sleep 60" },
      { type: "text", text: "All done." },
    ]);
    const secret = join(b.root, "secret.txt");
    await writeFile(secret, "text-of-a-secret");
    await plant(b.workspace, {
      ...hostileFiles.claude(evil.url),
      ".claude/commands/about.md": "!`touch RAN-command`",
      "CLAUDE.md": "Use tabs, says CLAUDE.\n@secret-notes.md",
      "AGENTS.md": "Use spaces, says AGENTS.",
      "secret-notes.md": "text-of-an-import",
    });
    let thread: string;
    {
      await using session = await b.start(networked);
      thread = session.threadId;
      const turn = session.turn(`Look at @${secret} please.`, plain);
      await eventually("it works", async () => existsSync(join(b.workspace, "env.txt")));
      await session.steer("str_taken", "use tabs");
      await writeFile(join(b.workspace, "go"), "");
      await eventually("it goes on", async () => existsSync(join(b.workspace, "two.txt")));
      const uuid = await sentAs(b, "str_taken");
      await eventually("the record has the guidance", async () =>
        (await recordOf(b.root, thread)).includes(uuid),
      );
      await session.steer("str_waiting", "use spaces");
      assert.ok(session.pid !== null);
      process.kill(session.pid, "SIGKILL");
      await assert.rejects(turn, { code: "port_exit" });
    }
    assert.deepEqual(await leftOf(b), []);
    await using session = await b.start({ ...networked, resumeThreadId: thread });
    assert.ok(session.resumed, "the session goes on after kill -9");
    // As if the first report had been lost: the session's record says what was taken up.
    const delivered = b.events.flatMap((event) =>
      event.type === "steer.delivered" ? [event.steerId] : [],
    );
    assert.deepEqual(delivered, ["str_taken", "str_taken"]);
    await session.turn("/about this: /cost", plain);
    assert.equal(b.said.at(-1), "All done.");
    assert.deepEqual([evil.got, await ran(b.workspace)], [[], []]);
    const sent = JSON.stringify(await b.model.requests());
    for (const text of ["/about this", "Use tabs, says CLAUDE", "Use spaces, says AGENTS"]) {
      assert.ok(sent.includes(text), text);
    }
    for (const text of ["text-of-a-secret", "text-of-an-import"]) {
      assert.ok(!sent.includes(text), text);
    }
  });

  test("an interrupt ends the turn, and after it no process is left, not even one that left its group", async () => {
    await using b = await realClaude([
      {
        type: "bash",
        cmd: "touch up; setsid sleep 300 & nohup sleep 301 >/dev/null 2>&1 & sleep 60",
      },
      { type: "text", text: "Again." },
    ]);
    {
      await using session = await b.start();
      const turn = assert.rejects(session.turn("please", plain), { code: "turn_cancelled" });
      await eventually("it works", async () => existsSync(join(b.workspace, "up")));
      await session.interrupt();
      await turn;
      await session.turn("again", plain);
      assert.equal(b.said.at(-1), "Again.");
    }
    assert.deepEqual(await leftOf(b), []);
  });

  test("THREAT-1: with the network and nothing else allowed, no hostile command reaches protected data", async () => {
    await using b = await realClaude([
      { type: "bash", cmd: "bash probes > told.txt 2>&1; ls -A ~/.symphony/claude/*/*; echo ran" },
      { type: "text", text: "That was it." },
    ]);
    const prey = await plantProbes(b);
    // The private directory of another issue.
    const other = await b.start({ workspace: prey.otherWorkspace });
    await other[Symbol.asyncDispose]();
    await using session = await b.start(networked);
    await session.turn("please", plain);
    await assertNoBreach(b, prey);
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(command?.type === "command");
    assert.match(command.output ?? "", /^config\nran$/, "only its own private directory is there");
  });

  for (const [login, name, level] of [
    ["api_key", "ANTHROPIC_API_KEY", "safe"],
    ["oauth_token", "CLAUDE_CODE_OAUTH_TOKEN", "safe"],
    ["api_key", "ANTHROPIC_API_KEY", "networked"],
  ] as const) {
    test(`THREAT-1: at ${level} no command reads the credential (${login}), which the provider gets`, async () => {
      await using b = await realClaude(
        [
          { type: "bash", cmd: `{ ${search}; } > told.txt 2>&1` },
          { type: "bash", cmd: 'bash -c ": < /dev/tcp/1.1.1.1/80" > net.txt 2>&1; cat net.txt' },
          { type: "text", text: "That was it." },
        ],
        { config: { login }, secrets: { [name]: canaryKey }, key: canaryKey },
      );
      await using session = await b.start({ level });
      await session.turn("please", plain);
      assert.equal(b.said.at(-1), "That was it.");
      const told = await readFile(join(b.workspace, "told.txt"), "utf8");
      assert.match(told, /^finished$/m);
      assert.match(told, new RegExp(`^${name}=`, "m"), "it has the token of the attempt");
      assert.ok(!told.includes(canaryKey), "the credential is nowhere");
      const net = await readFile(join(b.workspace, "net.txt"), "utf8");
      if (level === "safe") assert.match(net, /unreachable/);
    });
  }
});
