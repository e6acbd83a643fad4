import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

/**
 * The path of an installed copy of one directory of SYMPHONY_EQUIPMENT, shared by all test files. Throws when the
 * variable is not set: these tests need the programs that they test against.
 */
export function equipment(name: string): string {
  const root = process.env["SYMPHONY_EQUIPMENT"];
  if (!root) throw new Error(`SYMPHONY_EQUIPMENT must name the directory that holds ${name}`);
  const source = join(root, name);
  const version = createHash("sha256")
    .update(source)
    .update(readFileSync(join(source, "package-lock.json")))
    .update(readFileSync(join(source, "server.mjs")))
    .digest("hex")
    .slice(0, 12);
  const target = join(tmpdir(), `symphony-${userInfo().username}-${name}-${version}`);
  if (!existsSync(target)) install(source, target);
  return target;
}

/** Installs next to the target and renames, so that no test sees an incomplete copy. */
function install(source: string, target: string): void {
  const draft = mkdtempSync(`${target}-`);
  cpSync(source, draft, { recursive: true });
  execFileSync("chmod", ["-R", "u+w", draft]);
  execFileSync("npm", ["ci", "--no-audit", "--no-fund"], {
    cwd: draft,
    stdio: "pipe",
    // The suite has a separate home; npm's settings are in the user's home.
    env: { ...process.env, HOME: userInfo().homedir },
  });
  try {
    renameSync(draft, target);
  } catch (error) {
    // Another test file was faster; its copy is the same.
    rmSync(draft, { recursive: true });
    if (!existsSync(target)) throw error;
  }
}
