import type { z } from "zod";
import type { Api } from "../../contract/api.ts";
import { diffView, holdView } from "../../contract/work-view.ts";
import type { WorkspaceView } from "../../contract/workspaces.ts";
import type { RepositoryConfig } from "../../core/config/git.ts";
import type { Core } from "../../core/core.ts";
import { findIssueId, findStatus } from "../../core/find-issue.ts";
import { type ErrorCode, SymphonyError } from "../../core/model/errors.ts";
import type { Issue } from "../../core/model/issue.ts";
import { matchInWords } from "../../core/repository/routing.ts";
import type { WorkspaceFacts } from "../../core/workspace/overview.ts";
import type { GitBranch, GitRepository } from "../../core/workspace/repositories.ts";
import type { Handlers } from "../mount.ts";
import { keptView, time } from "../views.ts";

export function workspaceHandlers(core: Core): Handlers<Api["workspaces"]> {
  return {
    async list({ query: { limit, offset } }) {
      const { root, workspaces, totalBytes, total } = await core.workspaces.list(limit, offset);
      const rows = workspaces.map(workspaceView);
      return { root, workspaces: rows, total_bytes: totalBytes, total, limit, offset };
    },
    async remove({ params, query }) {
      const { force, path = null } = query;
      await core.workspaces.remove(params.key, { force: force === "true", path });
      return undefined;
    },
  };
}

function workspaceView(facts: WorkspaceFacts): z.output<typeof WorkspaceView> {
  return {
    key: facts.key,
    path: facts.path,
    host: null,
    issue_identifier: facts.issueIdentifier,
    status: facts.status,
    in_use: facts.inUse,
    disk_bytes: facts.diskBytes,
    branch: facts.branch,
    dirty: facts.dirty,
    holds: facts.work === null ? null : facts.work.map(holdView),
    kept: facts.kept && keptView(facts.kept),
    created_at: time(facts.createdAt),
    last_used_at: time(facts.lastUsedAt),
  };
}

export function gitHandlers(core: Core): Handlers<Api["git"]> {
  return {
    async context({ query }) {
      const sight = query.issue === undefined ? null : await findStatus(core, query.issue);
      const { repositories, rules, complete } = await core.workspaces.git.context();
      return {
        repositories: repositories.map(repositoryView),
        routing: rules.map(ruleView),
        ...(sight && { route: routeView(core, sight.issue) }),
        complete,
      };
    },
    async diff({ params, query }) {
      const { identifier, diff } = await diffFor(core, params.id, query.path ?? null);
      const { files, patch, ...work } = diffView(identifier, diff);
      return {
        ...work,
        files: files.map((file) => ({ ...file, path: core.redact(file.path) })),
        patch: core.redact(patch),
      };
    },
  };
}

/** The workspace of an issue; if there is no such issue, the workspace with this key. */
async function diffFor(core: Core, id: string, path: string | null) {
  try {
    const issue = await findIssueId(core, id);
    return { identifier: issue.identifier, diff: await core.workspaces.diffOf(issue, path) };
  } catch (error) {
    if (!isCoded(error, "issue_not_found")) throw error;
    const diff = await core.workspaces.diffIn(id, path).catch((other: unknown) => {
      // A caller that gives a path does not mean an issue.
      throw path === null && isCoded(other, "workspace_not_found") ? error : other;
    });
    return { identifier: id, diff };
  }
}

function isCoded(error: unknown, code: ErrorCode): boolean {
  return error instanceof SymphonyError && error.code === code;
}

function ruleView({ name, match, baseBranch, branchTemplate }: RepositoryConfig) {
  return {
    match: matchInWords(match),
    repository: name,
    base_branch: baseBranch,
    branch_template: branchTemplate,
  };
}

function routeView(core: Core, issue: Issue) {
  const route = core.workspaces.git.routeOf(issue) ?? { repository: null, branch: null };
  return { issue_identifier: issue.identifier, ...route };
}

function repositoryView({ defaultBranch, branches, remotes, ...rest }: GitRepository) {
  return {
    ...rest,
    default_branch: defaultBranch,
    remotes: remotes.map((remote) => ({ ...remote })),
    branches: branches.map(branchView),
  };
}

function branchView({ branch, issueIdentifier, ...rest }: GitBranch) {
  return { name: branch, issue_identifier: issueIdentifier, ...rest };
}
