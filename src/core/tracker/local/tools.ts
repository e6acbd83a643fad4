import type { AgentTools } from "../../agent/agent.ts";
import type { Issue } from "../../model/issue.ts";
import { issueTools } from "../issue-tools.ts";
import type { LocalIssues } from "./issues.ts";
import type { LocalOptions } from "./settings.ts";

interface Binding {
  readonly issue: Issue;
  readonly options: LocalOptions;
  /** Each call opens the store itself: a session outlives the tracker that created it. */
  readonly open: () => LocalIssues;
}

/** The tools of `issueTools` on the store of the local tracker. */
export function localTools({ issue, options, open }: Binding): AgentTools {
  const { id, identifier } = issue;
  return issueTools(issue, options.states, async () => {
    const issues = open();
    return {
      read: async () => issues.byIds([id])[0],
      comments: async () => issues.comments(identifier),
      comment: async (body) => issues.comment(identifier, { author: "agent", body }).at,
      move: async (state) => void issues.edit(identifier, { state }),
      close: () => issues.close(),
    };
  });
}
