import { appendFileSync, readFileSync, writeSync } from "node:fs";
import { Readable, Writable } from "node:stream";
import { type AgentContext, agent, ndJsonStream, RequestError } from "@agentclientprotocol/sdk";
import type { AcpScript, AcpStep } from "./acp-script.ts";
import { runCommand } from "./run-command.ts";
import { nextTurn } from "./turn-count.ts";

// An agent of the Agent Client Protocol that plays the script named by its argument; it uses the agent side of the protocol's library.

const [, , file = "", journal = ""] = process.argv;
const script: AcpScript = JSON.parse(readFileSync(file, "utf8"));
const raw = (params: unknown) => params as Record<string, unknown>;
const note = (method: string, params: unknown) => {
  appendFileSync(journal, `${JSON.stringify({ method, params })}\n`);
  const { code, message, data } = script.refuses?.[method] ?? {};
  if (code !== undefined) throw new RequestError(code, message ?? "", data);
};

const { lastWords } = script;
if (lastWords !== undefined) {
  process.once("SIGTERM", () => process.exit(0));
  process.once("exit", () => writeSync(process.stderr.fd, `${lastWords}\n`));
}

let turns = 0;
let cancelled = Promise.withResolvers<void>();
/** A command was running when the turn was cancelled. */
let isCutShort = false;
let steered = Promise.withResolvers<void>();
const prompted = Promise.withResolvers<void>();

/** Written together with the next message: a reader gets both at once. */
let trailing = "";
const stdout = new Writable({
  write(chunk, _encoding, done) {
    const text = `${chunk}${trailing}`;
    trailing = "";
    process.stdout.write(text, done);
  },
});

function linesOf(all: readonly (string | object)[]): string {
  const lines = all.map((one) => {
    const content = { type: "text", text: one };
    const update =
      typeof one === "string" ? { sessionUpdate: "agent_message_chunk", content } : one;
    const params = { sessionId: "s-1", update };
    return `${JSON.stringify({ jsonrpc: "2.0", method: "session/update", params })}\n`;
  });
  return lines.join("");
}

interface McpServer {
  readonly command: string;
  readonly args: string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
}

let server: McpServer | undefined;

function opened(params: Record<string, unknown>): void {
  [server] = params["mcpServers"] as McpServer[];
}

/** Like gemini it passes only the variables of the session to the server. */
async function called(name: string, args: Record<string, unknown>): Promise<unknown> {
  if (!server) return null;
  const { command, args: words } = server;
  const env = Object.fromEntries(server.env.map((one) => [one.name, one.value]));
  // Few scripts call a tool, and every start of an agent would load these.
  const { Client } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  await using client = Object.assign(new Client({ name: "scripted", version: "1" }), {
    [Symbol.asyncDispose]: () => client.close(),
  });
  await client.connect(new StdioClientTransport({ command, args: words, env }));
  return await client.callTool({ name, arguments: args });
}

type RunStep = Extract<AcpStep, { readonly do: "run" }>;
let calls = 0;

async function run(step: RunStep, client: AgentContext, sessionId: string): Promise<void> {
  const { command, asks } = step;
  const call = { toolCallId: `run-${++calls}`, title: command, kind: "execute" as const };
  const update = (fields: object) =>
    client.notify("session/update", {
      sessionId,
      update: { sessionUpdate: "tool_call_update", toolCallId: call.toolCallId, ...fields },
    });
  const rawInput = { command };
  await client.notify("session/update", {
    sessionId,
    update: { sessionUpdate: "tool_call", ...call, status: "pending", rawInput },
  });
  if (asks) {
    const { outcome } = await client.request("session/request_permission", {
      sessionId,
      toolCall: { ...call, rawInput },
      options: [
        { optionId: "once", name: "Once", kind: "allow_once" },
        { optionId: "no", name: "No", kind: "reject_once" },
      ],
    });
    note("permission", outcome);
    if (outcome.outcome !== "selected" || outcome.optionId !== "once") {
      return update({ status: "failed" });
    }
  }
  const ran = runCommand(command).then(({ output, code }) => ({ output, exitCode: code }));
  const rawOutput = await Promise.race([ran, cancelled.promise.then(() => null)]);
  isCutShort = rawOutput === null;
  const status = rawOutput?.exitCode === 0 ? "completed" : "failed";
  return update({ status, ...(rawOutput && { rawOutput }) });
}

async function play(step: AcpStep, client: AgentContext, sessionId: string): Promise<void> {
  switch (step.do) {
    case "update":
      return client.notify("session/update", { sessionId, update: step.update });
    case "foreign":
      return client.notify("session/update", { sessionId: "another", update: step.update });
    case "ask": {
      const answer = await client.request("session/request_permission", {
        sessionId,
        toolCall: step.toolCall,
        options: step.options,
      });
      return note("permission", answer);
    }
    case "run":
      return run(step, client, sessionId);
    case "request":
      return client.request(step.method, {}).then(
        (result) => note("answer", result),
        (error) => note("refusal", error),
      );
    case "tool":
      return note("tool", await called(step.name, step.arguments));
    case "cancelled":
      return cancelled.promise;
    case "steered":
      return steered.promise;
    case "write":
      process.stdout.write(`${step.line}\n`);
      return;
    case "prompted":
      return prompted.promise;
    case "die":
      return new Promise(() => {
        process.stderr.write(`${step.words}\n`, () => process.exit(9));
      });
    case "exit":
      process.exit(step.status);
  }
}

agent({ name: "scripted" })
  .onRequest("initialize", raw, ({ params }) => {
    note("initialize", params);
    note("environment", process.env);
    return { protocolVersion: 1, ...script.hello };
  })
  .onRequest("authenticate", raw, ({ params }) => {
    note("authenticate", params);
    return {};
  })
  .onRequest("session/new", raw, ({ params }) => {
    note("session/new", params);
    opened(params);
    if (script.wantsLogin) throw RequestError.authRequired();
    return { sessionId: "s-1", ...script.opened };
  })
  .onRequest("session/resume", raw, ({ params }) => {
    note("session/resume", params);
    opened(params);
    if (params["sessionId"] !== "s-1") throw RequestError.resourceNotFound();
    return { ...script.opened };
  })
  .onRequest("session/load", raw, async ({ params, client }) => {
    note("session/load", params);
    opened(params);
    const lines = linesOf(script.replays ?? []);
    if (script.replaysAfterMs !== undefined) {
      setTimeout(() => process.stdout.write(lines), script.replaysAfterMs);
      return { ...script.opened };
    }
    const content = { type: "text" as const, text: "said before" };
    await client.notify("session/update", {
      sessionId: String(params["sessionId"]),
      update: { sessionUpdate: "agent_message_chunk", content },
    });
    trailing = lines;
    return { ...script.opened };
  })
  .onRequest("session/set_config_option", raw, ({ params }) => {
    note("session/set_config_option", params);
    if (params["value"] === "unknown") throw RequestError.invalidParams();
    return { configOptions: [] };
  })
  .onRequest("session/set_model", raw, ({ params }) => {
    note("session/set_model", params);
    return {};
  })
  .onRequest("session/set_mode", raw, ({ params }) => {
    note("session/set_mode", params);
    if (script.fixedMode) throw RequestError.invalidParams();
    return {};
  })
  .onRequest("_session/steering", raw, ({ params }) => {
    note("_session/steering", params);
    steered.resolve();
    return { outcome: script.steering ?? "injected" };
  })
  .onNotification("session/cancel", raw, ({ params }) => {
    note("session/cancel", params);
    cancelled.resolve();
  })
  .onRequest("session/prompt", raw, async ({ params, client }) => {
    note("session/prompt", params);
    cancelled = Promise.withResolvers();
    isCutShort = false;
    steered = Promise.withResolvers();
    const number = script.continues ? nextTurn(file) : turns;
    turns++;
    const turn = script.turns[Math.min(number, script.turns.length - 1)];
    for (const step of turn?.steps ?? []) {
      await play(step, client, String(params["sessionId"]));
    }
    if (turn?.dies) setImmediate(() => process.stdout.write("", () => process.exit(3)));
    if (turns > 1) prompted.resolve();
    if (turn?.after) trailing = linesOf(turn.after);
    const { error } = turn ?? {};
    if (error) throw new RequestError(error.code, error.message, error.data);
    return { stopReason: isCutShort ? "cancelled" : "end_turn", ...turn?.end };
  })
  .connect(ndJsonStream(Writable.toWeb(stdout), Readable.toWeb(process.stdin)));
