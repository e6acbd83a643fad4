import { lstat, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { SymphonyError } from "../../model/errors.ts";
import type { GuardedLaunch } from "./disarm.ts";

/** Something of a repository that acts on an agent, and that no setting of the agent stops. */
interface Finding {
  readonly path: string;
  readonly does: string;
}

const maxConfigBytes = 1024 * 1024;
/** The keys by which opencode's configuration names programs; an escape might spell one of them. */
const namesPlugins = /"plugins?"|\\u/;

/**
 * Rejects with `workspace_refused` when the workspace holds what would take the agent over. To be called before each
 * start of a process: the agent itself may have written it since the last.
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
  if (findings.length > 0) throw refusal(findings, workspace, title);
}

/** The workspace, and the directories above it up to that of its repository: agents look in all of them. */
async function rootsOf(workspace: string): Promise<readonly string[]> {
  const roots: string[] = [];
  // What is in the home, or where no repository is, is the operator's own.
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
  return [
    ...(any || agents.has("opencode") ? await opencodeFindings(root) : []),
    ...(any || agents.has("codex") ? await codexFindings(root, isWorkspace) : []),
    ...(agents.has("gemini") && trusts ? await geminiFindings(root) : []),
  ];
}

/** opencode runs these programs in its own process, also with OPENCODE_DISABLE_PROJECT_CONFIG. */
async function opencodeFindings(root: string): Promise<readonly Finding[]> {
  const folder = join(root, ".opencode");
  const does = "opencode runs the programs in it, with your key";
  const findings: Finding[] = [];
  // What is behind a link is not looked at: inside the sandbox it may lead elsewhere.
  if (await isLink(folder)) findings.push({ path: folder, does });
  else {
    for (const name of ["plugin", "plugins"]) {
      const path = join(folder, name);
      if (await exists(path)) findings.push({ path, does });
    }
  }
  for (const dir of [root, folder]) {
    for (const name of ["opencode.json", "opencode.jsonc"]) {
      const path = join(dir, name);
      const named = "opencode runs the plugins that it names, with your key";
      if (await mayNamePlugins(path)) findings.push({ path, does: named });
    }
  }
  return findings;
}

/** The workspace's own folder is covered in the sandbox, unless it is a link. */
async function codexFindings(root: string, isWorkspace: boolean): Promise<readonly Finding[]> {
  const path = join(root, ".codex");
  const acts = isWorkspace ? await isLink(path) : await exists(path);
  return acts ? [{ path, does: "codex-acp starts the MCP servers that it names" }] : [];
}

async function geminiFindings(root: string): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const [name, does] of [
    [".gemini", "with --skip-trust gemini runs the programs that it names"],
    [".env", "with --skip-trust gemini takes its provider's address from it"],
  ] as const) {
    const path = join(root, name);
    if (await exists(path)) findings.push({ path, does });
  }
  return findings;
}

async function mayNamePlugins(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  if (!found) return false;
  if (!found.isFile() || found.size > maxConfigBytes) return true;
  return namesPlugins.test(await readFile(path, "utf8"));
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

async function isLink(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isSymbolicLink() === true;
}

function refusal(findings: readonly Finding[], workspace: string, title: string): SymphonyError {
  const paths = findings.map(({ path }) => relative(workspace, path));
  const what = findings.map(({ does }, at) => `${paths[at]} (${does})`).join(", ");
  const end = title.indexOf(": ");
  const issue = end === -1 ? title : title.slice(0, end);
  const message = `the repository would take the agent over, so below agent.level danger it is not started: the workspace holds ${what}`;
  return new SymphonyError("workspace_refused", message, {
    details: { paths },
    hint: `remove it (hooks.before_run: rm -rf ${paths.join(" ")}) or choose another agent (symphony model ${issue} --agent codex), then: symphony transition ${issue} queued`,
  });
}
