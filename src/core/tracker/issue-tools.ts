import { z } from "zod";
import type { AgentTools, ToolResult, ToolSpec } from "../agent/agent.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { type CommentList, type Issue, normalState, type TrackerState } from "../model/issue.ts";
import { defuse } from "../text/defuse.ts";
import { writeReserve } from "./tracker.ts";

/** One issue as its agent's tools reach it. */
export interface BoundIssue {
  /** undefined: it is gone. By id: another issue may have its identifier by now. */
  read(): Promise<Issue | undefined>;
  comments(): Promise<CommentList>;
  /** Resolves with its time, ms since the epoch. */
  comment(body: string): Promise<number>;
  move(state: string): Promise<void>;
  /** As `Tracker.budgetLeft`. */
  budgetLeft?(): number | null;
  close?(): void;
}

const longestBody = 65_536;
/** An agent that reads in a loop must not use up what polls need to see that its issue was closed. */
export const reserved =
  "the rest of the tracker's budget for this hour is kept for moves and polls: read less, and try again in some minutes";
const marks = /<!--(?=\s*symphony)/gi;
const NoArguments = z.strictObject({}).nullish();
const CommentArguments = z.strictObject({ body: z.string().trim().min(1).max(longestBody) });
const MoveArguments = z.strictObject({ state: z.string().trim().min(1).max(100) });

/**
 * `issue_get`, `issue_comment` and `issue_move`, limited to the session's own issue. Each call opens the tracker by itself: a
 * session outlives the tracker that created it. Calls never reject.
 */
export function issueTools(
  issue: Issue,
  states: readonly TrackerState[],
  open: () => Promise<BoundIssue>,
): AgentTools {
  const specs = specsOf(states);
  return {
    specs,
    writes: (name) => name !== "issue_get",
    async call(name, args) {
      try {
        const tool = toolNamed(name);
        if (!tool) return unsupported(name, specs);
        const run = tool(args, states);
        const bound = await open();
        try {
          return success({ identifier: issue.identifier, ...(await run(bound, issue)) });
        } finally {
          bound.close?.();
        }
      } catch (error) {
        return failure(error);
      }
    },
  };
}

/** Checks its arguments immediately; the returned function does the work. */
type Tool = (
  args: unknown,
  states: readonly TrackerState[],
) => (bound: BoundIssue, issue: Issue) => Promise<object>;

function toolNamed(name: string): Tool | null {
  switch (name) {
    case "issue_get":
      return getIssue;
    case "issue_comment":
      return commentOnIssue;
    case "issue_move":
      return moveIssue;
    default:
      return null;
  }
}

const getIssue: Tool = (args) => {
  parse(NoArguments, args);
  return async (bound, issue) => {
    if ((bound.budgetLeft?.() ?? 1) < writeReserve) {
      throw new SymphonyError("tracker_rate_limited", reserved);
    }
    const { title, description, state, labels, priority, blockedBy } = await present(bound, issue);
    const { comments } = await bound.comments();
    return {
      ...{ title, description, state, labels, priority },
      blocked_by: blockedBy.map((blocker) => blocker.identifier),
      comments: comments.map(({ author, body, createdAt }) => ({
        ...{ author, body },
        at: new Date(createdAt ?? 0).toISOString(),
      })),
    };
  };
};

const commentOnIssue: Tool = (args) => {
  const { body } = parse(CommentArguments, args);
  return async (bound, issue) => {
    await present(bound, issue);
    // It notifies no one, links nothing, and is not taken for symphony's own, not even in code.
    const text = defuse(body, { maxChars: longestBody }).replaceAll(marks, "<!\u2060--");
    return { commented_at: new Date(await bound.comment(text)).toISOString() };
  };
};

const moveIssue: Tool = (args, states) => {
  const wanted = normalState(parse(MoveArguments, args).state);
  const state = states.find(({ name }) => normalState(name) === wanted);
  if (!state) {
    const allowed = states.map(({ name }) => name);
    throw new SymphonyError("transition_not_allowed", `state: one of ${allowed.join(", ")}`);
  }
  return async (bound, issue) => {
    await present(bound, issue);
    await bound.move(state.name);
    return { state: state.name };
  };
};

async function present(bound: BoundIssue, issue: Issue): Promise<Issue> {
  const found = await bound.read();
  if (found) return found;
  throw new SymphonyError("issue_not_found", `There is no longer an issue ${issue.identifier}`);
}
function parse<T>(schema: z.ZodType<T>, args: unknown): T {
  const result = schema.safeParse(args);
  if (result.success) return result.data;
  throw new SymphonyError("invalid_request", z.prettifyError(result.error));
}

function success(value: unknown): ToolResult {
  return { success: true, output: JSON.stringify(value) };
}

function failure(error: unknown): ToolResult {
  const code = error instanceof SymphonyError ? error.code : "internal_error";
  return { success: false, output: JSON.stringify({ error: { code, message: messageOf(error) } }) };
}

function unsupported(name: string, specs: readonly ToolSpec[]): ToolResult {
  const message = `There is no tool ${name}`;
  const supportedTools = specs.map((spec) => spec.name);
  const error = { code: "invalid_request", message, supportedTools };
  return { success: false, output: JSON.stringify({ error }) };
}

function specsOf(states: readonly TrackerState[]): readonly ToolSpec[] {
  const text = (description: string) => ({ type: "string", description });
  return [
    {
      name: "issue_get",
      description: "Read the issue you work on, with its comments.",
      inputSchema: { type: "object", properties: {}, additionalProperties: false },
    },
    {
      name: "issue_comment",
      description: "Add a comment to the issue you work on.",
      inputSchema: {
        type: "object",
        properties: { body: text("Markdown") },
        required: ["body"],
        additionalProperties: false,
      },
    },
    {
      name: "issue_move",
      description: "Move the issue you work on to another state, such as when it is done.",
      inputSchema: {
        type: "object",
        properties: { state: { ...text("The new state"), enum: states.map(({ name }) => name) } },
        required: ["state"],
        additionalProperties: false,
      },
    },
  ];
}
