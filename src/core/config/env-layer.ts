import type { Layer } from "./layers.ts";
import { isMap, writtenKeys } from "./schema.ts";

const pattern = /^SYMPHONY_([A-Z0-9]+(?:_[A-Z0-9]+)*)__([A-Z0-9_]+)$/;

/** The variable that sets a dotted key, such as `SYMPHONY_AGENT__MAX_TURNS`. */
export function variableOf(path: string): string {
  return `SYMPHONY_${path.replaceAll(".", "__").toUpperCase()}`;
}

/**
 * The layer of `SYMPHONY_<SECTION>__<KEY>` variables; a further `__` goes one map deeper. A value is read
 * as JSON where its key takes that, else as text. An empty variable counts as unset.
 */
export function envLayer(env: Readonly<Record<string, string | undefined>>): Layer {
  let values: Record<string, unknown> = {};
  for (const name of Object.keys(env).sort()) {
    const text = env[name];
    const match = pattern.exec(name);
    if (!match || text === undefined || text === "") continue;
    const path = `${match[1]}__${match[2]}`.toLowerCase().split("__");
    values = withValue(values, path, readValue(text, path.join(".")));
  }
  return { origin: "env", values };
}

function readValue(text: string, path: string): unknown {
  const value = fromJson(text);
  const field = writtenKeys.get(path);
  // A name that happens to be a number is still a name where only text will do.
  const isText = field && !field.safeParse(value).success && field.safeParse(text).success;
  return isText ? text : value;
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function withValue(
  values: Readonly<Record<string, unknown>>,
  path: readonly string[],
  value: unknown,
): Record<string, unknown> {
  const [key, ...rest] = path;
  if (key === undefined) return { ...values };
  const below = Object.hasOwn(values, key) ? values[key] : undefined;
  const child = rest.length === 0 ? value : withValue(isMap(below) ? below : {}, rest, value);
  // Unlike an assignment, this keeps a key such as `__proto__` as a key, to be refused later.
  return Object.fromEntries([...Object.entries(values), [key, child]]);
}
