import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import type { Handlers } from "../mount.ts";
import { attemptView, eventView, keptView } from "../views.ts";

export function attemptHandlers({ history, bus, workspaces }: Core): Handlers<Api["attempts"]> {
  return {
    detail({ params, query }) {
      const attempt = history.attempt(params.aid);
      if (!attempt) {
        const message = `no attempt ${params.aid} is recorded`;
        throw new SymphonyError("attempt_not_found", message, { hint: "symphony attempts ISSUE" });
      }
      bus.flush();
      const { after_seq: afterSeq, limit } = query;
      // One row more than asked for tells whether a next page exists.
      const found = history.events({ attemptId: attempt.id, afterSeq, limit: limit + 1 });
      const page = found.slice(0, limit);
      const path = attempt.workspacePath;
      const kept = path === null ? null : workspaces.kept.at(path);
      return {
        ...attemptView(attempt),
        events: page.map(eventView),
        next_after_seq: found.length > limit ? (page.at(-1)?.seq ?? null) : null,
        kept: kept?.issueId === attempt.issueId ? keptView(kept) : null,
      };
    },
  };
}
