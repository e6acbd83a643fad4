import { existsSync } from "node:fs";
import { readFile, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { diffView } from "../contract/work-view.ts";
import { systemClock } from "../core/clock.ts";
import { load } from "../core/config/loaded.ts";
import { readOverlay } from "../core/config/overlay-document.ts";
import { openHistory } from "../core/store/history.ts";
import { lockDataDir } from "../core/store/lock.ts";
import { findWorkspace } from "../core/workspace/find-workspace.ts";
import { isWorkspaceKey, workspaceKey } from "../core/workspace/key.ts";
import { diffOf } from "../core/workspace/work-diff.ts";
import type { CommandContext } from "./context.ts";
import type { Project } from "./discover.ts";

type Env = CommandContext["env"];

/** What the history knows of an issue and its workspace. */
interface Recorded {
  readonly issueId: string;
  readonly identifier: string;
  readonly path: string | null;
  /** The commit that the first attempt found. */
  readonly firstHead: string | null;
}

const mostAttempts = 500;

/**
 * The work in an issue's workspace without a server, as `serve --once` leaves it behind; `id` may also be the key of a
 * workspace. null where this project has no such workspace. Rejects with `data_dir_locked`, and with `no_repository`.
 */
export async function offlineDiff(
  project: Project,
  id: string,
  env: Env,
): Promise<Reply<Api["git"]["diff"]> | null> {
  const recorded = await recordedOf(project.dataDir, id);
  const root = await rootOf(project, env);
  const path = (await placeOf(recorded, root)) ?? keyed(root, id);
  if (path === null) return null;
  const diff = await diffOf(path, recorded?.firstHead ?? null);
  return diffView(recorded?.identifier ?? id, diff);
}

async function placeOf(recorded: Recorded | null, root: string | null): Promise<string | null> {
  if (recorded === null) return null;
  const { issueId, identifier, path } = recorded;
  const today = root === null ? null : join(root, workspaceKey(identifier));
  // A root of ours is known by what is in it, so that of the recorded path does for today's.
  const known = root ?? (path === null ? null : dirname(path));
  return known === null ? null : findWorkspace(issueId, [path, today], known);
}

/** One that no history tells of. */
function keyed(root: string | null, id: string): string | null {
  if (root === null || !isWorkspaceKey(id)) return null;
  const path = join(root, id);
  return existsSync(path) ? path : null;
}

async function recordedOf(dataDir: string, id: string): Promise<Recorded | null> {
  const file = join(dataDir, "history.db");
  if (!existsSync(file)) return null;
  const lock = await lockDataDir(dataDir);
  try {
    const history = openHistory(file);
    try {
      const issueId = history.issueIdOf(id);
      if (issueId === null) return null;
      const { attempts } = history.attemptsOf(issueId, mostAttempts, 0);
      const [latest] = attempts;
      const first = attempts.findLast(({ git }) => git?.headBefore != null)?.git?.headBefore;
      return {
        issueId,
        identifier: latest?.issueIdentifier ?? id,
        path: latest?.workspacePath ?? null,
        firstHead: first ?? null,
      };
    } finally {
      history.close();
    }
  } finally {
    await lock.release();
  }
}

/** Today's directory of workspaces as its real path; null where no workflow file says it. */
async function rootOf({ workflowPath, dataDir }: Project, env: Env): Promise<string | null> {
  if (workflowPath === null) return null;
  const options = { workflowPath, env, flags: {}, clock: systemClock };
  const overlay = await readOverlay(dataDir);
  const { effective } = load(await readFile(workflowPath), { ...options, overlay });
  const { root } = effective.config.workspace;
  return realpath(root).catch(() => null);
}
