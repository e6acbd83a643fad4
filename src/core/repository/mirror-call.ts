import { remoteEnvironment } from "./credential.ts";
import { type GitResult, runGit } from "./git.ts";
import type { RemoteOrder } from "./push.ts";

// Calls of git that read a remote into its mirror.

const maxListBytes = 64 * 1024 * 1024;

export interface FetchOrder extends RemoteOrder {
  /** Commits of each branch for the first fetch; null: all. */
  readonly depth: number | null;
  /** Receives each line of git's progress. */
  onLine?(line: string): void;
}

/** Git refused; `said` is the end of its messages. */
export class MirrorFailure extends Error {
  readonly result: GitResult;

  constructor(args: readonly string[], result: GitResult) {
    super(`git ${args[0] ?? ""} failed: ${result.said.trim()}`);
    this.name = "MirrorFailure";
    this.result = result;
  }
}

/** A call that reaches the remote; the address goes between `args` and `what`. */
export async function remoteCall(
  { address, credential, env, runId, timeoutMs, signal, clock, onLine }: FetchOrder,
  dir: string,
  [verb = "", ...flags]: readonly string[],
  what: readonly string[],
): Promise<GitResult> {
  const args = [verb, ...flags, "--", address.address, ...what];
  const result = await runGit({
    args,
    cwd: dir,
    // Nothing above the directory is taken for a repository.
    env: { ...remoteEnvironment(env, address, { credential, runId }), GIT_DIR: dir },
    timeoutMs,
    outputBytes: maxListBytes,
    signal,
    ...(clock && { clock }),
    ...(onLine && { onLine }),
  });
  if (result.status !== 0) throw new MirrorFailure(args, result);
  return result;
}

/** A call that may fail: null then. */
export function unlessAborted(error: unknown): null {
  if (error instanceof MirrorFailure) return null;
  throw error;
}
