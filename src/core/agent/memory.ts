import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { z } from "zod";
import { parseJson } from "../text/text.ts";

// What is only remembered, in a file of the data directory: without it everything is done or learned again.

/** As for other documents of the data directory; a larger one is of another program. */
const maxBytes = 4 * 1024 * 1024;

/** What `remember` wrote; null: nothing that can be read. Never throws. */
export function recalled<T>(file: string, schema: z.ZodType<T>): T | null {
  try {
    const text = readFileSync(file, "utf8");
    return text.length > maxBytes ? null : (schema.safeParse(parseJson(text)).data ?? null);
  } catch {
    return null;
  }
}

/** Replaces the file. Where it cannot be written none is left: one that is out of date would be worse. */
export function remember(file: string, value: unknown): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    const draft = `${file}.new`;
    writeFileSync(draft, JSON.stringify(value), { mode: 0o600 });
    renameSync(draft, file);
  } catch {
    rmSync(file, { force: true });
  }
}
