import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { makeDataDir } from "../../../src/core/store/lock.ts";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../src/core/tracker/local/settings.ts";
import type { ClaudeScript } from "../fakes/claude-script.ts";
import { origin } from "../makers/git-repository.ts";
import { config } from "../makers/issue.ts";
import { claudeCommand } from "./claude-bench.ts";
import { journalOf } from "./scripted-agent.ts";
import { type Place, Served, symphony } from "./symphony.ts";

export interface ClaudeWorldOptions {
  /** The shell line of Claude Code; omitted: a scripted one. */
  readonly command?: string;
  readonly agent?: Readonly<Record<string, unknown>>;
  readonly claude?: Readonly<Record<string, unknown>>;
  readonly brakes?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly issues?: number;
  /** The issue's branch goes to a bare repository, `bare`. */
  readonly delivers?: boolean;
}

/** A project with the local tracker whose agent is Claude Code. */
export class ClaudeWorld implements Place, AsyncDisposable {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;

  constructor(root: string, env: Readonly<Record<string, string>>) {
    this.root = root;
    this.env = env;
  }

  get workflowPath(): string {
    return join(this.root, "WORKFLOW.md");
  }

  get dataDir(): string {
    return join(this.root, "data");
  }

  get cwd(): string {
    return this.root;
  }

  /** The repository of a world that delivers. */
  get bare(): string {
    return join(this.root, "origin.git");
  }

  workspace(issue: string): string {
    return join(this.root, "workspaces", issue);
  }

  /** A server that accepts the level of the workflow file. */
  serve(): Promise<Served> {
    return Served.start(this, "--i-understand");
  }

  /** The script of later processes. */
  async play(script: ClaudeScript): Promise<void> {
    await writeFile(join(this.root, "script.json"), JSON.stringify(script));
  }

  async json(...args: string[]) {
    const { stdout, stderr } = await symphony(this, ...args, "--json");
    if (stdout === "") throw new Error(stderr);
    return JSON.parse(stdout);
  }

  /** What the scripted agent noted, by name. */
  got(method: string): Promise<Readonly<Record<string, unknown>>[]> {
    return journalOf(this.root, method);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}

export async function claudeWorld(options: ClaudeWorldOptions = {}): Promise<ClaudeWorld> {
  const root = await mkdtemp(join(tmpdir(), "symphony-claude-world-"));
  const world = new ClaudeWorld(root, {
    HOME: join(root, "home"),
    SYMPHONY_TOKEN: "claude-token-for-a-test-0123456789",
    ANTHROPIC_API_KEY: "sk-claude-of-the-operator-0123456789",
    ...options.env,
  });
  await mkdir(join(root, "home"));
  const front = {
    tracker: { kind: "local" },
    polling: { interval_ms: 300 },
    // A loaded machine starts its agents too.
    host: { min_memory: 0, max_load: 0 },
    workspace: { root: join(root, "workspaces"), keep_max: 0 },
    ...(options.delivers
      ? {
          git: { repositories: [{ name: "hello", url: origin(root) }] },
          delivery: { mode: "branch" },
        }
      : { hooks: { after_create: "git init --quiet --initial-branch=main ." } }),
    agent: { kind: "claude", level: "danger", max_retry_backoff_ms: 1_000, ...options.agent },
    claude: { command: options.command ?? claudeCommand(root), ...options.claude },
    brakes: { ...options.brakes },
  };
  // Every JSON document is also YAML.
  await writeFile(
    world.workflowPath,
    `---\n${JSON.stringify(front)}\n---\nDo {{ issue.identifier }}\n`,
  );
  await makeDataDir(world.dataDir);
  const local = openLocalIssues(world.dataDir, localOptions(config().tracker), systemClock);
  for (let number = 1; number <= (options.issues ?? 1); number++) {
    local.create({ title: `Issue ${number}` });
  }
  local.close();
  return world;
}
