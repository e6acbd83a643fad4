import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const source = join(import.meta.dirname, "failing-disk.c");

/** Whether programs can be run with other calls of the C library than its own. */
export const canFail = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;

/** Files below `dir` on a disk that refuses the calls that `switchFile` names (`failing-disk.c`), for programs with `env`. */
export class FailingDisk {
  readonly env: Readonly<Record<string, string>>;
  readonly switchFile: string;

  /** `place` is an existing directory outside of `dir` for its own files. */
  constructor(dir: string, place: string) {
    const library = join(place, "failing-disk.so");
    const made = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]);
    if (made.status !== 0) throw new Error(String(made.stderr));
    this.switchFile = join(place, "switch");
    writeFileSync(this.switchFile, Buffer.alloc(4_096));
    this.env = {
      LD_PRELOAD: library,
      FAILING_DIR: dir,
      FAILING_SWITCH: this.switchFile,
    };
  }
}
