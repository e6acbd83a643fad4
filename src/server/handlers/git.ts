import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import type { GitBranch, GitRepository } from "../../core/workspace/git-desk.ts";
import { findIssueId } from "../find-issue.ts";
import type { Handlers } from "../mount.ts";

export function gitHandlers(core: Core): Handlers<Api["git"]> {
  return {
    async context() {
      const { repositories, complete } = await core.workspaces.git.context();
      return { repositories: repositories.map(repositoryView), routing: [], complete };
    },
    async diff({ params }) {
      const issue = await findIssueId(core, params.id);
      const { files, patch, ...work } = await core.workspaces.workOf(issue);
      return {
        issue_identifier: issue.identifier,
        ...work,
        files: files.map((file) => ({ ...file, path: core.redact(file.path) })),
        patch: core.redact(patch),
      };
    },
  };
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
