import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { z } from "zod";
import type { Api } from "../contract/api.ts";
import { commentsView } from "../contract/comments.ts";
import { type IssueEdit, type IssueView, issueView, type NewIssue } from "../contract/issues.ts";
import type { Call, Reply } from "../contract/route.ts";
import { diffView } from "../contract/workspaces.ts";
import { systemClock } from "../core/clock.ts";
import { loadSettings } from "../core/config/chain.ts";
import { resolveConfig, toConfig } from "../core/config/resolve.ts";
import { load, readOverlay } from "../core/config/service.ts";
import { readWorkflow } from "../core/config/workflow.ts";
import { sections } from "../core/kinds.ts";
import type { Attempt } from "../core/model/attempt.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type Issue, normalState } from "../core/model/issue.ts";
import { isWorkspaceKey, workspaceKey } from "../core/repository/key.ts";
import { openHistory } from "../core/store/history.ts";
import { lockDataDir, makeDataDir } from "../core/store/lock.ts";
import type { History, WorkspacePlace } from "../core/store/store.ts";
import { issueFromMarkdown } from "../core/tracker/local/input.ts";
import { issuesFile, type LocalIssues, openLocalIssues } from "../core/tracker/local/issues.ts";
import { type LocalOptions, localOptions } from "../core/tracker/local/settings.ts";
import { KeptCopies } from "../core/workspace/copies.ts";
import { diffOf, firstHeadOf } from "../core/workspace/diff.ts";
import { findWorkspace } from "../core/workspace/directory.ts";
import { knownPlaces } from "../core/workspace/known-places.ts";
import type { CommandContext, Project } from "./context.ts";
import { hintAt } from "./failure.ts";
import type { NamedWorkspace } from "./workspace-name.ts";

export type IssueFacts = z.output<typeof IssueView>;

type IssueList = Reply<Issues["list"]>;

type IssueQuery = NonNullable<Call<Issues["list"]>["query"]>;

export type IssueDraft = z.input<typeof NewIssue>;

export type IssueChange = z.input<typeof IssueEdit>;

type CommentFacts = Reply<Issues["comment"]>;

export type Issues = Api["issues"];

/** Where issues of the local tracker are written: a running server, or without one the project's own store. */
export interface IssueAccess {
  list(query: IssueQuery): Promise<IssueList>;
  create(draft: IssueDraft): Promise<IssueFacts>;
  edit(id: string, change: IssueChange): Promise<IssueFacts>;
  comment(id: string, body: string): Promise<CommentFacts>;
  comments(id: string): Promise<Reply<Issues["comments"]>>;
  /** States that end an issue, in the order of the workflow. */
  terminalStates(id: string): Promise<string[]>;
  close(): void;
}

/**
 * Access without a server: writes directly into the store of the embedded tracker, where a server started later reads it.
 * Rejects with `tracker_read_only` for any other tracker, and for a bad workflow as the start of a server does.
 */
export async function openOfflineIssues(
  project: Project,
  context: CommandContext,
): Promise<IssueAccess> {
  const options = await trackerOptions(project, context.env);
  const exists = existsSync(issuesFile(project.dataDir));
  let issues: LocalIssues | null = null;
  // Reading a project that has no store yet must not create one.
  const store = () => {
    makeDataDir(project.dataDir);
    issues ??= openLocalIssues(project.dataDir, options, systemClock);
    return issues;
  };
  context.note(`No server runs here; using the issues in ${project.dataDir}`);
  return {
    list: async ({ state, limit, offset }) => {
      const all = exists ? store().list(state === undefined ? undefined : [state]) : [];
      if (state !== undefined && all.length === 0) requireState(state, options);
      return pageOf(all, { limit: Number(limit ?? 50), offset: Number(offset ?? 0) });
    },
    create: async (draft) => issueView(store().create(contentOf(draft))),
    edit: async (id, change) => issueView(store().edit(id, contentOf(change))),
    comment: async (id, body) => commentOn(store(), id, body),
    comments: async (id) => {
      const issue = exists ? store().get(id) : null;
      if (issue === null) throw new SymphonyError("issue_not_found", `There is no issue ${id}`);
      return commentsView(issue, store().comments(issue.identifier));
    },
    terminalStates: async () =>
      options.states.flatMap(({ name, terminal }) => (terminal ? [name] : [])),
    close: () => issues?.close(),
  };
}

/** As a server does. Throws `not_found`. */
function requireState(state: string, { states }: LocalOptions): void {
  const names = states.map(({ name }) => name);
  if (names.some((name) => normalState(name) === normalState(state))) return;
  throw new SymphonyError("not_found", `the tracker has no state "${state}"`, {
    hint: hintAt(state, names, `its states are ${names.join(", ")}`),
  });
}

async function trackerOptions(project: Project, env: CommandContext["env"]): Promise<LocalOptions> {
  const path = project.workflowPath;
  const settings = path === null ? { workflow: {} } : await loadSettings(path);
  const overlay = await readOverlay(project.dataDir);
  const { written } = resolveConfig({ ...settings, env, overlay, flags: {} }, sections);
  const { tracker } = toConfig(written, project.dataDir, sections);
  // Without a workflow file the tracker is not known; the data directory was given for the local one.
  if (tracker.kind === "local" || project.workflowPath === null) return localOptions(tracker);
  throw new SymphonyError(
    "tracker_read_only",
    `without a server only issues of the local tracker are read and written here, and tracker.kind is ${tracker.kind}`,
    {
      details: { kind: tracker.kind },
      hint: "symphony serve, then this again in another terminal",
    },
  );
}

function commentOn(issues: LocalIssues, id: string, text: string) {
  const { body, at } = issues.comment(id, { author: "operator", body: text });
  const identifier = issues.get(id)?.identifier ?? id;
  return { issue_identifier: identifier, body, at: new Date(at).toISOString() };
}

function pageOf(all: readonly Issue[], page: { limit: number; offset: number }) {
  const rows = all.slice(page.offset, page.offset + page.limit);
  const issues = rows.map((issue) => ({ ...issueView(issue), status: null }));
  return { issues, total: all.length, ...page };
}

function contentOf<T extends IssueDraft | IssueChange>({ blocked_by: blockedBy, ...content }: T) {
  return { ...content, ...(blockedBy && { blockedBy }) };
}

/** Reads front matter and heading the way the embedded tracker does. Throws `invalid_request`. */
export function draftFromMarkdown(text: string): IssueDraft {
  const { blockedBy, ...content } = issueFromMarkdown(text);
  return { ...content, ...(blockedBy && { blocked_by: blockedBy }) };
}

type Env = CommandContext["env"];

/** What the history records about an issue and its workspace. */
interface Recorded {
  readonly issueId: string;
  readonly identifier: string;
  readonly path: string | null;
  readonly attempts: readonly Attempt[];
}

interface Past {
  /** Of the requested issue; null when no attempt of it is recorded. */
  readonly recorded: Recorded | null;
  /** Of every issue; none where they are not needed. */
  readonly places: readonly WorkspacePlace[];
}

const maxAttempts = 500;

/**
 * The work in an issue's workspace without a server, for example after `serve --once`. `key` may also be that of a
 * workspace; `path` selects one of several. null when this project has no such workspace. Rejects with `data_dir_locked`
 * and `no_repository`.
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
  if (path === null) return chosen === null ? copyDiff(project, recorded, key) : null;
  const diff = await diffOf(path, recorded && firstHeadOf(recorded.attempts, path));
  return diffView(recorded?.identifier ?? key, diff);
}

/** Restores a kept copy of the project into `to`, which must be empty or not exist. */
export async function offlineRestore(project: Project, key: string, to: string) {
  const copies = copiesOf(project);
  const copy = await copies.find(key).catch(async (error: unknown) => {
    // The history, which a running server has, knows what else the issue was called.
    const { recorded } = await pastOf(project.dataDir, key, false).catch(() => {
      throw error;
    });
    if (recorded === null) throw error;
    return copies.find(key, recorded.issueId);
  });
  await copies.restore(copy, to);
  return { key: copy.key, path: to };
}

/** None is made here. */
function copiesOf({ dataDir }: Project): KeptCopies {
  return new KeptCopies({ dir: join(dataDir, "kept"), clock: systemClock, maxBytes: () => 0 });
}

/** The diff of the newest copy of the issue, or of the copy with this key. */
async function copyDiff(project: Project, recorded: Recorded | null, key: string) {
  const copies = copiesOf(project);
  const all = await copies.list();
  const copy = all.find((one) => one.key === key || one.issue?.id === recorded?.issueId);
  if (copy === undefined) return null;
  const diff = await copies.within(copy, (path) => diffOf(path, copy.base));
  return diffView(copy.issue?.identifier ?? key, { ...diff, path: copy.path });
}

/** Accepts only a path that symphony created. */
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
  // Without a current root the parent of the recorded path is used: findWorkspace checks what is in it.
  const known = root ?? (path === null ? null : dirname(path));
  return known === null ? null : findWorkspace(issueId, [path, today], known);
}

/** A workspace without a record in the history. */
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
  const { attempts } = history.attemptsOf(issueId, maxAttempts, 0);
  const [latest] = attempts;
  const path = latest?.workspacePath ?? null;
  return { issueId, identifier: latest?.issueIdentifier ?? id, path, attempts };
}

/** The current directory of workspaces as its real path; null when there is no workflow file. */
async function rootOf({ workflowPath, dataDir }: Project, env: Env): Promise<string | null> {
  if (workflowPath === null) return null;
  const options = { sections, workflowPath, env, flags: {}, clock: systemClock };
  const overlay = await readOverlay(dataDir);
  const { effective } = await load(await readWorkflow(workflowPath), { ...options, overlay });
  const { root } = effective.config.workspace;
  return realpath(root).catch(() => null);
}
