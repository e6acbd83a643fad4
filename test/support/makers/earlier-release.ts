import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/**
 * What an earlier commit packs, below the temporary directory and kept for later runs: its sources and programs, on the
 * packages of this checkout, called `version`. null: the history does not reach back to it.
 */
export function earlierRelease(commit: string, version: string): string | null {
  // Each checkout has its own: it leads to the packages there, which another one may have lost.
  const checkout = createHash("sha256").update(root).digest("hex").slice(0, 8);
  const dir = join(tmpdir(), `symphony-release-${commit}-${version}-${checkout}`);
  if (existsSync(dir)) return dir;
  const git = (...args: readonly string[]) =>
    execFileSync("git", ["-C", root, ...args], { maxBuffer: 2 ** 28, stdio: "pipe" });
  try {
    git("cat-file", "-e", `${commit}^{commit}`);
  } catch {
    return null;
  }
  const made = mkdtempSync(join(tmpdir(), "symphony-release-"));
  const files = git("archive", commit, "bin", "src", "package.json");
  execFileSync("tar", ["-x", "-C", made], { input: files });
  const described = join(made, "package.json");
  const facts = JSON.parse(readFileSync(described, "utf8"));
  writeFileSync(described, JSON.stringify({ ...facts, version }));
  symlinkSync(join(root, "node_modules"), join(made, "node_modules"));
  mkdirSync(join(made, "docs"));
  try {
    renameSync(made, dir);
  } catch {
    // Another test made it in the meantime.
    rmSync(made, { recursive: true });
  }
  return dir;
}
