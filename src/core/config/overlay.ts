import type { Problem } from "./finding.ts";
import { refusedKeysIn } from "./layers.ts";
import { invalidConfig, isMap } from "./schema.ts";
import { type Known, refusedStrangers } from "./unknown-keys.ts";

/** The operator's overrides of the workflow file, in the written form. */
export type Overlay = Readonly<Record<string, unknown>>;

const deepest = 32;
/** Keys whose text is a credential. */
export const credentialKey = /(?:^|_)(?:api_?key|token|password|secret)$/i;
const reference = /^\$[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Refuses what an overlay must not hold, whatever the other layers say: unknown keys (except under `tracker.provider` and
 * those that begin with `x-`), keys such as `__proto__`, a plain credential. Throws `invalid_config`, naming every path.
 */
export function checkOverlay(overlay: Overlay, known: Known): void {
  if (isDeeper(overlay, deepest)) {
    throw invalidConfig([
      { path: "", message: `the overlay goes more than ${deepest} levels deep` },
    ]);
  }
  const problems = [
    ...refusedKeysIn(overlay),
    ...refusedStrangers(overlay, known),
    ...credentialsIn(overlay),
  ];
  if (problems.length > 0) throw invalidConfig(problems);
}

/** The overlay without the value at a dotted path and without maps this leaves empty; null when there is no such value. */
export function withoutPath(overlay: Overlay, path: string): Overlay | null {
  if (Object.hasOwn(overlay, path)) return without(overlay, path);
  // A key may itself contain dots, as the name of a state may.
  const ways = Object.keys(overlay).filter((key) => path.startsWith(`${key}.`));
  for (const key of ways.sort((a, b) => b.length - a.length)) {
    const below = overlay[key];
    const rest = isMap(below) ? withoutPath(below, path.slice(key.length + 1)) : null;
    if (rest === null) continue;
    return Object.keys(rest).length === 0 ? without(overlay, key) : { ...overlay, [key]: rest };
  }
  return null;
}

/** `values` with every plain credential replaced, and every text passed through `redact`. */
export function withoutCredentials(
  values: Readonly<Record<string, unknown>>,
  redact: (text: string) => string,
): Record<string, unknown> {
  const entries = Object.entries(values).map(([key, value]) => [
    key,
    isCredential(key, value) ? "[redacted]" : shown(value, redact),
  ]);
  return Object.fromEntries(entries);
}

function shown(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === "string") return redact(value);
  if (Array.isArray(value)) return value.map((item) => shown(item, redact));
  return isMap(value) ? withoutCredentials(value, redact) : value;
}

function without(overlay: Overlay, key: string): Overlay {
  return Object.fromEntries(Object.entries(overlay).filter(([name]) => name !== key));
}

/** The overlay is shown unchanged to every operator, so it may hold only names of secrets. */
function credentialsIn(values: Overlay, path: readonly string[] = []): readonly Problem[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const at = [...path, key];
    if (isMap(value)) return credentialsIn(value, at);
    const message = "must name a secret or a variable, as in $TRACKER_API_KEY";
    return isCredential(key, value) ? [{ path: at.join("."), message }] : [];
  });
}

function isCredential(key: string, value: unknown): boolean {
  if (typeof value !== "string" || value.trim() === "") return false;
  return credentialKey.test(key.trim()) && !reference.test(value.trim());
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
}
