import { variableOf } from "./env-layer.ts";
import type { Layer } from "./layers.ts";
import { type ConfigProblem, isMap, isStateLimit, writtenKeys } from "./schema.ts";

const sections: ReadonlySet<string> = new Set(
  [...writtenKeys.keys()].map((path) => path.slice(0, path.indexOf("."))),
);

/** What a layer says in vain: keys nobody knows (requirement W-15) and per-state limits that are dropped (W-11). */
export function warningsOf({ origin, values }: Layer): readonly string[] {
  const shown = (path: string) => (origin === "env" ? variableOf(path) : path);
  return [
    ...unknownKeys(values, origin === "env").map(
      (path) => `${shown(path)} is not a known key and is ignored${guess(path, shown)}`,
    ),
    ...droppedLimits(values).map(
      (state) =>
        `agent.max_concurrent_agents_by_state: the limit of "${state}" is not a whole number greater than 0 and is ignored`,
    ),
  ];
}

/** The same unknown keys as reasons to refuse: an overlay is written for symphony alone. */
export function strangersIn(values: Readonly<Record<string, unknown>>): readonly ConfigProblem[] {
  return unknownKeys(values, false).map((path) => ({
    path,
    message: `is not a known key${guess(path, (known) => known)}`,
  }));
}

/** The environment belongs to many programs, so of its layer only the known keys are kept. */
export function withoutStrangers(layer: Layer): Layer {
  if (layer.origin !== "env") return layer;
  const known = Object.entries(layer.values)
    .filter(([name]) => sections.has(name))
    .map(([name, section]) => [name, isMap(section) ? knownOf(name, section) : section]);
  return { origin: "env", values: Object.fromEntries(known) };
}

/** The known name nearest to `word`, if it is near enough to be a slip. */
export function nearest(word: string, known: Iterable<string>): string | null {
  let best: { readonly name: string; readonly distance: number } | null = null;
  for (const name of known) {
    const distance = editDistance(word, name);
    const near = distance <= Math.max(1, Math.floor(name.length / 4));
    if (near && (best === null || distance < best.distance)) best = { name, distance };
  }
  return best?.name ?? null;
}

/** A variable always names a key inside a section; in a file an unknown section is one fault. */
function unknownKeys(
  values: Readonly<Record<string, unknown>>,
  areVariables: boolean,
): readonly string[] {
  const paths = Object.entries(values).flatMap(([name, section]) => {
    if (!sections.has(name) && !areVariables) return [name];
    return isMap(section) ? Object.keys(section).map((key) => `${name}.${key}`) : [];
  });
  return paths.filter(
    (path) => !sections.has(path) && !writtenKeys.has(path) && !isExtension(path),
  );
}

function knownOf(name: string, section: Readonly<Record<string, unknown>>) {
  return Object.fromEntries(
    Object.entries(section).filter(([key]) => writtenKeys.has(`${name}.${key}`)),
  );
}

/** Keys that begin with `x-` are for whoever writes the file. */
function isExtension(path: string): boolean {
  return path.split(".").some((part) => part.startsWith("x-"));
}

function guess(path: string, shown: (path: string) => string): string {
  const last = path.slice(path.lastIndexOf(".") + 1);
  const found =
    nearest(path, path.includes(".") ? writtenKeys.keys() : sections) ??
    [...writtenKeys.keys()].find((known) => known.endsWith(`.${last}`)) ??
    null;
  return found === null ? "" : `; did you mean ${shown(found)}?`;
}

function droppedLimits(values: Readonly<Record<string, unknown>>): readonly string[] {
  const { agent } = values;
  const limits = isMap(agent) ? agent["max_concurrent_agents_by_state"] : undefined;
  if (!isMap(limits)) return [];
  return Object.entries(limits).flatMap(([state, limit]) => (isStateLimit(limit) ? [] : [state]));
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
