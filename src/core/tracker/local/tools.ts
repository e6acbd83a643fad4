import { z } from "zod";
import type { AgentTools, ToolResult, ToolSpec } from "../../agent/agent.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import type { Issue } from "../../model/issue.ts";
import type { LocalIssues } from "./issues.ts";
import { type LocalOptions, stateNamed } from "./settings.ts";

const NoArguments = z.strictObject({}).nullish();
const CommentArguments = z.strictObject({ body: z.string().trim().min(1).max(65_536) });
const MoveArguments = z.strictObject({ state: z.string().trim().min(1).max(100) });

interface Binding {
  readonly issue: Issue;
  readonly options: LocalOptions;
  /** Each call opens the store itself: a session outlives the tracker that created it. */
  readonly open: () => LocalIssues;
}

/** `issue_get`, `issue_comment` and `issue_move`, limited to the session's own issue. Calls never reject. */
export function localTools(binding: Binding): AgentTools {
  const specs = specsOf(binding.options);
  return {
    specs,
    writes: (name) => name !== "issue_get",
    async call(name, args) {
      const open = binding.open;
      try {
        const tool = toolNamed(name);
        if (!tool) return unsupported(name, specs);
        const run = tool(args, binding);
        const issues = open();
        try {
          return success(run(issues));
        } finally {
          issues.close();
        }
      } catch (error) {
        return failure(error);
      }
    },
  };
}

/** Checks its arguments immediately; the returned function does the work. */
type Tool = (args: unknown, binding: Binding) => (issues: LocalIssues) => unknown;

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

const getIssue: Tool = (args, { issue }) => {
  parse(NoArguments, args);
  return (issues) => {
    const { title, description, state, labels, priority, blockedBy } = requireIssue(issues, issue);
    return {
      identifier: issue.identifier,
      title,
      description,
      state,
      labels,
      priority,
      blocked_by: blockedBy.map((blocker) => blocker.identifier),
      comments: issues.comments(issue.identifier).comments.map(({ author, body, createdAt }) => ({
        author,
        body,
        at: new Date(createdAt ?? 0).toISOString(),
      })),
    };
  };
};

const commentOnIssue: Tool = (args, { issue }) => {
  const { body } = parse(CommentArguments, args);
  return (issues) => {
    requireIssue(issues, issue);
    const { at } = issues.comment(issue.identifier, { author: "agent", body });
    return { identifier: issue.identifier, commented_at: new Date(at).toISOString() };
  };
};

const moveIssue: Tool = (args, { issue, options }) => {
  const state = stateNamed(options, parse(MoveArguments, args).state);
  if (!state) {
    const allowed = options.states.map((known) => known.name);
    throw new SymphonyError("transition_not_allowed", `state: one of ${allowed.join(", ")}`);
  }
  return (issues) => {
    requireIssue(issues, issue);
    const moved = issues.edit(issue.identifier, { state: state.name });
    return { identifier: moved.identifier, state: moved.state };
  };
};

/** By id: a replaced store may have given the identifier to another issue. */
function requireIssue(issues: LocalIssues, issue: Issue): Issue {
  const found = issues.byIds([issue.id])[0];
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

function specsOf(options: LocalOptions): readonly ToolSpec[] {
  const text = (description: string) => ({ type: "string", description });
  const states = options.states.map((state) => state.name);
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
        properties: { state: { ...text("The new state"), enum: states } },
        required: ["state"],
        additionalProperties: false,
      },
    },
  ];
}
