import { type CallToolResult, McpServer } from "@modelcontextprotocol/server";
import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";
import type { Client } from "../client/client.ts";
import { type Api, api } from "../contract/api.ts";
import { type Route, routesOf } from "../contract/route.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { version } from "../core/package.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./failure.ts";

/** A longer answer would fill the context of a model. */
const maxAnswerChars = 100_000;

type Connection = Pick<CommandContext, "client" | "renewed">;

/** Serves MCP on stdin and stdout; resolves to the exit code when the client has gone. */
export async function serveMcp(
  { write }: { readonly write: boolean },
  context: CommandContext,
): Promise<number> {
  const server = new McpServer(
    { name: "symphony", title: "Symphony", version: version() },
    { instructions: instructionsFor(write) },
  );
  for (const [name, route] of routesOf(api)) {
    if (isTool(route) && (write || isRead(route))) register(server, { name, route }, context);
  }
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const signal = context.interrupted();
  signal.addEventListener("abort", () => resolve(), { once: true });
  // The transport does not report the end of its input.
  context.stdin.once("end", resolve);
  server.server.onclose = () => resolve();
  await server.connect(new StdioServerTransport());
  await closed;
  await server.close();
  return signal.aborted ? exitCodes.interrupted : exitCodes.done;
}

function instructionsFor(write: boolean): string {
  const reads =
    "Symphony turns an issue tracker into a queue of coding-agent runs. Begin with system_state; issues_detail explains one issue.";
  return write ? reads : `${reads} These tools only read: symphony mcp --write offers the others.`;
}

/** Streams, pages and signed deliveries are not for a model. */
function isTool({ media, signed }: Route): boolean {
  return media === undefined && signed !== true;
}

function isRead({ method }: Route): boolean {
  return method === "GET";
}

interface Tool {
  /** Dotted, as in the contract. */
  readonly name: string;
  readonly route: Route;
}

function register(server: McpServer, { name, route }: Tool, context: Connection): void {
  const { method, summary } = route;
  server.registerTool(
    name.replaceAll(".", "_"),
    {
      description: `${summary} (${method} ${route.path})`,
      inputSchema: inputOf(route),
      annotations: {
        readOnlyHint: isRead(route),
        destructiveHint: method === "DELETE" || name === "issues.abort",
        idempotentHint: method === "PUT" || method === "DELETE",
        openWorldHint: false,
      },
    },
    async (args) => answerOf({ name, route }, args, context),
  );
}

/** The parameters of path and query and the headers by their names, and the body. */
function inputOf({ params, query, headers, body, bodyOptional }: Route): z.ZodObject {
  return z.strictObject({
    ...params?.shape,
    ...query?.shape,
    ...headers?.shape,
    ...(body !== undefined && { body: bodyOptional ? body.optional() : body }),
  });
}

async function answerOf(
  tool: Tool,
  args: Readonly<Record<string, unknown>>,
  context: Connection,
): Promise<CallToolResult> {
  try {
    const text = JSON.stringify((await called(tool, args, context)) ?? { done: true });
    return { content: [{ type: "text", text: shortened(text) }] };
  } catch (error) {
    const { code, hint } =
      error instanceof SymphonyError ? error : { code: "internal_error", hint: null };
    const text = JSON.stringify({ error: { code, message: messageOf(error), hint } });
    return { isError: true, content: [{ type: "text", text }] };
  }
}

async function called(
  tool: Tool,
  args: Readonly<Record<string, unknown>>,
  context: Connection,
): Promise<unknown> {
  const call = callOf(tool.route, args);
  try {
    return await functionOf(await context.client(), tool.name)(call);
  } catch (error) {
    const isAway = error instanceof SymphonyError && error.code === "server_unreachable";
    // A restart may have given the server another address. Only a read is sent again.
    if (!isAway || !isRead(tool.route)) throw error;
    await context.renewed();
    return functionOf(await context.client(), tool.name)(call);
  }
}

/** The parts of the call, from the names of one flat object. */
function callOf(route: Route, args: Readonly<Record<string, unknown>>): object {
  const part = (shape: Readonly<Record<string, unknown>> = {}) =>
    Object.fromEntries(Object.entries(args).filter(([key]) => Object.hasOwn(shape, key)));
  return {
    params: part(route.params?.shape),
    query: part(route.query?.shape),
    headers: part(route.headers?.shape),
    ...(route.body !== undefined && { body: args["body"] ?? {} }),
  };
}

function functionOf(client: Client<Api>, name: string): (call: object) => Promise<unknown> {
  const found = name
    .split(".")
    .reduce<unknown>((node, key) => (node as Readonly<Record<string, unknown>>)[key], client);
  return found as (call: object) => Promise<unknown>;
}

function shortened(text: string): string {
  if (text.length <= maxAnswerChars) return text;
  const left = text.length - maxAnswerChars;
  return `${text.slice(0, maxAnswerChars)}… [${left} characters left out: ask for less, by limit and offset]`;
}
