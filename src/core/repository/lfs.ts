import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  realpath,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { findProgram } from "../process/find-program.ts";
import { remoteEnvironment } from "./credential.ts";
import { GitFailure, openOwnDir, runGit } from "./git.ts";
import { type Refusal, type RemoteOrder, refusalIn } from "./push.ts";

// Files of git LFS: a commit holds a pointer, and a server of the repository the content.
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md

/** What a commit has in place of a file's content. */
export interface Pointer {
  /** SHA-256 of the content, in hex. */
  readonly oid: string;
  readonly bytes: number;
}

/** A larger blob is no pointer. */
export const maxPointerBytes = 1_024;
const pointerForm =
  /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n$/;

/** The pointer that a blob is; null: it is another text. */
export function pointerIn(text: string): Pointer | null {
  const [, oid, bytes] = pointerForm.exec(text) ?? [];
  return oid === undefined ? null : { oid, bytes: Number(bytes) };
}

export function pointerText({ oid, bytes }: Pointer): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${bytes}\n`;
}

/** Why git LFS cannot be used here, with what to do; null: it can. */
export async function missingLfs(
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly message: string; readonly hint: string } | null> {
  if ((await findProgram("git-lfs", env["PATH"] ?? "")) !== null) return null;
  const hint = "install git-lfs (apt-get install git-lfs, or brew install git-lfs)";
  return { message: "the program git-lfs was not found", hint };
}

/** The contents that the workspaces of one mirror read; only symphony writes them. */
export class LfsStore {
  /** What git LFS calls its storage. */
  readonly dir: string;

  /** @param mirror path of the mirror's repository */
  constructor(mirror: string) {
    this.dir = join(mirror, "lfs");
  }

  pathOf({ oid }: Pick<Pointer, "oid">): string {
    return join(this.dir, "objects", oid.slice(0, 2), oid.slice(2, 4), oid);
  }

  async has(pointer: Pointer): Promise<boolean> {
    const found = await lstat(this.pathOf(pointer)).catch(() => null);
    return found?.isFile() === true && found.size === pointer.bytes;
  }

  /** Whether it is there; of a remote on this disk git LFS has made a link, which becomes a copy. */
  async own(pointer: Pointer): Promise<boolean> {
    const file = this.pathOf(pointer);
    const found = await lstat(file).catch(() => null);
    if (!found?.isFile() || found.size !== pointer.bytes) return false;
    if (found.nlink === 1) return true;
    const linked = `${file}.linked`;
    await rename(file, linked);
    try {
      return await this.add(linked, pointer);
    } finally {
      await rm(linked, { force: true });
    }
  }

  /**
   * Copies the content that the agent's own git LFS has put into the workspace's `gitDir`; false: it is not there, or
   * another one. Nothing is read through a link, which could lead to the store of another repository.
   */
  async take(gitDir: string, pointer: Pointer, signal?: AbortSignal): Promise<boolean> {
    if (await this.has(pointer)) return true;
    if (pointer.bytes > maxContentBytes) return false;
    const file = agentsContent(gitDir, pointer);
    const real = await realpath(gitDir).catch(() => null);
    if (real === null || (await realpath(file).catch(() => null)) !== agentsContent(real, pointer))
      return false;
    return this.add(file, pointer, signal);
  }

  /** Copies the content from `file`; false: it is not there, or another one. Rejects with the signal's reason. */
  async add(file: string | Buffer, pointer: Pointer, signal?: AbortSignal): Promise<boolean> {
    if (await this.has(pointer)) return true;
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const from = await open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => null);
    if (from === null) return false;
    await using source = from;
    const found = await source.stat();
    if (!found.isFile() || found.size !== pointer.bytes) return false;
    const to = this.pathOf(pointer);
    const temporary = join(this.dir, "tmp", randomUUID());
    await mkdir(dirname(temporary), { recursive: true });
    try {
      await using copy = await open(temporary, "wx", 0o444);
      const { oid, bytes } = await hashOf(source, { to: copy, atMost: pointer.bytes, signal });
      if (oid !== pointer.oid || bytes !== pointer.bytes) return false;
      await copy.sync();
      await mkdir(dirname(to), { recursive: true });
      await rename(temporary, to);
      return true;
    } finally {
      await rm(temporary, { force: true });
    }
  }
}

/** The contents of git LFS that a workspace reads. */
export interface Contents {
  readonly store: LfsStore;
  /** Puts those into the store that it lacks. Rejects with `LfsFailure`. */
  ensure(pointers: readonly Pointer[]): Promise<void>;
}

/** Where an agent's own git LFS has put the content. */
export function agentsContent(gitDir: string, { oid }: Pointer): string {
  return join(gitDir, "lfs", "objects", oid.slice(0, 2), oid.slice(2, 4), oid);
}

const chunkBytes = 1024 * 1024;
/** A larger content of an agent is not taken: sites have limits below it. */
const maxContentBytes = 16 * 1024 ** 3;

interface Hashing {
  /** Gets a copy. */
  readonly to?: FileHandle;
  /** What is longer is not read to its end. */
  readonly atMost?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What the pointer to the content of a regular file would be. */
export async function hashOf(
  from: FileHandle,
  { to, atMost = Number.POSITIVE_INFINITY, signal }: Hashing = {},
): Promise<Pointer> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(chunkBytes);
  let bytes = 0;
  if (!(await from.stat()).isFile()) return { oid: "", bytes };
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await from.read(buffer, 0, chunkBytes, null);
    if (bytesRead === 0 || bytes > atMost) return { oid: hash.digest("hex"), bytes };
    const chunk = buffer.subarray(0, bytesRead);
    hash.update(chunk);
    await to?.writeFile(chunk);
    bytes += bytesRead;
  }
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
  for (const one of pointers) if (!(await store.has(one))) missing.set(one.oid, one);
  if (missing.size === 0) return;
  const refusal = await withLfs(order, store, async (call, dir) => {
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
  if (refusal !== null) throw new LfsFailure(refusal);
  for (const one of missing.values()) {
    if (await store.own(one)) continue;
    const reason = `the server has no content for ${one.oid.slice(0, 12)}`;
    throw new LfsFailure({ category: "not_found", final: false, reason });
  }
}

const atOnce = 100;

/** Gives the remote the contents, as far as it lacks them. Returns the refusal; null: it has them. */
export async function pushLfs(
  order: RemoteOrder,
  store: LfsStore,
  pointers: readonly Pointer[],
): Promise<Refusal | null> {
  if (pointers.length === 0) return null;
  return withLfs(order, store, async (call) => {
    const ids = [...new Set(pointers.map(({ oid }) => oid))];
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
  order: RemoteOrder & { onLine?(line: string): void },
  store: LfsStore,
  work: (call: Call, dir: string) => Promise<Refusal | null>,
): Promise<Refusal | null> {
  const { address, credential, env, runId, timeoutMs, signal, clock, onLine } = order;
  await using own = await openOwnDir(null, null);
  // In the file, and without GIT_DIR: for a remote on this disk git LFS starts itself in that repository.
  await writeFile(join(own.dir, "config"), configOf(address.address, store.dir));
  const call: Call = async (args, input) => {
    const lines: string[] = [];
    try {
      const { status, stdout, said } = await runGit({
        args,
        cwd: own.dir,
        env: remoteEnvironment(env, address, { credential, runId }),
        ...{ timeoutMs, signal },
        ...(clock && { clock }),
        ...(input !== undefined && { input }),
        onLine(line) {
          if (lines.length < maxLines) lines.push(line);
          onLine?.(line);
        },
      });
      if (status === 0) return null;
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
`;
}
