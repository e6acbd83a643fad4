import { lstat, opendir } from "node:fs/promises";
import type { IssueStatus } from "../model/issue.ts";
import type { Work } from "../model/work.ts";
import { gitHead } from "../repository/survey.ts";
import type { Kept } from "./kept.ts";

/** One workspace, as an operator sees it. */
export interface WorkspaceFacts {
  readonly key: string;
  readonly path: string;
  /** null if no issue is known for it. */
  readonly issueIdentifier: string | null;
  readonly status: IssueStatus | null;
  readonly inUse: boolean;
  /** null until it has been measured. */
  readonly diskBytes: number | null;
  readonly branch: string | null;
  /** Whether it holds work that is nowhere else; null if that is not known. */
  readonly dirty: boolean | null;
  /** The work that it holds, as last examined; null before that. */
  readonly work: readonly Work[] | null;
  /** Its issue has ended, and it is kept for the work it holds. */
  readonly kept: Kept | null;
  readonly createdAt: number;
  readonly lastUsedAt: number;
}

/** What is read from the directory itself; times in ms since the epoch. */
interface Inspection {
  readonly branch: string | null;
  readonly isEmpty: boolean;
  readonly createdAt: number;
  readonly changedAt: number;
}

/** Reads the directory of a workspace, and nothing below it; null if there is none. */
export async function inspect(path: string): Promise<Inspection | null> {
  const found = await lstat(path).catch(() => null);
  if (!found?.isDirectory()) return null;
  const [head, empty] = await Promise.all([gitHead(path), isEmpty(path)]);
  return {
    branch: head?.branch ?? null,
    isEmpty: empty,
    // Some file systems do not record the time of birth.
    createdAt: found.birthtimeMs || found.ctimeMs,
    changedAt: found.mtimeMs,
  };
}

/** A directory that cannot be read counts as not empty. */
async function isEmpty(path: string): Promise<boolean> {
  try {
    await using dir = await opendir(path);
    return (await dir.read()) === null;
  } catch {
    return false;
  }
}
