import type { z } from "zod";
import type { Api } from "../../contract/api.ts";
import { CopyView, diffView, git, WorkspaceView } from "../../contract/workspaces.ts";
import type { RepositoryConfig } from "../../core/config/git.ts";
import type { Core } from "../../core/core.ts";
import { findIssueId, findStatus } from "../../core/find-issue.ts";
import { type ErrorCode, SymphonyError } from "../../core/model/errors.ts";
import type { Issue } from "../../core/model/issue.ts";
import { writerOf } from "../../core/model/names.ts";
import { matchInWords } from "../../core/repository/routing.ts";
import { shellQuoted } from "../../core/text/text.ts";
import type { KeptCopy } from "../../core/workspace/copies.ts";
import type { WorkDiff } from "../../core/workspace/diff.ts";
import type { WorkspaceFacts } from "../../core/workspace/facts.ts";
import type { GitRepository } from "../../core/workspace/repositories.ts";
import type { Handlers } from "../mount.ts";
import { overlapView, shownKept } from "../views.ts";

const writeWorkspace = writerOf(WorkspaceView);
const writeCopy = writerOf(CopyView);
const writeContext = writerOf(git.context.reply);
const writeConflicts = writerOf(git.conflicts.reply);

export function workspaceHandlers(core: Core): Handlers<Api["workspaces"]> {
  return {
    async list({ query: { limit, offset } }) {
      const hostAt = (path: string) => core.ssh()?.hostAt(path) ?? null;
      const { root, totalBytes, total, ...all } = await core.workspaces.list(limit, offset);
      const workspaces = all.workspaces.map((one) => workspaceView(one, hostAt(one.path)));
      const copies = all.copies.map(copyView);
      return { root, workspaces, copies, total_bytes: totalBytes, total, limit, offset };
    },
    async remove({ params, query }) {
      const { force, path = null } = query;
      await core.workspaces.remove(params.key, { force: force === "true", path });
      return undefined;
    },
    restore: ({ params }) => core.workspaces.restore(params.key),
  };
}

function workspaceView(facts: WorkspaceFacts, host: string | null): z.output<typeof WorkspaceView> {
  const { work: holds, kept } = facts;
  return writeWorkspace({ ...facts, host, holds, kept: kept && shownKept(kept) });
}

function copyView(copy: KeptCopy): z.output<typeof CopyView> {
  const name = shellQuoted(copy.key);
  const next = [
    `symphony diff ${name}`,
    `symphony workspaces restore ${name}`,
    `symphony workspaces remove ${name} --force`,
  ];
  return writeCopy({ ...copy, issueIdentifier: copy.issue?.identifier ?? null, next });
}

export function gitHandlers(core: Core): Handlers<Api["git"]> {
  return {
    conflicts({ query: { limit, offset } }) {
      const all = core.orchestrator.overlaps();
      const conflicts = all.slice(offset, offset + limit).map(overlapView);
      return writeConflicts({ conflicts, total: all.length, limit, offset });
    },
    async context({ query }) {
      const status = query.issue === undefined ? null : await findStatus(core, query.issue);
      const { repositories, rules, complete } = await core.workspaces.git.context();
      return writeContext({
        repositories: repositories.map(shownRepository),
        routing: rules.map(shownRule),
        route: status === null ? undefined : shownRoute(core, status.issue),
        complete,
      });
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
    return { identifier: issue.identifier, diff: await diffOfIssue(core, issue, path) };
  } catch (error) {
    if (!isCoded(error, "issue_not_found")) throw error;
    const diff = await core.workspaces.diffIn(id, path).catch((other: unknown) => {
      // A caller that gives a path does not mean an issue.
      throw path === null && isCoded(other, "workspace_not_found") ? error : other;
    });
    return { identifier: id, diff };
  }
}

/** From the workspace or its copy; without these, what was pushed. */
async function diffOfIssue(
  core: Core,
  issue: Pick<Issue, "id" | "identifier">,
  path: string | null,
): Promise<WorkDiff> {
  try {
    return await core.workspaces.diffOf(issue, path);
  } catch (error) {
    const isGone = path === null && isCoded(error, "workspace_not_found");
    const pushed = isGone ? await core.deliveries.diff(issue.id) : null;
    if (pushed === null) throw error;
    return pushed;
  }
}

function isCoded(error: unknown, code: ErrorCode): boolean {
  return error instanceof SymphonyError && error.code === code;
}

function shownRule({ name, match, baseBranch, branchTemplate }: RepositoryConfig) {
  return { match: matchInWords(match), repository: name, baseBranch, branchTemplate };
}

function shownRoute(core: Core, issue: Issue) {
  const route = core.workspaces.git.routeOf(issue) ?? { repository: null, branch: null };
  return { ...route, issueIdentifier: issue.identifier };
}

function shownRepository({ branches, ...rest }: GitRepository) {
  return { ...rest, branches: branches.map(({ branch, ...one }) => ({ ...one, name: branch })) };
}
