import { randomUUID } from "node:crypto";
import { lstat, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { findProgram } from "../process/find-program.ts";
import { refusedVariable, remoteEnvironment } from "./credential.ts";
import { GitFailure, openOwnDir, runGit } from "./git.ts";
import { type LfsStore, type Pointer, pointerText } from "./lfs-store.ts";
import { pushingPrefix } from "./mirror.ts";
import { type Refusal, type RemoteOrder, refusalIn } from "./push.ts";

// Files of git LFS: a commit holds a pointer, and a server of the repository the content.
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md

/** Why git LFS cannot be used here, with what to do; null: it can. */
export async function missingLfs(
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly message: string; readonly hint: string } | null> {
  if ((await findProgram("git-lfs", env["PATH"] ?? "")) !== null) return null;
  const hint = "install git-lfs (apt-get install git-lfs, or brew install git-lfs)";
  return { message: "the program git-lfs was not found", hint };
}

/** The contents of git LFS that a workspace reads. */
export interface Contents {
  readonly store: LfsStore;
  /** Puts those into the store that it lacks. Rejects with `LfsFailure`. */
  ensure(pointers: readonly Pointer[]): Promise<void>;
}

/** Contents that could not be fetched; `said` is the end of the messages. */
export class LfsFailure extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.reason);
    this.name = "LfsFailure";
    this.refusal = refusal;
  }
}

/** One fetch at a time for each store: what several workspaces need is fetched once. */
const fetching = new Map<string, Promise<void>>();

/** Fetches the contents that the store lacks. Rejects with `LfsFailure`, `git_not_found` or the signal's reason. */
export async function fetchLfs(
  order: RemoteOrder & { onLine?(line: string): void },
  store: LfsStore,
  pointers: readonly Pointer[],
): Promise<void> {
  const earlier = fetching.get(store.dir) ?? Promise.resolve();
  const own = earlier
    .catch(() => {})
    .then(() => {
      order.signal.throwIfAborted();
      return fetchMissing(order, store, pointers);
    });
  fetching.set(store.dir, own);
  const forget = () => {
    if (fetching.get(store.dir) === own) fetching.delete(store.dir);
  };
  own.then(forget, forget);
  await unlessAborted(own, order.signal);
}

/** A waiter whose time is up does not wait for the fetch of another one. */
async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
    aborted.promise.catch(() => {});
  }
}

async function fetchMissing(
  order: RemoteOrder & { onLine?(line: string): void },
  store: LfsStore,
  pointers: readonly Pointer[],
): Promise<void> {
  const missing = new Map<string, Pointer>();
  for (const one of pointers) if ((await store.find(one)) === null) missing.set(one.oid, one);
  if (missing.size === 0) return;
  const largest = Math.max(...[...missing.values()].map(({ bytes }) => bytes));
  const limited = { ...order, maxFileBytes: largest + spareBytes };
  const refusal = await withLfs(limited, store.dir, async (call, dir) => {
    // Git LFS reads what to fetch from a commit: one of symphony's own has these pointers and nothing else.
    const files = [...missing.values()].map((one, at) => {
      const text = pointerText(one);
      return `M 100644 inline f${at}\ndata ${text.length}\n${text}`;
    });
    const commit = `commit refs/heads/wanted\ncommitter s <s> 0 +0000\ndata 0\n${files.join("\n")}\n`;
    await writeFile(join(dir, "HEAD"), "ref: refs/heads/none\n");
    return (
      (await call(["fast-import", "--quiet"], commit)) ??
      (await call(["lfs", "fetch", "origin", "refs/heads/wanted"]))
    );
  });
  if (refusal !== null) {
    let why = refusal;
    for (const one of missing.values()) {
      if (!(await store.dropOverlong(one))) continue;
      const reason = `the server sends more than ${one.bytes} bytes for ${one.oid.slice(0, 12)} (git LFS)`;
      why = { category: "other", final: false, reason };
    }
    throw new LfsFailure(why);
  }
  for (const one of missing.values()) {
    if (await store.own(one)) continue;
    const reason = `the server has no content for ${one.oid.slice(0, 12)}`;
    throw new LfsFailure({ category: "not_found", final: false, reason });
  }
}

/** A server may send more than the pointers say, without an end: so much is written, and not more. */
const spareBytes = 1024 * 1024;
const atOnce = 100;

/**
 * Gives the remote the contents, as far as it lacks them; those of the workspace are in the mirror then. Returns the
 * refusal; null: it has them.
 */
export async function pushLfs(
  order: RemoteOrder,
  store: LfsStore,
  pointers: readonly Pointer[],
): Promise<Refusal | null> {
  const shared: Pointer[] = [];
  const staged: Pointer[] = [];
  // Next to the mirrors: agents can read what is in one.
  const stage = join(dirname(dirname(dirname(store.dir))), `${pushingPrefix}${randomUUID()}`);
  try {
    for (const one of new Map(pointers.map((pointer) => [pointer.oid, pointer])).values()) {
      if (await store.own(one)) shared.push(one);
      else if (await store.stage(stage, one, order.signal)) staged.push(one);
      else {
        const reason = `the content of ${one.oid.slice(0, 12)} is not here (git LFS)`;
        return { category: "other", final: true, reason };
      }
    }
    const refusal =
      (await pushFrom(order, store.dir, shared)) ?? (await pushFrom(order, stage, staged));
    if (refusal !== null) return refusal;
    for (const one of staged) await store.share(stage, one);
    return null;
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

async function pushFrom(
  order: RemoteOrder,
  storage: string,
  pointers: readonly Pointer[],
): Promise<Refusal | null> {
  if (pointers.length === 0) return null;
  return withLfs(order, storage, async (call) => {
    const ids = pointers.map(({ oid }) => oid);
    for (let at = 0; at < ids.length; at += atOnce) {
      const some = ids.slice(at, at + atOnce);
      const refusal = await call(["lfs", "push", "--object-id", "origin", ...some]);
      if (refusal !== null) return refusal;
    }
    return null;
  });
}

type Call = (args: readonly string[], input?: string) => Promise<Refusal | null>;

/**
 * Git LFS in a repository of symphony's own: no `.lfsconfig`, no setting and no filter of another one is
 * read, so the server is the one of the address.
 */
async function withLfs(
  order: RemoteOrder & { onLine?(line: string): void; readonly maxFileBytes?: number },
  storage: string,
  work: (call: Call, dir: string) => Promise<Refusal | null>,
): Promise<Refusal | null> {
  const { address, credential, env, runId, timeoutMs, signal, clock, onLine, maxFileBytes } = order;
  await using own = await openOwnDir(null, null);
  // In the file, and without GIT_DIR: for a remote on this disk git LFS starts itself in that repository.
  await writeFile(join(own.dir, "config"), configOf(address.address, storage));
  const refused = join(own.dir, "refused");
  const call: Call = async (args, input) => {
    const lines: string[] = [];
    try {
      const { status, stdout, said } = await runGit({
        args,
        cwd: own.dir,
        env: {
          ...remoteEnvironment(env, address, { credential, runId }),
          [refusedVariable]: refused,
        },
        ...{ timeoutMs, signal },
        ...(clock && { clock }),
        ...(maxFileBytes !== undefined && { maxFileBytes }),
        ...(input !== undefined && { input }),
        onLine(line) {
          if (lines.length < maxLines) lines.push(line);
          onLine?.(line);
        },
      });
      if (status === 0) return null;
      if ((await lstat(refused).catch(() => null)) !== null)
        return {
          category: "permission",
          final: false,
          reason: "the credential was refused (git LFS)",
        };
      const all = [...lines, ...said.split(/[\r\n]+/).slice(-2), ...stdout.split("\n")];
      return refusalIn(all, causeIn(all), credential);
    } catch (error) {
      if (!(error instanceof GitFailure)) throw error;
      return refusalIn([...lines, "fatal: the connection timed out"], null, credential);
    }
  };
  return await work(call, own.dir);
}

const maxLines = 500;

/** The line with the cause; the last one only says that something failed. */
function causeIn(lines: readonly string[]): string | null {
  const isCause = /^error transferring|\[\d{3}\]|batch response:|LFS:|is locked|missing/i;
  return lines.find((line) => isCause.test(line))?.trim() ?? null;
}

function configOf(address: string, storage: string): string {
  const text = (value: string) => `"${value.replaceAll(/["\\]/g, "\\$&")}"`;
  return `[core]
\trepositoryformatversion = 0
\tbare = true
[remote "origin"]
\turl = ${text(address)}
[lfs]
\tstorage = ${text(storage)}
\tbasictransfersonly = true
\tlocksverify = false
[lfs "transfer"]
\tmaxretries = 2
\tmaxretrydelay = 2
`;
}
