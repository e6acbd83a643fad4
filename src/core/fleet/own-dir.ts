import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, systemCodeOf } from "../model/errors.ts";
import { killRun, runIdOf } from "../process/table.ts";
import { deleteTree } from "../workspace/deletion.ts";

/** Written at the start of a worker's process, and removed at its own end. */
const markName = "running";

/** The directory of a worker, which its process has locked. */
export class OwnDir {
  readonly #dir: string;
  /** The beginning of the cookie of every process that belongs to it. */
  readonly runId: string;
  readonly workspaceRoot: string;
  /** The process before this one was killed, or its machine died. */
  afterDeath = false;

  constructor(dir: string) {
    this.#dir = dir;
    this.runId = runIdOf(dir, "").slice(0, -1);
    this.workspaceRoot = join(dir, "workspaces");
  }

  /** Ends what an earlier process has left, and deletes its copies: nothing in them was promised to anyone. */
  async enter(log: (message: string, fields: Readonly<Record<string, unknown>>) => void) {
    await this.endProcesses();
    try {
      await writeFile(join(this.#dir, markName), "", { flag: "wx" });
    } catch (error) {
      this.afterDeath = systemCodeOf(error) === "EEXIST";
    }
    await deleteTree(this.workspaceRoot).catch((error: unknown) => {
      const facts = { path: this.workspaceRoot, reason: messageOf(error) };
      log("old workspaces could not be deleted", facts);
    });
  }

  /** Ends every process of an agent of it. */
  async endProcesses(): Promise<void> {
    await killRun(this.runId);
  }

  async leave(): Promise<void> {
    await rm(join(this.#dir, markName), { force: true });
  }
}
