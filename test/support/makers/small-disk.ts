import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { eventually } from "../worlds/symphony.ts";

const own = ["--user", "--map-root-user", "--mount"];

/** A directory on a separate disk of `size`; only programs that are started through `through` see it at `dir`. */
export class SmallDisk implements AsyncDisposable {
  readonly dir: string;
  readonly #holder: ChildProcess;

  private constructor(dir: string, holder: ChildProcess) {
    this.dir = dir;
    this.#holder = holder;
  }

  static async mount(dir: string, size: string): Promise<SmallDisk> {
    await mkdir(dir, { recursive: true });
    const script = 'mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && echo mounted && exec cat';
    const holder = spawn("unshare", [...own, "sh", "-c", script, "sh", size, dir], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    if (!holder.stdout) throw new Error("the holder says nothing");
    await once(holder.stdout, "data");
    return new SmallDisk(dir, holder);
  }

  /** The command line that runs `command` with this disk mounted. */
  through(command: readonly string[]): readonly string[] {
    const target = ["--target", String(this.#holder.pid), "--user", "--mount"];
    return ["nsenter", ...target, "--preserve-credentials", "--wdns=/", ...command];
  }

  /** The path of its file `name` as this process sees it. */
  path(name = ""): string {
    return join(`/proc/${this.#holder.pid}/root`, this.dir, name);
  }

  /** Fills the remaining space, except for `room` bytes. */
  fill(room = 0): void {
    this.free();
    const file = openSync(this.path("filler"), "w");
    try {
      const { bavail, bsize } = statfsSync(this.path());
      if (room > 0) writeSync(file, Buffer.alloc(Math.max(bavail * bsize - room, 0)));
      else for (const size of [65_536, 4_096, 1]) writeWhile(file, Buffer.alloc(size));
    } finally {
      closeSync(file);
    }
  }

  /**
   * Fills it so that it stays full. A server that makes a file under a temporary name meanwhile, as it makes record.db a second
   * after its first decision, gives room back with that name: this resolves when there is none, and no room either.
   */
  async fillUp(): Promise<void> {
    await eventually("the disk stays full", async () => {
      this.fill();
      const names = readdirSync(this.path(), { encoding: "utf8", recursive: true });
      return !names.some(isTemporary) && statfsSync(this.path()).bavail === 0;
    });
  }

  free(): void {
    rmSync(this.path("filler"), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.stdin?.end();
    await eventually("the disk is gone", async () => this.#holder.exitCode !== null);
  }
}

/** With the journals of SQLite next to it. */
function isTemporary(name: string): boolean {
  return /\.tmp(-\w+)?$/.test(name);
}

function writeWhile(file: number, block: Buffer): void {
  try {
    while (writeSync(file, block) === block.length);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
  }
}
