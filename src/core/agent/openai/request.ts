import { SymphonyError } from "../../model/errors.ts";
import type { JsonObject } from "../../text/text.ts";
import type { Quirks } from "../agent.ts";
import type { OpenaiConfig } from "./settings.ts";

/** How the body of a request differs from the API's own form: by the settings, and by what was learned. */
export interface Shape extends Pick<Quirks, "omit" | "newMaxTokens"> {
  readonly extraBody: JsonObject;
}

export function shapeOf(config: OpenaiConfig, quirks: Quirks): Shape {
  const omit = [...new Set([...config.omit, ...quirks.omit])];
  return { omit, newMaxTokens: quirks.newMaxTokens, extraBody: config.extraBody };
}

/** The body as it is sent. A part that the settings add is sent although it is to be left out. */
export function shaped<T extends object>(body: T, { omit, extraBody }: Shape): T {
  // The settings decide about the form; the compiler knows only the API's own.
  return { ...withoutNames(body, omit), ...extraBody } as T;
}

export function withoutNames(values: object, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(values).filter(([name]) => !names.includes(name)));
}

/** What is left out where a provider or its model takes no images: they are parts of a message. */
export const imagePart = "image_url";

/** The parts of a request that it also works without. */
export const optionalParts = [
  imagePart,
  "stream_options",
  "max_completion_tokens",
  "max_output_tokens",
  "max_tokens",
  "prompt_cache_key",
  "parallel_tool_calls",
  "reasoning_effort",
  "reasoning_content",
  "reasoning_details",
  "reasoning",
  "store",
] as const;

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** A reasoning effort that the provider supports. Throws `provider_error` for any other value. */
export function effortOf(written: string | null): (typeof efforts)[number] | null {
  if (written === null) return null;
  const found = efforts.find((effort) => effort === written.trim().toLowerCase());
  if (found) return found;
  throw new SymphonyError(
    "provider_error",
    `there is no reasoning effort ${written.slice(0, 50)}`,
    {
      hint: `it must be one of ${efforts.join(", ")}`,
    },
  );
}

const prefix = "x-ratelimit-";
const maxWindows = 20;

/**
 * The values of the provider's `x-ratelimit-` headers, by the rest of their name; null without any.
 */
export function limitsOf(headers: Headers): JsonObject | null {
  const found = [...headers]
    .filter(([name]) => name.startsWith(prefix))
    .slice(0, maxWindows)
    .map(([name, value]): [string, string | number] => {
      const number = /^\d+$/.test(value) ? Number(value) : null;
      return [name.slice(prefix.length).replaceAll("-", "_"), number ?? value.slice(0, 100)];
    });
  return found.length === 0 ? null : Object.fromEntries(found);
}
