import { bounded, wholeText } from "../../answers.ts";
import { isObject, type JsonObject, listOf, objectOf, parseJson, textOf } from "../../text/text.ts";

/**
 * The answer as the client expects it: a stream of events, or a failure with its status. Providers also answer 200 with
 * an error, with a web page, or with the whole answer at once. `received` is called for each piece that arrives, also
 * for the comments that keep a connection alive.
 */
export async function asStream(
  response: Response,
  { host, received }: { readonly host: string; received(): void },
): Promise<Response> {
  received();
  const type = response.headers.get("content-type")?.toLowerCase() ?? "";
  const isWhole = /\bjson\b|text\/html/.test(type);
  const kind = isWhole || !response.ok ? "answer of a model" : "stream of a model";
  const tapped = bounded(response, { host, kind, received });
  if (!isWhole) return tapped;
  const text = await wholeText(tapped.body, { host, kind });
  if (!response.ok) return refusal(text, response);
  // Some servers name a stream of events JSON.
  if (/^\s*(?:data|event|id|retry|):/.test(text)) return streamed(text, response);
  const body = parseJson(text);
  if (!isObject(body)) return pageInstead(type);
  if (body["error"] !== undefined && body["error"] !== null) return refused(body, response);
  const events = eventsOf(body);
  if (events !== null) return streamed(events, response);
  // FastAPI's `detail`, and vLLM's earlier form of an error.
  const said = [body["detail"], body["message"], body["msg"]].find(
    (one) => typeof one === "string",
  );
  return said === undefined ? pageInstead("json") : refused({ error: said }, response);
}

/** An answer with a status of failure. Gemini puts its error into a list, where no client finds it. */
function refusal(text: string, { status, headers }: Response): Response {
  const [first] = listOf(parseJson(text)).map(objectOf);
  const error = first?.["error"];
  if (isObject(error)) return failure(error, status, headers);
  return new Response(text, { status, headers });
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
