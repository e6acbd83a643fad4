import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ClaudeScript, ClaudeStep } from "./claude-script.ts";
import { runCommand } from "./run-command.ts";
import { nextTurn } from "./turn-count.ts";

// Plays a script as Claude Code 2.1.318 would, in `claude -p --input-format stream-json --output-format stream-json`:
// control requests both ways, one line per content block, lifecycles of messages, one result per turn.

interface Incoming {
  readonly type: string;
  readonly uuid?: string;
  readonly request_id?: string;
  readonly request?: Readonly<Record<string, unknown>>;
  readonly response?: {
    readonly request_id: string;
    readonly response?: Readonly<Record<string, unknown>>;
  };
  readonly message?: { readonly content: string };
  readonly client_composed?: boolean;
}

const [, , file = "", journal = "", ...args] = process.argv;
const script: ClaudeScript = JSON.parse(readFileSync(file, "utf8"));
const flagValue = (flag: string) => args[args.indexOf(flag) + 1] ?? "";
const resumes = args.includes("--resume");
const session = resumes
  ? flagValue("--resume")
  : args.includes("--session-id")
    ? flagValue("--session-id")
    : randomUUID();
const config = process.env["CLAUDE_CONFIG_DIR"] ?? "";
const transcript = join(
  config,
  "projects",
  process.cwd().replaceAll(/[^A-Za-z0-9]/g, "-"),
  `${session}.jsonl`,
);
const note = (what: string, value: unknown) =>
  appendFileSync(journal, `${JSON.stringify({ method: what, params: value })}\n`);
const write = (message: object) => {
  process.stdout.write(`${JSON.stringify({ ...message, session_id: session })}\n`);
};
const record = (entry: object) => appendFileSync(transcript, `${JSON.stringify(entry)}\n`);

if (resumes && !existsSync(transcript)) {
  write({
    type: "result",
    subtype: "error_during_execution",
    is_error: true,
    errors: ["No conversation found"],
  });
  process.exit(1);
}
mkdirSync(join(transcript, ".."), { recursive: true });
note("start", { args, env: process.env });

/** The answer to a permission. */
interface Permission {
  readonly behavior?: unknown;
  readonly message?: unknown;
}

const answers = new Map<string, (response: Readonly<Record<string, unknown>>) => void>();
const queue: Incoming[] = [];
let wake = Promise.withResolvers<void>();
let interrupted = Promise.withResolvers<void>();
let isInterrupted = false;
let isOver = false;
let turns = 0;
let model = args.includes("--model") ? flagValue("--model") : "claude-opus-5-5";

const capabilities = script.capabilities ?? [
  "interrupt_receipt_v1",
  "interrupt_cancel_queued_v1",
  "msg_lifecycle_v1",
];
const version = script.version ?? "2.1.318";
const lifecycle = (uuid: string | undefined, state: string) =>
  write({ type: "command_lifecycle", command_uuid: uuid, state, uuid: randomUUID() });

function request(fields: object): Promise<Readonly<Record<string, unknown>>> {
  const id = randomUUID();
  const { promise, resolve } = Promise.withResolvers<Readonly<Record<string, unknown>>>();
  answers.set(id, resolve);
  write({ type: "control_request", request_id: id, request: fields });
  return promise;
}

async function mcp(message: object): Promise<Readonly<Record<string, unknown>>> {
  const { mcp_response: response } = await request({
    subtype: "mcp_message",
    server_name: "tracker",
    message,
  });
  return (response as { result?: Record<string, unknown> }).result ?? {};
}

function assistant(block: object, extra: object = {}): void {
  const message = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model,
    content: [block],
    stop_reason: null,
  };
  write({ type: "assistant", message, parent_tool_use_id: null, uuid: randomUUID(), ...extra });
}

function toolResult(id: string, content: string, failed = false): void {
  const block = { tool_use_id: id, type: "tool_result", content, is_error: failed };
  write({ type: "user", message: { role: "user", content: [block] }, parent_tool_use_id: null });
}

async function play(step: ClaudeStep): Promise<void> {
  switch (step.do) {
    case "say":
      return assistant({ type: "text", text: step.text });
    case "tool": {
      const id = `toolu_${randomUUID()}`;
      assistant({ type: "tool_use", id, name: step.name, input: step.input });
      if (step.asks !== false) {
        const asked = {
          subtype: "can_use_tool",
          tool_name: step.name,
          display_name: step.name,
          input: step.input,
          tool_use_id: id,
        };
        const isQuestion = step.name === "AskUserQuestion";
        const answer: Permission = await Promise.race<Permission>([
          request({ ...asked, ...(isQuestion && { requires_user_interaction: true }) }),
          interrupted.promise.then(() => ({ behavior: "cancelled" })),
        ]);
        note("permission", answer);
        if (answer.behavior !== "allow") return toolResult(id, String(answer.message), true);
      }
      if (!step.really) return toolResult(id, step.runs ?? "", step.fails);
      const ran = await Promise.race([
        runCommand(String(step.input["command"])),
        interrupted.promise.then(() => ({ output: "interrupted", code: 130 })),
      ]);
      return toolResult(id, ran.output, ran.code !== 0);
    }
    case "mcp": {
      const params = { name: step.tool, arguments: step.args };
      const result = await mcp({ method: "tools/call", params, jsonrpc: "2.0", id: 7 });
      note("mcp", result);
      const [part] = result["content"] as { text: string }[];
      return assistant({ type: "text", text: `tracker: ${part?.text}` });
    }
    case "usage": {
      const usage = {
        input_tokens: step.input,
        cache_read_input_tokens: step.cached ?? 0,
        output_tokens: 1,
      };
      const event = (value: object) =>
        write({ type: "stream_event", event: value, parent_tool_use_id: null });
      event({ type: "message_start", message: { id: step.id, model, usage } });
      return event({
        type: "message_delta",
        delta: {},
        usage: { ...usage, output_tokens: step.output },
      });
    }
    case "steered": {
      while (queue.length === 0 && !isInterrupted)
        await Promise.race([wake.promise, interrupted.promise]);
      for (const message of queue.splice(0)) {
        taken.push(message);
        if (step.records !== false) record({ type: "attachment", source_uuid: message.uuid });
        lifecycle(message.uuid, "started");
        assistant({ type: "text", text: `heard: ${message.message?.content}` });
      }
      return;
    }
    case "limit": {
      const resetsAt = Math.ceil(Date.now() / 1_000) + step.seconds;
      note("limit", { resetsAt });
      const info = { status: "rejected", resetsAt, rateLimitType: "five_hour" };
      return write({ type: "rate_limit_event", rate_limit_info: info });
    }
    case "interrupted":
      return interrupted.promise;
    case "write":
      process.stdout.write(
        `${typeof step.line === "string" ? step.line : JSON.stringify(step.line)}\n`,
      );
      return;
    case "exit":
      process.exit(step.status);
  }
}

let taken: Incoming[] = [];

async function turn(first: Incoming): Promise<void> {
  const number = script.continues ? nextTurn(file) : turns;
  turns++;
  const entry = script.turns[Math.min(number, script.turns.length - 1)] ?? { steps: [] };
  taken = [first];
  isInterrupted = false;
  interrupted = Promise.withResolvers();
  record({ type: "user", uuid: first.uuid });
  lifecycle(first.uuid, "started");
  write({
    type: "system",
    subtype: "init",
    cwd: process.cwd(),
    model,
    claude_code_version: version,
    capabilities,
  });
  for (const step of entry.steps) if (!isInterrupted) await play(step);
  if (!isInterrupted && entry.result !== null && entry.result?.["is_error"] !== true) {
    const answer = hooks
      ? await request({
          subtype: "hook_callback",
          callback_id: "stop",
          input: { stop_hook_active: false },
        })
      : {};
    if (answer["decision"] === "block") {
      note("blocked", answer["reason"]);
      assistant({ type: "text", text: `reminded: ${answer["reason"]}` });
      await request({
        subtype: "hook_callback",
        callback_id: "stop",
        input: { stop_hook_active: true },
      });
    }
  }
  if (entry.result === null) process.exit(0);
  for (const { uuid } of taken.slice(1)) lifecycle(uuid, "completed");
  const aborted = {
    subtype: "error_during_execution",
    is_error: true,
    terminal_reason: "aborted_tools",
    errors: ["[ede_diagnostic] result_type=user"],
  };
  const ended = {
    subtype: "success",
    is_error: false,
    terminal_reason: "completed",
    result: "done",
    ...entry.result,
  };
  write({
    ...{ type: "result", num_turns: 1, total_cost_usd: 0.01, queued_turn_count: 0 },
    ...{ user_message_uuids: taken.map(({ uuid }) => uuid), permission_denials: [] },
    ...(isInterrupted ? { ...aborted } : ended),
  });
  lifecycle(first.uuid, isInterrupted ? "cancelled" : "completed");
}

let hooks = false;

async function control(id: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
  note(String(fields["subtype"]), fields);
  const reply = (response: object) =>
    write({ type: "control_response", response: { subtype: "success", request_id: id, response } });
  switch (fields["subtype"]) {
    case "initialize":
      hooks = fields["hooks"] !== undefined;
      if (flagValue("--mcp-config").includes('"tracker"')) {
        await mcp({
          method: "initialize",
          params: { protocolVersion: "2025-11-25" },
          jsonrpc: "2.0",
          id: 0,
        });
        await request({
          subtype: "mcp_message",
          server_name: "tracker",
          message: { jsonrpc: "2.0", method: "notifications/initialized" },
        });
        note("tools", (await mcp({ method: "tools/list", jsonrpc: "2.0", id: 1 }))["tools"]);
      }
      return reply({
        claude_code_version: version,
        models: [
          { value: "default", resolvedModel: "claude-opus-5-5" },
          { value: "sonnet", resolvedModel: "claude-sonnet-5-5" },
        ],
        capabilities: ["ui_surface_v1"],
      });
    case "interrupt":
      isInterrupted = true;
      for (const { uuid } of queue.splice(0)) lifecycle(uuid, "cancelled");
      reply({ still_queued: [], cancelled: [] });
      return interrupted.resolve();
    case "set_model":
      if (script.models && !script.models.includes(String(fields["model"]))) {
        const error = {
          subtype: "error",
          request_id: id,
          error: "There is an issue with the selected model",
          error_code: "not_found",
        };
        write({ type: "control_response", response: error });
        return;
      }
      model = String(fields["model"]);
      return reply({ model });
    default:
      return reply({});
  }
}

function receive(line: string): void {
  const message: Incoming = JSON.parse(line);
  if (message.type === "control_request")
    void control(message.request_id ?? "", message.request ?? {});
  if (message.type === "control_response" && message.response) {
    answers.get(message.response.request_id)?.(message.response.response ?? {});
  }
  if (message.type !== "user") return;
  note("user", message);
  lifecycle(message.uuid, "queued");
  queue.push(message);
  wake.resolve();
  wake = Promise.withResolvers();
}

// Only byte 10 ends a line.
let rest = "";
process.stdin
  .setEncoding("utf8")
  .on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) receive(line);
  })
  .on("close", () => {
    isOver = true;
    wake.resolve();
  });

while (!isOver) {
  const next = queue.shift();
  if (next) await turn(next);
  else await wake.promise;
}
process.exit(0);
