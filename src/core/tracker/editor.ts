import { randomUUID } from "node:crypto";
import { SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import type { IssueChange, IssueEditor, Tracker } from "./tracker.ts";

type Editable = Pick<Tracker, "kind" | "editor" | "workflow" | "fetchIssuesByIds">;

/**
 * How people's writes reach a tracker: by its own editor, else as far as its moves and comments can do them. Everything else
 * rejects with `tracker_read_only`, and changes nothing.
 */
export function editorOf(tracker: Editable): IssueEditor {
  const { kind, editor, workflow } = tracker;
  return (
    editor ?? {
      create: async () =>
        readOnly(kind, "makes no issues here", "make it in the tracker: the next poll finds it"),
      edit: (issue, change) => edit(tracker, issue, change),
      async comment(issue, body) {
        if (workflow.comment === undefined)
          readOnly(kind, "takes no comments here", "write it in the tracker");
        else await workflow.comment(issue, { key: `operator:${randomUUID()}`, body });
      },
    }
  );
}

/** A state alone is a move. */
async function edit(tracker: Editable, issue: Issue, change: IssueChange): Promise<Issue> {
  const { kind, workflow } = tracker;
  const { state, ...more } = change;
  const others = Object.values(more).some((value) => value !== undefined);
  if (state === undefined || others) {
    const hint = `symphony issue move and comment work; the rest of ${issue.identifier} is edited in the tracker`;
    return readOnly(kind, "changes nothing here but the state of an issue", hint);
  }
  await workflow.move(issue, state);
  const [moved] = await tracker.fetchIssuesByIds([issue.id]);
  // It may have left the scope.
  return moved ?? { ...issue, state };
}

function readOnly(kind: string, why: string, hint: string): never {
  const details = { kind };
  throw new SymphonyError("tracker_read_only", `the ${kind} tracker ${why}`, { details, hint });
}
