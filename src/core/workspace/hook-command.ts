import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program } from "../package.ts";
import { shellQuoted } from "../text/text.ts";

/**
 * Writes a `symphony` command below `dataDir` that starts this very program with this very Node, so that a hook
 * finds both whatever a login shell's PATH names. Returns its directory. Throws the error of the file system.
 */
export function writeHookCommand(dataDir: string): string {
  const dir = join(dataDir, "bin");
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, "symphony");
  const line = `exec ${shellQuoted(process.execPath)} ${shellQuoted(program)} "$@"`;
  writeFileSync(path, `#!/bin/sh\n${line}\n`, { mode: 0o700 });
  // The mode above holds for a new file only.
  chmodSync(path, 0o700);
  return dir;
}
