import { lstat, opendir } from "node:fs/promises";
import type { IssueStatus } from "../model/status.ts";
import type { Work } from "../model/work.ts";
import { gitHead } from "./git.ts";
import type { Kept } from "./kept.ts";

/** One workspace, as an operator sees it. */
export interface WorkspaceFacts {
  readonly key: string;
  readonly path: string;
  /** null where no issue is known for it. */
  readonly issueIdentifier: string | null;
  readonly status: IssueStatus | null;
  readonly inUse: boolean;
  /** null until it has been measured. */
  readonly diskBytes: number | null;
  readonly branch: string | null;
  /** Whether it holds work that is nowhere else; null where that is not known. */
  readonly dirty: boolean | null;
  /** What that is, as last looked at; null before. */
  readonly work: readonly Work[] | null;
  /** Its issue has ended, and it stays for what it holds. */
  readonly kept: Kept | null;
  readonly createdAt: number;
  readonly lastUsedAt: number;
}

/** What the directory itself says; times in ms since the epoch. */
interface Look {
  readonly branch: string | null;
  readonly isEmpty: boolean;
  readonly createdAt: number;
  readonly changedAt: number;
}

/** null where there is no directory. */
export async function lookAt(path: string): Promise<Look | null> {
  const found = await lstat(path).catch(() => null);
  if (!found?.isDirectory()) return null;
  const [head, empty] = await Promise.all([gitHead(path), isEmpty(path)]);
  return {
    branch: head?.branch ?? null,
    isEmpty: empty,
    // Not every file system keeps the time of birth.
    createdAt: found.birthtimeMs || found.ctimeMs,
    changedAt: found.mtimeMs,
  };
}

/** One that cannot be read counts as full. */
async function isEmpty(path: string): Promise<boolean> {
  try {
    await using dir = await opendir(path);
    return (await dir.read()) === null;
  } catch {
    return false;
  }
}
