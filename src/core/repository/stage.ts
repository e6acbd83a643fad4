import { createHash } from "node:crypto";
import { type BigIntStats, constants } from "node:fs";
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readlink,
  realpath,
  rm,
  symlink,
} from "node:fs/promises";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { fileAt, plainName, rawName } from "../text/text.ts";
import { partsOf } from "./checkout.ts";

/** What a file of a workspace was when it was copied. */
export interface Copied {
  readonly kind: "absent" | "file" | "link" | "directory" | "other";
  /** Differs after every write to the file. */
  readonly state: string;
  readonly bytes: number;
  readonly executable: boolean;
  /** The hash of the content as git LFS names it; empty for anything but a file. */
  readonly sha256: string;
  /** Whether the content is a pointer of git LFS. */
  readonly isPointer: boolean;
  /** How many complete conflicts of a merge are written in the content. */
  readonly conflicts: number;
}

/** A conflict in a larger file is not searched for: people do not merge such files as text. */
const maxScannedBytes = 16 * 1024 * 1024;
const maxPointerBytes = 1_024;
const pointer = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n/;
const nothing = { bytes: 0, executable: false, sha256: "", isPointer: false, conflicts: 0 };

/** Copies files out of a workspace, byte for byte, below a directory of symphony's own. */
export class Copier {
  readonly #root: string;
  readonly #real: string;
  readonly #made = new Set<string>();

  private constructor(root: string, real: string) {
    this.#root = root;
    this.#real = real;
  }

  static async of(root: string): Promise<Copier> {
    return new Copier(root, await realpath(root));
  }

  /**
   * Copies `name` (raw) to the same name below `to`; links are copied as links, never followed. Rejects
   * with `workspace_error` for a file that cannot be read, is outside of the workspace, or changes
   * while it is read.
   */
  async copy(name: string, to: string): Promise<Copied> {
    const found = await this.state(name);
    if (found.kind === "absent" || found.kind === "other" || found.kind === "directory")
      return { ...nothing, ...found };
    await this.#makeRoom(to, name);
    const at = fileAt(this.#root, name);
    try {
      const copied =
        found.kind === "link"
          ? await this.#copyLink(at, fileAt(to, name), name)
          : await this.#copyFile(at, fileAt(to, name), { name, state: found.state });
      if ((await this.state(name)).state !== found.state) throw new Error("it changes");
      return { ...copied, ...found };
    } catch (error) {
      throw unreadable(name, error);
    }
  }

  /** What stands at `name` now. */
  async state(name: string): Promise<Pick<Copied, "kind" | "state">> {
    try {
      const found = await lstat(fileAt(this.#root, name), { bigint: true });
      // A directory that has become a link: what is behind it is no longer a file of the workspace.
      if (!(await this.#isInside(name))) return { kind: "absent", state: "absent" };
      const kind = found.isSymbolicLink()
        ? "link"
        : found.isFile()
          ? "file"
          : found.isDirectory()
            ? "directory"
            : "other";
      if (kind === "directory") return { kind, state: kind };
      return { kind, state: stateOf(kind, found) };
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === "ENOENT" || code === "ENOTDIR") return { kind: "absent", state: "absent" };
      throw unreadable(name, error);
    }
  }

  /** Whether no directory on the way to `name` is a link. */
  async #isInside(name: string): Promise<boolean> {
    const above = name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
    const expected = [rawName(this.#real), above].filter((part) => part !== "").join("/");
    return (await realpath(fileAt(this.#root, above), "latin1")) === expected;
  }

  async #copyLink(from: Buffer, to: Buffer, name: string): Promise<typeof nothing> {
    if (!(await this.#isInside(name))) throw new Error(outside);
    await symlink(await readlink(from, "buffer"), to);
    return nothing;
  }

  async #copyFile(
    from: Buffer,
    to: Buffer,
    { name, state }: { readonly name: string; readonly state: string },
  ): Promise<typeof nothing> {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    await using file = await open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    // A directory on the way may have become a link: what is open is what was found, also where /proc does not tell.
    if (stateOf("file", await file.stat({ bigint: true })) !== state) throw new Error("it changes");
    const real = await realpath(`/proc/self/fd/${file.fd}`, "latin1").catch(() => null);
    if (real !== null && real !== `${rawName(this.#real)}/${name}`) throw new Error(outside);
    const { mode } = await file.stat();
    const executable = (mode & 0o100) !== 0;
    await using copy = await open(to, "wx", executable ? 0o700 : 0o600);
    return { executable, ...(await pour(file, copy)) };
  }

  /** A name whose file has become a directory, or the reverse, replaces what is there. */
  async #makeRoom(to: string, name: string): Promise<void> {
    const above = name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
    const key = `${to}\0${above}`;
    if (!this.#made.has(key)) {
      await mkdir(fileAt(to, above), { recursive: true });
      this.#made.add(key);
    }
    await rm(fileAt(to, name), { recursive: true, force: true });
  }
}

function stateOf(kind: string, { size, mtimeNs, ctimeNs, ino }: BigIntStats): string {
  return [kind, size, mtimeNs, ctimeNs, ino].join(" ");
}

const outside = "it is not inside the workspace";

async function pour(from: FileHandle, to: FileHandle) {
  const hash = createHash("sha256");
  let kept: Buffer[] = [];
  let bytes = 0;
  for await (const part of partsOf(from)) {
    const chunk = Buffer.from(part);
    hash.update(chunk);
    await to.writeFile(chunk);
    bytes += chunk.length;
    if (bytes <= maxScannedBytes) kept.push(chunk);
    else kept = [];
  }
  const text = Buffer.concat(kept).toString("latin1");
  return {
    bytes,
    sha256: hash.digest("hex"),
    isPointer: bytes <= maxPointerBytes && pointer.test(text),
    conflicts: conflictsIn(text),
  };
}

/**
 * The number of complete conflicts that a merge wrote: `<<<<<<<`, `=======` and `>>>>>>>` at the
 * beginning of lines, in this order. A line of seven equals signs alone is a heading, not a conflict.
 */
export function conflictsIn(text: string): number {
  if (!text.includes("<<<<<<< ") || text.includes("\0")) return 0;
  let found = 0;
  let expected = "<";
  for (const [line, mark] of text.matchAll(/^([<=>])\1{6}(?: .*)?\r?$/gm)) {
    if (mark === "<" && line.length > 8) expected = "=";
    else if (mark === "=" && expected === "=") expected = ">";
    else if (mark === ">" && expected === ">") {
      found += 1;
      expected = "<";
    }
  }
  return found;
}

function unreadable(name: string, cause: unknown): SymphonyError {
  const message = `nothing was committed: ${plainName(name)} cannot be read: ${messageOf(cause)}`;
  return new SymphonyError("workspace_error", message, {
    cause,
    details: { path: plainName(name) },
  });
}
