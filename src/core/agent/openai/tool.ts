import type { AgentEvent, ToolSpec } from "../agent.ts";
import type { JsonObject } from "../json-value.ts";

/** One of the agent's own tools. */
export interface Tool {
  readonly spec: ToolSpec;
  /** True when it changes nothing and starts nothing, so that others like it may run beside it. */
  readonly readsOnly: boolean;
  /** Text for the model. Rejects with ToolError for what the model did wrong; with anything else the turn ends. */
  run(args: JsonObject, signal: AbortSignal): Promise<string>;
}

export interface ToolWorld {
  /** Canonical. */
  readonly workspace: string;
  emit(event: AgentEvent): void;
}

/** What is wrong with a call, in words for the model. */
export class ToolError extends Error {}

export function textArgument(args: JsonObject, name: string): string {
  const value = args[name];
  if (typeof value === "string") return value;
  throw new ToolError(`the argument ${name} must be text`);
}

export function optionalText(args: JsonObject, name: string): string | null {
  const value = args[name];
  return value === undefined || value === null ? null : textArgument(args, name);
}

/** A whole number within the limits, or `fallback` when left out. */
export function numberArgument(
  args: JsonObject,
  name: string,
  { fallback, min, max }: { fallback: number; min: number; max: number },
): number {
  const value = args[name];
  if (value === undefined || value === null) return fallback;
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new ToolError(`the argument ${name} must be a number`);
  return Math.min(Math.max(Math.trunc(value), min), max);
}

/** The schema of a tool's arguments; all of them required but `optional`. */
export function argumentsSchema(
  properties: Readonly<Record<string, JsonObject>>,
  optional: readonly string[] = [],
): JsonObject {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", properties, required, additionalProperties: false };
}
