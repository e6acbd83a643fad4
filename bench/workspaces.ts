import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/core/clock.ts";
import { gitConfigOf, gitSection } from "../src/core/config/git.ts";
import { cloneInto } from "../src/core/repository/clone.ts";
import { gitEnvironment, runGit } from "../src/core/repository/git.ts";
import { Mirrors } from "../src/core/repository/mirrors.ts";

// Workspaces of a repository of 100 MB in 5,000 files, until an agent can start in them: `node bench/workspaces.ts [ROUNDS]`.
// They are kept until the end, 3.1 GB a round: for minutes after many files were deleted, ext4 needs ten times as long to make new ones.

const files = 5_000;
const fileBytes = 20_000;
const perDirectory = 100;
const rounds = Number(process.argv[2] ?? 3);
const limitsMs = new Map([
  [1, 1_000],
  [10, 5_000],
  [20, 10_000],
]);
const dir = mkdtempSync(join(tmpdir(), "symphony-bench-"));
const env = { PATH: process.env["PATH"], HOME: dir };
const signal = new AbortController().signal;
const say = (text: string) => process.stdout.write(`${text}\n`);

async function git(cwd: string, ...args: readonly string[]): Promise<void> {
  const reach = { path: env.PATH, home: dir, protocol: "file" } as const;
  const names = ["GIT_AUTHOR", "GIT_COMMITTER"].flatMap((who) => [
    [`${who}_NAME`, "Ada"],
    [`${who}_EMAIL`, "ada@example.org"],
  ]);
  const all = { ...gitEnvironment(reach), ...Object.fromEntries(names) };
  const { status, said } = await runGit({ args, cwd, env: all, timeoutMs: 600_000, signal });
  if (status !== 0) throw new Error(`git ${args[0]}: ${said}`);
}

/** The files hold random text, so that the packed repository has the same size. */
async function makeRepository(): Promise<string> {
  const path = join(dir, "upstream");
  mkdirSync(path);
  await git(path, "init", "--quiet", "--template=", "--initial-branch=main");
  for (let at = 0; at < files; at++) {
    const folder = join(path, `folder-${Math.floor(at / perDirectory)}`);
    if (at % perDirectory === 0) mkdirSync(folder);
    writeFileSync(join(folder, `file-${at}.bin`), randomBytes(fileBytes));
  }
  await git(path, "add", "--all");
  await git(path, "commit", "--quiet", "--message", "all files");
  return path;
}

const mirrors = new Mirrors({ dir: join(dir, "mirrors"), clock: systemClock, env });
let made = 0;

async function workspaces(url: string, count: number): Promise<number> {
  const [repository] = gitConfigOf(
    gitSection.parse({ repositories: [{ name: "bench", url }] }),
  ).repositories;
  if (repository === undefined) throw new Error("no repository");
  const paths = Array.from({ length: count }, () => join(dir, `workspace-${++made}`));
  for (const path of paths) mkdirSync(path);
  const started = performance.now();
  const loans = await Promise.all(
    paths.map((path, at) =>
      cloneInto({
        repository,
        issue: {
          identifier: `ENG-${at}`,
          title: "Login fails",
          labels: [],
          state: "Todo",
          branchName: null,
        },
        path,
        mirrors,
        env,
        clock: systemClock,
        lookup: () => undefined,
        timeoutMs: 600_000,
        runId: `bench/${made}`,
        signal,
        tell: () => {},
      }),
    ),
  );
  const ms = performance.now() - started;
  for (const loan of loans) await mirrors.release(loan);
  return ms;
}

/** What the disk and the processors allow just now: the same by two calls of git. */
async function byGitAlone(url: string): Promise<string> {
  const times: number[] = [];
  const before = processorMs();
  for (let round = 0; round < rounds; round++) {
    const path = join(dir, `plain-${round}`);
    const started = performance.now();
    await git(dir, "clone", "--quiet", "--shared", "--no-checkout", url, path);
    await git(path, "-c", "checkout.workers=2", "checkout", "--quiet", "main");
    times.push(performance.now() - started);
  }
  const each = ((processorMs() - before) / rounds).toFixed(0);
  return `${medianOf(times).toFixed(0)} ms, ${each} ms of processor`;
}

/** Processor time in ms of this process and of the programs that it has run; Linux counts in 10 ms. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  const [, fields = ""] = readFileSync("/proc/self/stat", "utf8").split(") ");
  const [waitedUser = 0, waitedSystem = 0] = fields.split(" ").slice(13, 15).map(Number);
  return (user + system) / 1_000 + (waitedUser + waitedSystem) * 10;
}

function load(): string {
  return `load ${(loadavg()[0] ?? 0).toFixed(1)}`;
}

function medianOf(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}

try {
  const url = await makeRepository();
  say(`${files} files, ${(files * fileBytes) / 1e6} MB, ${cpus().length} processors, ${load()}`);
  say(`the first one, with its mirror: ${(await workspaces(url, 1)).toFixed(0)} ms`);
  say(`git alone, from a local mirror: ${await byGitAlone(url)}`);
  for (const [count, limitMs] of limitsMs) {
    const times: number[] = [];
    const before = processorMs();
    for (let round = 0; round < rounds; round++) times.push(await workspaces(url, count));
    const each = ((processorMs() - before) / rounds / count).toFixed(0);
    const median = medianOf(times);
    const verdict = median < limitMs ? "ok" : "TOO SLOW";
    const figure = `${median.toFixed(0)} ms (limit ${limitMs}), ${verdict}`;
    say(`${String(count).padStart(2)} at once: ${figure}; ${each} ms of processor for each`);
  }
  say(`at the end: ${load()}`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
