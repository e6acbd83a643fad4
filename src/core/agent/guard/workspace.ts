// Protection against repositories whose files would control an agent.

import { lstat, readdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { SymphonyError } from "../../model/errors.ts";
import type { GuardedLaunch } from "./disarm.ts";

/**
 * Files of a repository that act on an agent although every setting forbids it; `does` says how,
 * given the paths.
 */
interface Finding {
  readonly paths: readonly string[];
  does(paths: string): string;
}

/** Settings, hooks, servers and variables that a trusting gemini takes from a workspace. */
const geminiNames = [".gemini", ".env"];
const maxConfigBytes = 1024 * 1024;
/** The keys in opencode's configuration that name programs; an escape might spell one of them. */
const namesPlugins = /"plugins?"|\\u/;

/**
 * Rejects with `workspace_refused` when the workspace holds files that would take over the agent.
 * Must be called before each start of a process: the agent itself may have written them since the
 * last one.
 */
export async function requireGuardedWorkspace(
  workspace: string,
  launch: GuardedLaunch,
  title: string,
): Promise<void> {
  const findings: Finding[] = [];
  for (const root of await rootsOf(workspace)) {
    findings.push(...(await findingsIn(root, root === workspace, launch)));
  }
  const shown = findings
    .filter(({ paths }) => paths.length > 0)
    .map(({ paths, does }) => ({ does, paths: paths.map((path) => relative(workspace, path)) }));
  if (shown.length > 0) throw refusal(shown, launch, title);
}

/**
 * Whether gemini may trust the workspace: nothing in it, or above it in its repository, would act
 * on gemini. Must be called before each start, as above.
 */
export async function isPlainForGemini(workspace: string): Promise<boolean> {
  for (const root of await rootsOf(workspace)) {
    if ((await present(root, geminiNames)).length > 0) return false;
  }
  return true;
}

/**
 * The workspace, and the directories above it up to that of its repository: agents search all of
 * them.
 */
async function rootsOf(workspace: string): Promise<readonly string[]> {
  const roots: string[] = [];
  // Files in the home directory, or above a workspace without a repository, belong to the operator.
  for (let dir = workspace; dir !== homedir() && dir !== dirname(dir); dir = dirname(dir)) {
    roots.push(dir);
    if (await exists(join(dir, ".git"))) return roots;
  }
  return [workspace];
}

async function findingsIn(
  root: string,
  isWorkspace: boolean,
  { kind, agents, trusts }: GuardedLaunch,
): Promise<readonly Finding[]> {
  const any = kind === "acp" && agents.size === 0;
  const findings: Finding[] = [];
  if (any || agents.has("opencode")) {
    const does = (paths: string) => `opencode runs the programs of ${paths} with your key`;
    findings.push({ paths: await opencodePaths(root), does });
  }
  if (any || agents.has("codex")) {
    const does = (paths: string) => `codex starts the MCP servers of ${paths}`;
    findings.push({ paths: await codexPaths(root, isWorkspace), does });
  }
  if (trusts && agents.has("gemini")) {
    const does = (paths: string) => `gemini, told to trust the workspace, obeys ${paths}`;
    findings.push({ paths: await present(root, geminiNames), does });
  }
  return findings;
}

/** opencode runs these in its own process, even with OPENCODE_DISABLE_PROJECT_CONFIG. */
async function opencodePaths(root: string): Promise<readonly string[]> {
  const folder = join(root, ".opencode");
  // The target of a link is not read: inside the sandbox the link may lead to another place.
  const linked = await isLink(folder);
  const paths = linked ? [folder] : [...(await present(folder, ["plugin", "plugins"]))];
  for (const dir of linked ? [root] : [root, folder]) {
    for (const path of await present(dir, ["opencode.json", "opencode.jsonc"])) {
      if (await mayNamePlugins(path)) paths.push(path);
    }
  }
  return paths;
}

/**
 * The workspace's own folder is covered in the sandbox, unless it is a link. An empty one above it
 * names no program, and the agent cannot write there; codex's own sandbox leaves such folders in
 * temporary directories.
 */
async function codexPaths(root: string, isWorkspace: boolean): Promise<readonly string[]> {
  const path = join(root, ".codex");
  const acts = isWorkspace ? await isLink(path) : (await exists(path)) && !(await isEmpty(path));
  return acts ? [path] : [];
}

async function mayNamePlugins(path: string): Promise<boolean> {
  const found = await lstat(path);
  if (!found.isFile() || found.size > maxConfigBytes) return true;
  return namesPlugins.test(await readFile(path, "utf8"));
}

async function present(dir: string, names: readonly string[]): Promise<readonly string[]> {
  const there: string[] = [];
  for (const path of names.map((name) => join(dir, name))) {
    if (await exists(path)) there.push(path);
  }
  return there;
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

/** False for a link: its target may change. */
async function isEmpty(path: string): Promise<boolean> {
  if (await isLink(path)) return false;
  const names = await readdir(path).catch(() => null);
  return names !== null && names.length === 0;
}

async function isLink(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isSymbolicLink() === true;
}

function refusal(
  findings: readonly Finding[],
  { agents }: GuardedLaunch,
  title: string,
): SymphonyError {
  const paths = findings.flatMap((finding) => finding.paths);
  const what = findings.map((finding) => finding.does(finding.paths.join(", "))).join("; ");
  const end = title.indexOf(": ");
  const issue = end === -1 ? title : title.slice(0, end);
  const unknown = agents.size === 0 ? " (acp.command names no known agent)" : "";
  return new SymphonyError(
    "workspace_refused",
    `the repository would take over the agent: ${what}${unknown}`,
    {
      details: { paths },
      hint: `remove them (hooks.before_run: rm -rf ${paths.join(" ")}), or: symphony model ${issue} --agent codex; then: symphony transition ${issue} queued`,
    },
  );
}
