import { bounded, wholeText } from "../../answers.ts";
import { isObject, type JsonObject, listOf, objectOf, parseJson, textOf } from "../../text/text.ts";
import { eventLines, isDocument } from "./event-lines.ts";

/**
 * The answer as the client expects it: a stream of events, or a failure with its status. Providers also answer 200 with
 * an error, with a web page, or with the whole answer at once. `received` is called for each piece that arrives, also
 * for the comments that keep a connection alive, `ended` where a stream says that it is whole.
 */
export async function asStream(
  response: Response,
  { host, received, ended }: { readonly host: string; received(): void; ended(): void },
): Promise<Response> {
  received();
  const type = response.headers.get("content-type")?.toLowerCase() ?? "";
  const isNamed = !response.ok || /\bjson\b|text\/html/.test(type);
  const kind = isNamed ? "answer of a model" : "stream of a model";
  let { body: read } = bounded(response, { host, kind, received });
  if (!isNamed && read !== null) {
    // Some servers name a document a stream, or do not name what they send.
    const begun = await isDocument(read);
    if (!begun.is) return withBody(eventLines(begun.body, ended), response);
    read = begun.body;
  }
  const text = await wholeText(read, { host, kind: "answer of a model" });
  if (!response.ok) return refusal(text, response);
  // Some servers name a stream of events JSON.
  if (/^\s*(?:data|event|id|retry|):/.test(text)) return streamed(text, response);
  const parsed = parseJson(text);
  const body = Array.isArray(parsed) ? parsed[0] : parsed;
  if (!isObject(body)) return pageInstead(/^\s*</.test(text) ? "html" : type);
  if (body["error"] !== undefined && body["error"] !== null) return refused(body, response);
  const events = eventsOf(body);
  if (events !== null) return streamed(events, response);
  const error = errorIn(body);
  return error === null ? pageInstead("json") : refused({ error }, response);
}

/** The code of a failure whose body is a web page. */
export const webPage = "web_page";

/** The error of an answer without `error`: FastAPI's `detail`, vLLM's earlier form, Cloudflare's list, MiniMax's `base_resp`. */
export function errorIn(body: JsonObject): JsonObject | string | null {
  const [first] = listOf(body["errors"]);
  if (isObject(first)) return first;
  const { status_msg: other } = objectOf(body["base_resp"]);
  const said = [body["detail"], body["message"], body["msg"], first, other];
  return (said.find((one) => typeof one === "string" && one !== "") as string | undefined) ?? null;
}

/** An answer with a status of failure. Gemini puts its error into a list, where no client finds it. */
function refusal(text: string, { status, headers }: Response): Response {
  const parsed = parseJson(text);
  const [first] = listOf(parsed).map(objectOf);
  const error = first?.["error"];
  if (isObject(error)) return failure(error, status, headers);
  if (/^\s*</.test(text)) {
    const title = /<(title|h1)\b[^>]*>([^<]{1,200})/i.exec(text)?.[2]?.trim() ?? "without a title";
    const message = `a web page instead of an answer: ${title}`;
    return failure({ message, code: webPage }, status, headers);
  }
  const said = isObject(parsed) && !isObject(parsed["error"]) ? errorIn(parsed) : null;
  if (typeof said === "string")
    return failure({ ...(parsed as object), message: said }, status, headers);
  return new Response(text, { status, headers });
}

function withBody(body: ReadableStream, { status, headers }: Response): Response {
  return new Response(body, { status, headers });
}

function streamed(events: string, { headers }: Response): Response {
  const copied = new Headers(headers);
  copied.delete("content-length");
  copied.set("content-type", "text/event-stream");
  return new Response(events, { status: 200, headers: copied });
}

/** The status that the error itself names, else 400: it is none of the 200 that it came with. */
function refused(body: JsonObject, { headers }: Response): Response {
  const error = isObject(body["error"]) ? body["error"] : { message: String(body["error"]) };
  const named = [error["code"], error["status"], body["status"], body["code"]].find(
    (one): one is number => typeof one === "number" && one >= 400 && one < 600,
  );
  const isEndpoint = /unexpected endpoint|unknown (?:endpoint|route|path|url)|no route/i.test(
    textOf(error["message"]) ?? "",
  );
  return failure(error, named ?? (isEndpoint ? 404 : 400), headers);
}

function pageInstead(type: string): Response {
  const what = type.includes("html") ? "a web page" : "no answer of a model";
  const message = `the provider answered with ${what}: openai.base_url may lead elsewhere`;
  return failure({ message, code: "no_model_answer" }, 404, new Headers());
}

function failure(error: JsonObject, status: number, headers: Headers): Response {
  const copied = new Headers(headers);
  copied.delete("content-length");
  copied.set("content-type", "application/json");
  return new Response(JSON.stringify({ error }), { status, headers: copied });
}

/** A whole answer of either API as the events of its stream; null: it is none. */
function eventsOf(body: JsonObject): string | null {
  const [choice] = listOf(body["choices"]);
  if (isObject(choice) && isObject(choice["message"])) {
    const { message, finish_reason: reason } = choice;
    const calls = listOf(objectOf(message)["tool_calls"]).map((call, index) => ({
      index,
      ...objectOf(call),
    }));
    const delta = { ...objectOf(message), ...(calls.length > 0 && { tool_calls: calls }) };
    const chunk = { ...body, choices: [{ index: 0, delta, finish_reason: reason ?? "stop" }] };
    return `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`;
  }
  if (!Array.isArray(body["output"])) return null;
  const type = body["status"] === "incomplete" ? "response.incomplete" : "response.completed";
  return `event: ${type}\ndata: ${JSON.stringify({ type, response: body })}\n\n`;
}
