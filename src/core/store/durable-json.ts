import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Adapter } from "lowdb";
import { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import { backupOf, writeDurably } from "./durable-file.ts";
import { newerVersion, storageUnavailable } from "./storage-errors.ts";

const Envelope = z.strictObject({
  version: z.number().int(),
  sha256: z.string(),
  data: z.unknown(),
});

/**
 * lowdb adapter for one document in `file`: every write is on disk when it resolves. `read` gives null only when the
 * document was never written; an empty, cut or altered file rejects with `storage_corrupt`, an unreadable one too.
 */
export function durableJson<T>(file: string, version: number, schema: z.ZodType<T>): Adapter<T> {
  return {
    async read() {
      const text = await readText(file);
      return text === null ? null : parse(text, { file, version, schema });
    },
    async write(data) {
      await writeDurably(file, `${JSON.stringify({ version, sha256: digest(data), data })}\n`);
    },
  };
}

async function readText(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (!isMissing(error)) throw corrupt(file, "it cannot be read", error);
  }
  const previous = await readFile(backupOf(file)).catch(() => null);
  if (previous !== null) throw corrupt(file, "it is gone, but its previous copy is there");
  return null;
}

function parse<T>(
  text: string,
  target: { file: string; version: number; schema: z.ZodType<T> },
): T {
  const { file, version, schema } = target;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw corrupt(file, text === "" ? "it is empty" : "it is not whole JSON", error);
  }
  const envelope = Envelope.safeParse(json);
  if (!envelope.success) throw corrupt(file, "it does not look like one of symphony's documents");
  if (envelope.data.version > version) throw newerVersion(file, envelope.data.version);
  if (envelope.data.sha256 !== digest(envelope.data.data)) {
    throw corrupt(file, "its content does not match its checksum");
  }
  const data = schema.safeParse(envelope.data.data);
  if (data.success) return data.data;
  const issue = data.error.issues[0];
  throw corrupt(file, `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
}

function corrupt(file: string, why: string, cause?: unknown): SymphonyError {
  const backup = backupOf(file);
  const hint = existsSync(backup)
    ? `Look at ${backup}, the copy before the last change, and put it in place by hand`
    : `Put it back from a backup, or start without it: mv '${file}' '${file}.aside'`;
  return new SymphonyError("storage_corrupt", `Cannot load ${file}: ${why}`, {
    cause,
    details: { file, backup },
    hint,
  });
}

/** Removes what a crash in mid-write left beside `file`; for the one process that writes it. */
export async function removeLeftovers(file: string): Promise<void> {
  const prefix = `.${basename(file)}.`;
  try {
    for (const name of await readdir(dirname(file))) {
      if (!name.startsWith(prefix) || !name.endsWith(".tmp")) continue;
      await rm(join(dirname(file), name), { force: true });
    }
  } catch (error) {
    if (!isMissing(error)) throw storageUnavailable(file, error);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function digest(data: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify(data) ?? "")
    .digest("hex");
}
