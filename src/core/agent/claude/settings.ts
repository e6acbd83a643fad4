import { z } from "zod";
import {
  accessKeys,
  accessMeanings,
  oneOf,
  type ProgramAccess,
  positive,
  section,
  solidText,
} from "../../config/agents.ts";
import type { AgentSection } from "../../config/sections.ts";
import { renamed } from "../../model/names.ts";

declare module "../../config/config.ts" {
  interface Config {
    readonly claude: ClaudeConfig;
  }
}

/**
 * What an agent works with. Tools that start turns by themselves, write to other sessions or change
 * the working directory are not among them.
 */
const defaultTools = [
  ...["Bash", "Edit", "Read", "Write", "NotebookEdit", "Grep", "Glob", "WebFetch", "WebSearch"],
  ...["Agent", "AskUserQuestion"],
];

const toolName = solidText.regex(/^[A-Za-z][A-Za-z0-9_]*$/, "must be the name of a tool");

const schema = section({
  command: solidText.default("claude"),
  model: solidText.nullable().default(null),
  login: oneOf("auto", "api_key", "oauth_token", "user", "none").default("auto"),
  tools: z.array(toolName, "must be a list").default(defaultTools),
  read_timeout_ms: positive.default(60_000),
  ...accessKeys,
});

export interface ClaudeConfig extends ProgramAccess {
  /** A shell line that starts Claude Code; its arguments are added at the end. */
  readonly command: string;
  readonly model: string | null;
  /** Which credential the agent gets; `auto` takes the first that is there. */
  readonly login: "auto" | "api_key" | "oauth_token" | "user" | "none";
  /** Names of Claude Code's own tools; the tracker's tools are offered in addition. */
  readonly tools: readonly string[];
  /** Limit for the wait for one answer of the protocol. */
  readonly readTimeoutMs: number;
}

/** Claude Code, the user's own program. */
export const claudeSection: AgentSection<ClaudeConfig, typeof schema> = {
  schema,
  meanings: {
    command: "A shell line that starts Claude Code; symphony adds the arguments",
    model: "Model requested from Claude Code; its own default when omitted",
    login:
      "Which credential the agent gets: api_key, oauth_token, user (your login of Claude Code), none, or auto: the first that is there",
    tools: "Names of Claude Code's own tools that the agent gets",
    read_timeout_ms: "Limit for the wait for one answer of the protocol, ms",
    ...accessMeanings("agent"),
  },
  example: { model: "opus" },
  settings: (written) => renamed(schema, written),
};
