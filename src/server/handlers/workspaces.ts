import type { z } from "zod";
import type { Api } from "../../contract/api.ts";
import { holdView } from "../../contract/work-view.ts";
import type { WorkspaceView } from "../../contract/workspaces.ts";
import type { Core } from "../../core/core.ts";
import type { WorkspaceFacts } from "../../core/workspace/facts.ts";
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
