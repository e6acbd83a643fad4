import { existsSync } from "node:fs";
import { readFile, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { diffView } from "../contract/work-view.ts";
import { systemClock } from "../core/clock.ts";
import { load } from "../core/config/loaded.ts";
import { readOverlay } from "../core/config/overlay-document.ts";
import type { Attempt } from "../core/model/attempt.ts";
import { openHistory } from "../core/store/history.ts";
import { lockDataDir } from "../core/store/lock.ts";
import type { History, WorkspacePlace } from "../core/store/store.ts";
import { findWorkspace } from "../core/workspace/find-workspace.ts";
import { isWorkspaceKey, workspaceKey } from "../core/workspace/key.ts";
import { knownPlaces } from "../core/workspace/known-places.ts";
import { diffOf, firstHeadOf } from "../core/workspace/work-diff.ts";
import type { CommandContext } from "./context.ts";
import type { Project } from "./discover.ts";
import type { NamedWorkspace } from "./workspace-name.ts";

type Env = CommandContext["env"];

/** What the history knows of an issue and its workspace. */
interface Recorded {
  readonly issueId: string;
  readonly identifier: string;
  readonly path: string | null;
  readonly attempts: readonly Attempt[];
}

interface Past {
  /** Of the issue that was asked for; null where no attempt of it is on record. */
  readonly recorded: Recorded | null;
  /** Of every issue; none where they are not needed. */
  readonly places: readonly WorkspacePlace[];
}

const mostAttempts = 500;

/**
 * The work in an issue's workspace without a server, as `serve --once` leaves it behind; `key` may also be that of a workspace,
 * and `path` says which of several is meant. null where this project has no such workspace. Rejects with `data_dir_locked`,
 * and with `no_repository`.
 */
export async function offlineDiff(
  project: Project,
  { key, path: chosen }: NamedWorkspace,
  env: Env,
): Promise<Reply<Api["git"]["diff"]> | null> {
  const { recorded, places } = await pastOf(project.dataDir, key, chosen !== null);
  const root = await rootOf(project, env);
  const path =
    chosen === null
      ? ((await placeOf(recorded, root)) ?? keyed(root, key))
      : await knownAt(chosen, root, places);
  if (path === null) return null;
  const diff = await diffOf(path, recorded && firstHeadOf(recorded.attempts, path));
  return diffView(recorded?.identifier ?? key, diff);
}

/** No other path than one that symphony made. */
async function knownAt(
  chosen: string,
  root: string | null,
  places: readonly WorkspacePlace[],
): Promise<string | null> {
  const known = await knownPlaces(root, places);
  return known.some(({ path }) => path === chosen) ? chosen : null;
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

async function pastOf(dataDir: string, id: string, withPlaces: boolean): Promise<Past> {
  const file = join(dataDir, "history.db");
  if (!existsSync(file)) return { recorded: null, places: [] };
  const lock = await lockDataDir(dataDir);
  try {
    const history = openHistory(file);
    try {
      const places = withPlaces ? [...history.workspacePlaces()] : [];
      return { recorded: recordedOf(history, id), places };
    } finally {
      history.close();
    }
  } finally {
    await lock.release();
  }
}

function recordedOf(
  history: Pick<History, "attemptsOf" | "issueIdOf">,
  id: string,
): Recorded | null {
  const issueId = history.issueIdOf(id);
  if (issueId === null) return null;
  const { attempts } = history.attemptsOf(issueId, mostAttempts, 0);
  const [latest] = attempts;
  const path = latest?.workspacePath ?? null;
  return { issueId, identifier: latest?.issueIdentifier ?? id, path, attempts };
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
