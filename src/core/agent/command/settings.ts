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
import {
  type ProviderSettings,
  providerKey,
  providerMeaning,
  providerSettingsOf,
} from "../provider-way.ts";

declare module "../../config/config.ts" {
  interface Config {
    readonly command: CommandConfig;
  }
}

const line = solidText.nullable().default(null);

const schema = section({
  line,
  resume_line: line,
  prompt: oneOf("stdin", "file").default("stdin"),
  output: oneOf("text", "jsonl", "claude", "gemini", "codex").default("text"),
  model: line,
  turn_timeout_ms: positive.default(3_600_000),
  exit_grace_ms: positive.default(5_000),
  provider: providerKey,
  ...accessKeys,
});

export interface CommandConfig extends ProgramAccess {
  /** A shell line, run as `bash -c` for each turn; null: not set, so the agent cannot run. */
  readonly line: string | null;
  /** The line for a turn that resumes `$SYMPHONY_SESSION`; null: each turn starts a new session. */
  readonly resumeLine: string | null;
  readonly prompt: "stdin" | "file";
  /** The output format: text, symphony's own JSON lines, or that of a known program. */
  readonly output: "text" | "jsonl" | "claude" | "gemini" | "codex";
  readonly model: string | null;
  /** The model provider that the program is led to; null: a known agent's own. */
  readonly provider: ProviderSettings | null;
  /** Limit for silence in a turn. */
  readonly turnTimeoutMs: number;
  /** How long a program may continue after it reported how its turn ended. */
  readonly exitGraceMs: number;
}

/** Any program as an agent: one process for each turn. */
export const commandSection: AgentSection<CommandConfig, typeof schema> = {
  schema,
  meanings: {
    line: "A shell line, run by bash -c in the workspace for each turn",
    resume_line: "The line for a turn that resumes the session $SYMPHONY_SESSION",
    prompt: "stdin, or file: its path is in $SYMPHONY_PROMPT_FILE",
    output: "What the program writes: text, jsonl, claude, gemini or codex",
    model: "Passed on as $SYMPHONY_MODEL",
    turn_timeout_ms: "Limit for silence in a turn, ms",
    exit_grace_ms: "How long the program may continue after it reported its result, ms",
    provider: providerMeaning,
    ...accessMeanings("program"),
  },
  example: { line: "./agent.sh", output: "text" },
  settings: (written) => ({
    ...renamed(schema, written),
    provider: providerSettingsOf(written.provider),
  }),
};
