/** An object read from JSON, of which nothing is known yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

const none: JsonObject = Object.freeze({});

/** `value` if it is a plain object, else an empty one: so that a path can be read without checks. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : none;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
