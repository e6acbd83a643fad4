import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { issueView } from "../contract/issue-view.ts";
import { systemClock } from "../core/clock.ts";
import { toConfig } from "../core/config/effective.ts";
import { readOverlay } from "../core/config/overlay-document.ts";
import { resolveConfig } from "../core/config/resolve.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { Issue } from "../core/model/issue.ts";
import { issuesFile, type LocalIssues, openLocalIssues } from "../core/tracker/local/issues.ts";
import { issueFromMarkdown } from "../core/tracker/local/markdown.ts";
import { type LocalOptions, localOptions } from "../core/tracker/local/options.ts";
import { loadWorkflow } from "../core/workflow/load.ts";
import type { CommandContext } from "./context.ts";
import type { Project } from "./discover.ts";
import type { IssueChange, IssueDesk, IssueDraft } from "./issue-desk.ts";

/**
 * The desk without a server: writes straight into the store of the embedded tracker, which a server started later finds
 * there. Rejects with `tracker_read_only` for any other tracker, and as a start of the server would for a bad workflow.
 */
export async function openOfflineDesk(
  project: Project,
  context: CommandContext,
): Promise<IssueDesk> {
  const options = await trackerOptions(project, context.env);
  const exists = existsSync(issuesFile(project.dataDir));
  let issues: LocalIssues | null = null;
  // Looking at a project that has no store yet must not leave one behind.
  const store = () => {
    makeDataDir(project.dataDir);
    issues ??= openLocalIssues(project.dataDir, options, systemClock);
    return issues;
  };
  context.note(`No server runs here; using the issues in ${project.dataDir}`);
  return {
    list: async ({ state, limit, offset }) => {
      const all = exists ? store().list(state === undefined ? undefined : [state]) : [];
      return pageOf(all, { limit: Number(limit ?? 50), offset: Number(offset ?? 0) });
    },
    create: async (draft) => issueView(store().create(contentOf(draft))),
    edit: async (id, change) => issueView(store().edit(id, contentOf(change))),
    comment: async (id, body) => commentOn(store(), id, body),
    terminalStates: async () =>
      options.states.flatMap(({ name, terminal }) => (terminal ? [name] : [])),
    close: () => issues?.close(),
  };
}

async function trackerOptions(project: Project, env: CommandContext["env"]): Promise<LocalOptions> {
  const workflow =
    project.workflowPath === null ? {} : (await loadWorkflow(project.workflowPath)).config;
  const { written } = resolveConfig({
    workflow,
    env,
    overlay: await readOverlay(project.dataDir),
    flags: {},
  });
  const { tracker } = toConfig(written, project.dataDir);
  // Without a workflow file there is nothing to say which tracker it is; the data directory was meant for this one.
  if (tracker.kind === "local" || project.workflowPath === null) return localOptions(tracker);
  throw new SymphonyError(
    "tracker_read_only",
    `Issues of the ${tracker.kind} tracker are edited there`,
    {
      details: { kind: tracker.kind },
      hint: "symphony transition ISSUE STATE moves one, with a server running",
    },
  );
}

/** Only its owner may look in, and version control is to leave it alone. */
function makeDataDir(dir: string): void {
  const made = mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (made !== undefined) writeFileSync(`${dir}/.gitignore`, "*\n", { mode: 0o600 });
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
