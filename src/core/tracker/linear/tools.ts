import type { AgentTools, ToolResult, ToolSpec } from "../../agent/agent.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { reserved } from "../issue-tools.ts";
import { isRecord, textOf } from "../normalize.ts";
import { writeReserve } from "../tracker.ts";
import { shareLeft } from "./budget.ts";
import type { LinearAnswer, LinearClient } from "./client.ts";
import type { LinearTokens } from "./oauth.ts";
import { redactorOf } from "./refusal.ts";
import type { LinearSettings } from "./settings.ts";

const toolName = "linear_graphql";
/** A longer response would fill the agent's context. */
const longestOutputBytes = 262_144;

const spec: ToolSpec = {
  name: toolName,
  description:
    "Runs one GraphQL query or mutation against Linear with symphony's own credential. " +
    "Use it to read the issue, comment on it, or move it. Request only the fields and records that you need.",
  inputSchema: {
    type: "object",
    properties: {
      query: { type: "string", description: "A GraphQL document, such as query { viewer { id } }" },
      variables: { type: ["object", "null"], description: "Values for the document's variables" },
    },
    required: ["query"],
    additionalProperties: false,
  },
};

/**
 * The `linear_graphql` tool with the current credential: later changes do not affect it (T-14). The tokens of an app are
 * renewed.
 */
export function bindLinearTools(
  client: LinearClient,
  settings: Pick<LinearSettings, "authorization">,
  tokens: Pick<LinearTokens, "authorization"> | null,
): AgentTools {
  const key = tokens === null ? credentialOf(settings) : null;
  return {
    specs: [spec],
    writes(_name, args) {
      const request = requestOf(args);
      return typeof request !== "string" && isWrite(request);
    },
    async call(name, args) {
      if (name !== toolName) {
        return failure({ message: `There is no tool ${name}`, supportedTools: [toolName] });
      }
      const request = requestOf(args);
      if (typeof request === "string") return failure({ message: request });
      if (key instanceof SymphonyError) return failureOf(key);
      if (!isWrite(request) && (shareLeft(client.budget) ?? 1) < writeReserve) {
        return failure({ message: reserved, code: "tracker_rate_limited" });
      }
      try {
        let used = "";
        const authorization = async () => {
          used = key ?? (await tokens?.authorization()) ?? "";
          return used;
        };
        const answer = await client.execute({ operation: toolName, ...request }, authorization);
        return resultOf(answer, used);
      } catch (error) {
        return failureOf(error);
      }
    },
  };
}

function credentialOf(settings: Pick<LinearSettings, "authorization">): string | SymphonyError {
  try {
    return settings.authorization();
  } catch (error) {
    if (error instanceof SymphonyError) return error;
    throw error;
  }
}

/** A document and its variables, or the fault of the arguments (requirement L-13). */
function requestOf(args: unknown) {
  const { query, variables } = typeof args === "string" ? { query: args } : fieldsOf(args);
  const document = textOf(query)?.trim();
  if (document === undefined)
    return "`query` must be a GraphQL document: a string that is not blank";
  if (variables !== undefined && variables !== null && !isRecord(variables)) {
    return "`variables` must be an object or null";
  }
  return { document, variables: variables ?? {} };
}

function isWrite({ document }: { readonly document: string }): boolean {
  return /\bmutation\b/.test(document);
}

function fieldsOf(args: unknown): { readonly query?: unknown; readonly variables?: unknown } {
  return isRecord(args) ? args : {};
}

/** Linear's body unchanged; `errors` next to `data` are a failure too (requirement L-14). */
function resultOf(answer: LinearAnswer, authorization: string): ToolResult {
  if (answer.ok) return bounded(true, { data: answer.data }, authorization);
  const { refusal, error } = answer;
  if (refusal.errors.length > 0 && error.code === "tracker_response") {
    return bounded(false, { errors: refusal.errors, data: refusal.data }, authorization);
  }
  const { status } = refusal;
  const shown = { message: error.message, code: error.code, status };
  return bounded(false, { error: shown, errors: refusal.errors }, authorization);
}

function bounded(success: boolean, body: unknown, authorization: string): ToolResult {
  const output = redactorOf(authorization)(JSON.stringify(body));
  const bytes = Buffer.byteLength(output);
  if (bytes <= longestOutputBytes) return { success, output };
  return failure({ message: `Linear answered, but with ${bytes} bytes: request less`, bytes });
}

function failureOf(error: unknown): ToolResult {
  const code = error instanceof SymphonyError ? error.code : "internal_error";
  return failure({ message: messageOf(error), code });
}

function failure(error: Readonly<Record<string, unknown>>): ToolResult {
  return { success: false, output: JSON.stringify({ error }) };
}
