import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SymphonyError } from "../core/model/errors.ts";
import { moduleFile } from "../core/package.ts";
import { gitEnvironment, runGit } from "../core/repository/git.ts";
import { demoScript, steeringWaitMs } from "./script.ts";

/** The demo's temporary folder: a real git repository, a workflow file, a script for the agent. */
export interface Sample {
  readonly root: string;
  readonly repository: string;
  readonly workflowPath: string;
  readonly dataDir: string;
  remove(): Promise<void>;
}

/** Creates everything in a new temporary folder. `isAttended`: a person can answer the agent. Rejects with `git_not_found`, or the reason of `signal`. */
export async function makeSample(isAttended: boolean, signal: AbortSignal): Promise<Sample> {
  const root = await mkdtemp(join(tmpdir(), "symphony-demo-"));
  const remove = () => rm(root, { recursive: true, force: true, maxRetries: 3 });
  try {
    const repository = join(root, "hello.git");
    await makeRepository(root, { bare: repository, signal });
    const script = join(root, "script.json");
    await writeFile(script, JSON.stringify(demoScript(isAttended)));
    const workflowPath = join(root, "WORKFLOW.md");
    await writeFile(workflowPath, workflow({ root, repository, script }));
    return { root, repository, workflowPath, dataDir: join(root, ".symphony"), remove };
  } catch (error) {
    await remove();
    signal.throwIfAborted();
    throw isMissing(error) ? gitNotFound(error) : error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof SymphonyError && error.code === "git_not_found";
}

function gitNotFound(cause: unknown): SymphonyError {
  const message = "the demo makes a real git repository, and git is not installed";
  return new SymphonyError("git_not_found", message, { cause, hint: "install git and try again" });
}

const files: Readonly<Record<string, string>> = {
  "README.md": "# hello\n\nA script that greets.\n",
  "greet.sh": 'echo "Hello, world!"\n',
  "test.sh": 'set -e\n[ "$(sh greet.sh)" = "Hello, world!" ]\n',
};

const gitLimitMs = 60_000;

async function makeRepository(
  root: string,
  { bare, signal }: { readonly bare: string; readonly signal: AbortSignal },
): Promise<void> {
  const first = join(root, "first");
  await mkdir(first);
  for (const [name, content] of Object.entries(files)) await writeFile(join(first, name), content);
  const env = gitEnvironment({ path: process.env["PATH"], home: root, protocol: "file" });
  const git = async (...args: string[]) => {
    const { status, said } = await runGit({ args, cwd: first, env, timeoutMs: gitLimitMs, signal });
    if (status !== 0) throw new Error(`git ${args[0]} failed: ${said.trim()}`);
  };
  await git("init", "--quiet", "--template=", "--initial-branch=main");
  await git("config", "user.name", "symphony demo");
  await git("config", "user.email", "demo@symphony.invalid");
  await git("add", "--all");
  await git("commit", "--quiet", "--message", "A script that greets");
  await git("clone", "--quiet", "--bare", "--template=", "--", first, bare);
  await rm(first, { recursive: true });
}

/** What a pushed branch changes in one file, as `git diff` shows it without its header; null if it cannot be read. */
export async function branchDiff(
  { root, repository }: Sample,
  { branch, file }: { readonly branch: string; readonly file: string },
  signal: AbortSignal,
): Promise<string | null> {
  const env = gitEnvironment({ path: process.env["PATH"], home: root, protocol: "none" });
  const args = [
    "diff",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    `main...${branch}`,
    "--",
    file,
  ];
  const call = { args, cwd: repository, env, timeoutMs: gitLimitMs, signal };
  const { status, stdout } = await runGit(call);
  return status === 0 ? stdout.slice(stdout.indexOf("@@")).trimEnd() : null;
}

interface SamplePaths {
  readonly root: string;
  readonly repository: string;
  readonly script: string;
}

function workflow({ root, repository, script }: SamplePaths): string {
  const state = join(root, "agent-state");
  const command = [
    process.execPath,
    fileURLToPath(moduleFile("demo/agent")),
    "--script",
    script,
    "--state",
    state,
  ]
    .map(quoted)
    .join(" ");
  return `---
tracker:
  kind: local
  provider:
    prefix: DEMO
polling:
  interval_ms: 2000
workspace:
  root: ./workspaces
git:
  repositories:
    - name: hello
      url: ${JSON.stringify(repository)}
delivery:
  mode: branch
  author: { name: demo agent, email: agent@symphony.invalid }
agent:
  max_concurrent_agents: 3
  max_retry_backoff_ms: 3000
  silence_timeout_ms: ${2 * steeringWaitMs.attended}
codex:
  home: ${JSON.stringify(join(root, "codex"))}
  command: ${JSON.stringify(command)}
---
You are working on {{ issue.identifier }}: {{ issue.title }}

{{ issue.description }}
`;
}

/** Quotes any text as one word of a shell line. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
