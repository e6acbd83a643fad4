import { z } from "zod";
import type { AgentEvent } from "../agent/agent.ts";

// What a worker says about its agent. Its machine runs agents too: the server takes over only what it can check.

/** As long as a line of an agent on this machine may be, in characters. */
const maxText = 10 * 1024 * 1024;

const Text = z.string().max(maxText);
const Count = z.number().nonnegative();
const Tokens = z.object({
  input: Count,
  cachedInput: Count,
  output: Count,
  reasoningOutput: Count,
  total: Count,
});

const Reported = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("session.started"),
    threadId: Text,
    resumed: z.boolean(),
    countsAnew: z.boolean().optional(),
  }),
  z.object({ type: z.literal("turn.started"), turnId: Text }),
  z.object({ type: z.literal("turn.completed"), turnId: Text }),
  z.object({ type: z.literal("turn.failed"), turnId: Text, message: Text }),
  z.object({ type: z.literal("message"), text: Text }),
  z.object({
    type: z.literal("command"),
    command: Text,
    status: z.enum(["started", "completed", "failed", "declined"]),
    exitCode: z.number().nullable(),
    output: Text.nullable(),
  }),
  z.object({ type: z.literal("file_change"), status: Text, paths: z.array(Text) }),
  z.object({
    type: z.literal("tool_call"),
    tool: Text,
    outcome: z.enum(["completed", "failed", "unsupported"]),
  }),
  z.object({
    type: z.literal("tokens"),
    total: Tokens,
    base: Tokens.optional(),
    models: z.record(z.string(), Tokens).optional(),
  }),
  z.object({ type: z.literal("rate_limits"), limits: z.record(z.string(), z.unknown()) }),
  z.object({
    type: z.literal("approval.requested"),
    needs: z.object({
      kind: z.enum(["approval", "question"]),
      prompt: Text,
      options: z.array(Text),
    }),
    ask: z.object({ id: Text, sinceWall: z.number(), untilWall: z.number() }).nullable(),
  }),
  z.object({
    type: z.literal("approval.resolved"),
    decision: Text,
    automatic: z.boolean(),
    askId: Text.optional(),
  }),
  z.object({ type: z.literal("steer.delivered"), steerId: Text }),
  z.object({ type: z.literal("notice"), message: Text, malformed: z.boolean() }),
  z.object({ type: z.literal("activity"), method: Text }),
]);

/** The event of a letter, without what no event has. One that cannot be read is a notice that says so. */
export function reportedEvent(value: unknown): AgentEvent {
  const { data } = Reported.safeParse(value);
  if (data) return data as AgentEvent;
  const message = "the worker sent an event that cannot be read";
  return { type: "notice", message, malformed: true };
}
