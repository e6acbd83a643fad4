import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import type { Held, Running } from "./issues.ts";
import type { Exit } from "./messages.ts";
import { runAgain } from "./offer.ts";
import { hasBegun, recheckRequested } from "./poll.ts";
import { relisted } from "./queue.ts";
import { claimed, type State } from "./state.ts";
import { hold } from "./stop.ts";

// An issue whose prompt cannot be rendered: a retry would find the same text, so it waits for another one.

const promptFaults: ReadonlySet<string> = new Set([
  "template_parse_error",
  "template_render_error",
  "template_not_found",
]);

export function isPromptFault(code: string): boolean {
  return promptFaults.has(code);
}

/** Holds the issue of an attempt that could not get its prompt, with the reason. */
export function holdForPrompt(
  state: State,
  { issue, templateId, attemptId }: Running,
  { exit, context }: { exit: Extract<Exit, { kind: "failed" }>; context: Context },
): Decision {
  const reason = `${exit.message}; it continues when the template changes`;
  const data = { attempt: attemptId, template_id: templateId, code: exit.code };
  return hold(state, issue, { reason, templateId, data, context });
}

/** Issues that were held for this template continue; null: those held for any. */
export function promptChanged(state: State, templateId: string | null, context: Context): Decision {
  if (state.draining) return decided(state);
  const rows = [...state.issues.of("held").values()].filter((row) => isOf(row, templateId));
  return rows.reduce(
    (decision, row) => andThen(decision, (next) => queuedAgain(next, row, context)),
    decided(state),
  );
}

/** An operator chose a template for this issue: it continues if it was held for another one. */
export function otherPromptChosen(state: State, issueId: string, context: Context): Decision {
  const row = state.issues.of("held").get(issueId);
  if (
    state.draining ||
    row?.templateId === undefined ||
    row.templateId === row.choices.templateId
  ) {
    return decided(state);
  }
  return queuedAgain(state, row, context);
}

function isOf({ templateId }: Held, changed: string | null): boolean {
  if (templateId === undefined) return false;
  return changed === null || templateId === changed || templateId.startsWith(`${changed}:`);
}

function queuedAgain(state: State, { issue }: Held, context: Context): Decision {
  const { id } = issue;
  const message = "its template has changed";
  if (state.issues.get(id)?.offer) {
    return runAgain(state, issue, { message, byPerson: true, context });
  }
  const free = relisted(claimed(state, { claim: "free", issue, worked: true }), issue, context);
  const queued = decided(
    free,
    { type: "saveRecord", issueId: id },
    tell("issue.queued", issue, { message }),
  );
  // The first poll reads it anyway.
  return hasBegun(state) ? andThen(queued, (next) => recheckRequested(next, id)) : queued;
}
