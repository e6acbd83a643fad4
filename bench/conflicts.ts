import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conflictsAmong } from "../src/core/repository/conflicts.ts";

// How long 50 branches that all change one file take to compare, 1,225 pairs: `node bench/conflicts.ts`.

const branches = 50;
const files = 2_000;
const dir = mkdtempSync(join(tmpdir(), "symphony-bench-"));
const git = (...args: string[]) =>
  execFileSync("git", ["-C", dir, "-c", "user.name=b", "-c", "user.email=b@b", ...args], {
    encoding: "utf8",
  }).trim();
const lines = Array.from({ length: 200 }, (_, at) => `${at}\n`);

try {
  git("init", "-q", "-b", "main");
  for (let at = 0; at < files; at++) writeFileSync(join(dir, `f${at}`), lines.join(""));
  git("add", "-A");
  git("commit", "-q", "-m", "base");
  const base = git("rev-parse", "HEAD");
  const heads = Array.from({ length: branches }, (_, at) => {
    git("checkout", "-q", "-B", "work", base);
    writeFileSync(join(dir, "f0"), lines.toSpliced(at * 2, 1, "changed\n").join(""));
    writeFileSync(join(dir, `f${at + 1}`), "own\n");
    git("commit", "-qam", `${at}`);
    return { name: `${at}`, head: git("rev-parse", "HEAD") };
  });
  const order = { gitDir: join(dir, ".git"), base, branches: heads, cache: new Map() };
  for (const name of ["first", "again"]) {
    const from = performance.now();
    const pairs = await conflictsAmong({ ...order, signal: new AbortController().signal });
    const ms = Math.round(performance.now() - from);
    process.stdout.write(`${name}: ${pairs.length} pairs in ${ms} ms\n`);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
