import { mkdir } from "node:fs/promises";
import type { Logger } from "../events/log.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { type DirectoryLock, lockRoot } from "../store/lock.ts";
import { isWorkspaceRoot, stateDirOf } from "./place.ts";

interface RootsOptions {
  readonly dataDir: string;
  readonly log: Logger;
}

/**
 * The roots of workspaces that this server uses exclusively. Two servers in one root would take
 * each other's directories, because each knows only its own agents. An earlier root stays locked
 * until the server ends.
 */
export class OwnRoots {
  readonly #options: RootsOptions;
  readonly #locks = new Map<string, Promise<DirectoryLock | null>>();

  constructor(options: RootsOptions) {
    this.#options = options;
  }

  /**
   * Locks `root`, the real path of an existing directory. Rejects with `workspace_in_use` if
   * another server has it.
   */
  async own(root: string): Promise<void> {
    const lock = this.#locks.get(root) ?? this.#take(root);
    this.#locks.set(root, lock);
    try {
      await lock;
    } catch (error) {
      // The other server may have ended before the next call.
      if (this.#locks.get(root) === lock) this.#locks.delete(root);
      throw error;
    }
  }

  /** As `own`, at the start. A root that does not exist yet is locked with its first workspace. */
  async ownPresent(root: string): Promise<void> {
    if (await isWorkspaceRoot(root)) await this.own(root);
  }

  async release(): Promise<void> {
    const locks = await Promise.allSettled(this.#locks.values());
    this.#locks.clear();
    for (const lock of locks) if (lock.status === "fulfilled") await lock.value?.release();
  }

  /** null if the file system has no locks: then other servers cannot be detected. */
  async #take(root: string): Promise<DirectoryLock | null> {
    const { dataDir, log } = this.#options;
    const stateDir = stateDirOf(root);
    try {
      await mkdir(stateDir, { recursive: true, mode: 0o700 });
      return await lockRoot(stateDir, dataDir);
    } catch (error) {
      if (error instanceof SymphonyError && error.code === "workspace_in_use") throw error;
      log.warn("the directory of workspaces cannot be locked", { root, reason: messageOf(error) });
      return null;
    }
  }
}
