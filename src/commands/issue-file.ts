import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import type { IssueDraft } from "./issue-desk.ts";

/** The issue that a Markdown file describes. Rejects with `usage` for a file that cannot be read. */
export async function draftFromFile(path: string, { cwd }: CommandContext): Promise<IssueDraft> {
  const file = resolve(cwd, path);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new SymphonyError("usage", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  });
  const { draftFromMarkdown } = await import("./offline.ts");
  return draftFromMarkdown(text);
}
