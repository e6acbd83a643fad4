import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyPatch } from "../../../src/core/agent/openai/patch.ts";

/** A workspace to be patched, in a separate directory; disposing removes both. */
export class PatchPlace implements AsyncDisposable {
  readonly root: string;
  readonly workspace: string;

  private constructor(root: string) {
    this.root = root;
    this.workspace = join(root, "ws");
  }

  static async make(): Promise<PatchPlace> {
    const place = new PatchPlace(await realpath(await mkdtemp(join(tmpdir(), "symphony-patch-"))));
    await mkdir(place.workspace);
    return place;
  }

  write(path: string, text: string): Promise<void> {
    return writeFile(join(this.workspace, path), text);
  }

  read(path: string): Promise<string> {
    return readFile(join(this.workspace, path), "utf8");
  }

  apply(...lines: string[]) {
    return applyPatch(this.workspace, ["*** Begin Patch", ...lines, "*** End Patch"].join("\n"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}
