import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import { findSight } from "../find-issue.ts";
import type { Handlers } from "../mount.ts";

/** The choice of a model: also for an issue that only the tracker knows by now. */
export function modelHandlers(core: Core) {
  return {
    async model({ params, body }) {
      const { issue } = await findSight(core, params.id);
      const choice = {
        model: body.model,
        effort: body.reasoning_effort ?? null,
        agent: body.agent ?? null,
      };
      const applies = await core.orchestrator.chooseModel(issue, choice);
      return {
        issue_identifier: issue.identifier,
        model: choice.model,
        reasoning_effort: choice.effort,
        agent: choice.agent,
        applies,
      };
    },
  } satisfies Partial<Handlers<Api["issues"]>>;
}
