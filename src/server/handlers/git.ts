import type { Api } from "../../contract/api.ts";
import { diffView } from "../../contract/work-view.ts";
import type { RepositoryConfig } from "../../core/config/git-section.ts";
import type { Core } from "../../core/core.ts";
import { type ErrorCode, SymphonyError } from "../../core/model/errors.ts";
import type { Issue } from "../../core/model/issue.ts";
import type { GitBranch, GitRepository } from "../../core/workspace/git-desk.ts";
import { matchInWords } from "../../core/workspace/git-routing.ts";
import { findIssueId, findSight } from "../find-issue.ts";
import type { Handlers } from "../mount.ts";

export function gitHandlers(core: Core): Handlers<Api["git"]> {
  return {
    async context({ query }) {
      const sight = query.issue === undefined ? null : await findSight(core, query.issue);
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

/** Of an issue; if there is no such issue, of the workspace with this key. */
async function diffFor(core: Core, id: string, path: string | null) {
  try {
    const issue = await findIssueId(core, id);
    return { identifier: issue.identifier, diff: await core.workspaces.diffOf(issue, path) };
  } catch (error) {
    if (!isCoded(error, "issue_not_found")) throw error;
    const diff = await core.workspaces.diffIn(id, path).catch((other: unknown) => {
      // Who names a path means no issue.
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
