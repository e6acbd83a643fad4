import type { Core } from "../../core/core.ts";
import { findStatus } from "../../core/find-issue.ts";
import { type ErrorCode, SymphonyError } from "../../core/model/errors.ts";
import type { IssueStatusView } from "../../core/orchestrator/snapshot.ts";

/** Refusals that mean: no agent works on the issue. */
const idleCodes: ReadonlySet<ErrorCode> = new Set([
  "not_running",
  "no_active_turn",
  "nothing_asked",
]);

/** Says what the issue waits for instead of an agent; `code` is the refusal for one that is not in memory. */
export async function orIdle<T>(
  core: Core,
  name: string,
  work: Promise<T>,
  code: ErrorCode,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    const isMissing = error.code === "issue_not_found";
    if (!isMissing && !idleCodes.has(error.code)) throw error;
    const status = await findStatus(core, name);
    if (status.running) throw error;
    throw idle(status, isMissing ? code : error.code);
  }
}

/** `ENG-5 is in Backlog; no agent works on it: state is Backlog (opens by: move it to Todo)`. */
function idle(status: IssueStatusView, code: ErrorCode): SymphonyError {
  const { identifier, state } = status.issue;
  const { gate, why } = firstShut(status);
  const message = `${identifier} is in ${state}; no agent works on it: ${why}`;
  return new SymphonyError(code, message, {
    details: { state, status: status.status, gate },
    hint: `symphony explain ${identifier}`,
  });
}

const statuses: ReadonlySet<string> = new Set(["queued", "held", "completed"]);

/** An issue that is neither queued nor worked on has no status to leave: says what it misses to get one. */
export async function orNotMoved<T>(
  status: IssueStatusView,
  to: string,
  work: Promise<T>,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const isRefusal = error instanceof SymphonyError && refusals.has(error.code);
    if (!isRefusal || status.status !== null || !statuses.has(to)) throw error;
    const { identifier, state } = status.issue;
    const { gate, why } = firstShut(status);
    const message = `${identifier} is in ${state} and is not among the issues to work on: ${why}`;
    throw new SymphonyError("transition_not_allowed", message, {
      cause: error,
      details: { allowed: error.details["allowed"] ?? [], state, gate },
      hint: `symphony explain ${identifier}`,
    });
  }
}

/** The second: the tracker knows no states for an issue of a team outside of the scope. */
const refusals: ReadonlySet<ErrorCode> = new Set(["transition_not_allowed", "tracker_response"]);

/** The first closed gate, in words; that it waits for its retry says less than what the retry waits for. */
function firstShut({ explain }: IssueStatusView) {
  const shut = explain.filter(({ pass }) => !pass);
  const found = shut.find(({ gate }) => gate !== "not_claimed") ?? shut[0];
  const why = found
    ? `${found.detail} (opens by: ${found.opens ?? "itself"})`
    : "its turn has not come";
  return { gate: found?.gate ?? null, why };
}
