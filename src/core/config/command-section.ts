import { z } from "zod";
import { oneOf, positive, section, solidText, variableName } from "./fields.ts";

const line = solidText.nullable().default(null);

/** Any program as an agent: one process for each turn. */
export const commandSection = section({
  line,
  resume_line: line,
  prompt: oneOf("stdin", "file").default("stdin"),
  output: oneOf("text", "jsonl", "claude", "gemini", "codex").default("text"),
  model: line,
  turn_timeout_ms: positive.default(3_600_000),
  exit_grace_ms: positive.default(5_000),
  writable_paths: z.array(solidText, "must be a list").default([]),
  env_passthrough: z.array(variableName, "must be a list").default([]),
});

export interface CommandConfig {
  /** A shell line, run as `bash -lc` for each turn; null: not set, so the agent cannot run. */
  readonly line: string | null;
  /** The line for a turn that goes on with `$SYMPHONY_SESSION`; null: each turn begins anew. */
  readonly resumeLine: string | null;
  readonly prompt: "stdin" | "file";
  /** What the program writes: text, symphony's own JSON lines, or those of a known program. */
  readonly output: "text" | "jsonl" | "claude" | "gemini" | "codex";
  readonly model: string | null;
  /** Longest silence in a turn. */
  readonly turnTimeoutMs: number;
  /** How long a program may live on once it told how its turn ended. */
  readonly exitGraceMs: number;
  /** Paths the program may write beside its workspace. */
  readonly writablePaths: readonly string[];
  readonly envPassthrough: readonly string[];
}

export function commandConfigOf(written: z.output<typeof commandSection>): CommandConfig {
  return {
    line: written.line,
    resumeLine: written.resume_line,
    prompt: written.prompt,
    output: written.output,
    model: written.model,
    turnTimeoutMs: written.turn_timeout_ms,
    exitGraceMs: written.exit_grace_ms,
    writablePaths: written.writable_paths,
    envPassthrough: written.env_passthrough,
  };
}
