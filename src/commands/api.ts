import { open, refusal, type Server, textOf } from "../client/client.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes, requireWord } from "./failure.ts";
import { textOrStdin } from "./input.ts";
import { jsonText } from "./output.ts";
import { row } from "./table.ts";

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

/** Sends one request and prints the answer: JSON indented, anything else unchanged. */
export const apiCommand = row({
  examples: [
    "symphony api GET /api/v1/state",
    `symphony api POST /api/v1/ENG-123/steer --body '{"message": "auth first"}'`,
    "symphony api PUT /api/v1/config/overlay --body - < overlay.json",
  ],
  arguments: [
    { name: "method", summary: "GET, POST, PUT, DELETE …" },
    { name: "path", summary: "path and query, such as /api/v1/state?limit=5" },
  ],
  options: [{ name: "body", value: "json", summary: "body of the request; - reads it from stdin" }],
  stream: (request, context) => send(request, context),
});

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
}

async function send({ method: typed, path, body }: Request, context: CommandContext) {
  const method = requireWord(typed.toUpperCase(), methods, `"${typed}" is not a method of HTTP`);
  const text = body === undefined ? undefined : await textOrStdin(body, context);
  const server = await context.server();
  const signal = context.interrupted();
  const order = {
    method,
    path: path.startsWith("/") ? path : `/${path}`,
    headers: {
      accept: "*/*",
      ...(text !== undefined && { "content-type": "application/json" }),
    },
    ...(text !== undefined && { body: text }),
    signal,
  };
  const response = await open(server, order);
  const isJson = /\bjson\b/.test(response.headers["content-type"] ?? "");
  const status = response.statusCode ?? 0;
  if (status < 400 && !isJson) return pour(response, context);
  return answer({ server, status, text: await textOf(server, order, response) }, context);
}

function answer(
  { server, status, text }: { server: Server; status: number; text: string },
  context: CommandContext,
): number {
  if (status >= 400) throw refusal(server, status, text);
  context.print(text === "" ? text : jsonText(JSON.parse(text)));
  return exitCodes.done;
}

/** A stream is passed on as it arrives. */
async function pour(response: AsyncIterable<unknown>, context: CommandContext): Promise<number> {
  try {
    for await (const chunk of response) {
      const taken = context.stdout.write(chunk as Buffer);
      if (!taken) await new Promise((resolve) => context.stdout.once("drain", resolve));
    }
    return exitCodes.done;
  } catch (error) {
    if (context.interrupted().aborted) return exitCodes.interrupted;
    throw error;
  }
}

/** Prints the OpenAPI document, which is JSON with and without `--json`. */
export const openapiCommand = row({
  examples: ["symphony openapi > openapi.json"],
  call: async (_, context) => (await context.client()).system.openapi(),
  print: (document, { printJson }) => printJson(document),
});
