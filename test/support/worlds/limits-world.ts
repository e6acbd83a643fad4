import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../../src/core/clock.ts";
import { makeDataDir } from "../../../src/core/store/lock.ts";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../src/core/tracker/local/settings.ts";
import type { AcpScript } from "../fakes/acp-script.ts";
import { config } from "../makers/issue.ts";
import type { Place } from "./symphony.ts";

const acpAgent = fileURLToPath(new URL("../fakes/acp-agent-child.ts", import.meta.url));

/** A folder with a workflow on the local tracker, its issues, and an agent of another vendor. */
export interface LimitsWorld extends Place, AsyncDisposable {
  readonly root: string;
}

/** The lines that `agent.kind: command` prints, and what it does after that. */
export interface Printing {
  readonly output: "claude" | "gemini" | "codex";
  /** Without lines it waits until `says` writes some. */
  readonly lines?: readonly object[];
  /** What it prints after it is resumed. */
  readonly resumed?: readonly object[];
  readonly after?: string;
}

/** `issues` issues for a program that prints `printing`. A failed issue is not retried. */
export async function printingWorld(printing: Printing, issues = 1): Promise<LimitsWorld> {
  const { output, lines, resumed, after = "exit 1" } = printing;
  const root = await mkdtemp(join(tmpdir(), "symphony-limits-"));
  if (lines) await says({ root }, lines);
  await writeFile(join(root, "resumed.jsonl"), jsonLines(resumed ?? lines ?? []));
  const print = `while [ ! -e '${root}/lines.jsonl' ]; do sleep 0.05; done; cat '${root}/lines.jsonl'`;
  const command = {
    line: `${print}; ${after}`,
    resume_line: `cat '${root}/resumed.jsonl'; ${after}`,
    ...{ output, exit_grace_ms: 300 },
  };
  return world(root, issues, { agent: { kind: "command" }, command });
}

/** Writes the lines for programs that wait for them and for later ones. */
export async function says(
  { root }: Pick<LimitsWorld, "root">,
  lines: readonly object[],
): Promise<void> {
  await writeFile(join(root, "lines.new"), jsonLines(lines));
  await rename(join(root, "lines.new"), join(root, "lines.jsonl"));
}

function jsonLines(lines: readonly object[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

interface AcpSettings {
  /** It counts as stalled after this time without activity. */
  readonly stallMs?: number;
  readonly agent?: Readonly<Record<string, unknown>>;
  readonly brakes?: Readonly<Record<string, unknown>>;
}

/** One issue for an agent of the Agent Client Protocol that plays `script`. */
export async function acpWorld(
  script: AcpScript,
  { stallMs = 60_000, agent, brakes = {} }: AcpSettings = {},
): Promise<LimitsWorld> {
  const root = await mkdtemp(join(tmpdir(), "symphony-limits-"));
  await writeFile(join(root, "script.json"), JSON.stringify(script));
  const parts = [process.execPath, acpAgent, join(root, "script.json"), join(root, "journal")];
  const command = `exec ${parts.map((part) => `'${part}'`).join(" ")}`;
  return world(root, 1, {
    ...{ agent: { kind: "acp", ...agent }, acp: { command }, codex: { stall_timeout_ms: stallMs } },
    brakes,
  });
}

/** `issues` issues of the local tracker for these settings, in a new directory. */
export async function settingsWorld(
  settings: (root: string) => Readonly<Record<string, object>>,
  issues = 1,
): Promise<LimitsWorld> {
  const root = await mkdtemp(join(tmpdir(), "symphony-limits-"));
  return world(root, issues, settings(root));
}

async function world(
  root: string,
  issues: number,
  settings: Readonly<Record<string, object>>,
): Promise<LimitsWorld> {
  const [dataDir, workflowPath] = [join(root, "data"), join(root, "WORKFLOW.md")];
  const agent = {
    ...{ level: "danger", max_retries: 0, max_turns: 1, max_concurrent_agents: 2 },
    ...settings["agent"],
  };
  const front = {
    tracker: { kind: "local" },
    polling: { interval_ms: 200 },
    // A loaded machine starts its agents too.
    host: { min_memory: 0, max_load: 0 },
    workspace: { root: join(root, "workspaces") },
    ...settings,
    agent,
  };
  // Every JSON document is also YAML.
  await writeFile(workflowPath, `---\n${JSON.stringify(front)}\n---\nDo {{ issue.identifier }}\n`);
  await makeDataDir(dataDir);
  const local = openLocalIssues(dataDir, localOptions(config().tracker), systemClock);
  for (let number = 1; number <= issues; number++) local.create({ title: `Issue ${number}` });
  local.close();
  return {
    ...{ root, dataDir, workflowPath, cwd: root },
    // At levels above `safe` the server requires a token.
    env: { HOME: root, SYMPHONY_TOKEN: "limits-token-for-a-test-0123456789" },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}
