import { randomUUID } from "node:crypto";
import { constants, copyFile, link, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { systemCodeOf } from "../core/model/errors.ts";

interface Writing {
  readonly mode: number;
  /** An existing file stays as it is. */
  readonly isNew?: boolean;
}

/**
 * Writes a file as a whole: a reader, and a machine that fails meanwhile, have the old one or the new one. Resolves to false
 * when it must be new and exists.
 */
export async function writeWhole(
  target: string,
  text: string,
  { mode, isNew = false }: Writing,
): Promise<boolean> {
  const draft = join(dirname(target), `.${basename(target)}.${randomUUID()}.tmp`);
  try {
    const file = await open(draft, "wx", mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await (isNew ? link(draft, target) : rename(draft, target));
    return true;
  } catch (error) {
    if (isNew && systemCodeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Copies a file next to itself, under a name that is free; resolves to the path of the copy. */
export async function keepCopy(file: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const copy = number === 1 ? `${file}.bak` : `${file}.${number}.bak`;
    try {
      await copyFile(file, copy, constants.COPYFILE_EXCL);
      return copy;
    } catch (error) {
      if (systemCodeOf(error) !== "EEXIST") throw error;
    }
  }
}
