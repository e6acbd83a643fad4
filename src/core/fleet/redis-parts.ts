import type { Part } from "./engine.ts";

// What a stream of Redis answers.

export type Entries = readonly (readonly [string, readonly { id: string; part: Part | null }[]])[];

/** The next id that a stream may have. */
export function after(id: string): string {
  const [time = "0", count = "0"] = id.split("-");
  return `${time}-${Number(count) + 1}`;
}

export function foundIn(found: unknown): Entries {
  if (!Array.isArray(found)) return [];
  return found.map((stream: unknown) => {
    const [name, entries] = Array.isArray(stream) ? stream : [];
    const read = (Array.isArray(entries) ? entries : []).map((entry: unknown) => {
      const [id, fields] = Array.isArray(entry) ? entry : [];
      return { id: String(id), part: partIn(fields) };
    });
    return [String(name), read] as const;
  });
}

function partIn(fields: unknown): Part | null {
  if (!Array.isArray(fields)) return null;
  const [, run, , seq, , isLast, , data] = fields;
  if (!Buffer.isBuffer(data)) return null;
  return { run: String(run), seq: Number(String(seq)), isLast: String(isLast) === "1", data };
}
