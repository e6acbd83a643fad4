import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import type { PartialRead } from "../tracker/partial.ts";
import type { PollPace } from "../tracker/tracker.ts";
import type { Effect, Gone, Input } from "./messages.ts";
import type { Fault } from "./state.ts";

/** What the orchestrator reads. */
export interface ReadPorts {
  /** Re-reads the workflow file if it changed, right before candidates are read. */
  preflight(): Promise<Fault | null>;
  /** A part of the scope may fail by itself. */
  fetchCandidates(): Promise<PartialRead>;
  /** What the tracker's budget asks of the next poll. */
  pollPace?(): PollPace | null;
  fetchIssues(ids: readonly string[]): Promise<PartialRead>;
  /** Why the last read by id left this issue out; null: not known. */
  whyGone?(id: string): string | null;
}

type ReadType = "refreshRunning" | "preflight" | "fetchCandidates" | "verifyIssues" | "checkIssue";
type Read = Extract<Effect, { type: ReadType }>;

/** Carries out one read; its answer or its fault is an input. Never rejects. */
export async function readFrom(ports: ReadPorts, effect: Read): Promise<Input> {
  const { request } = effect;
  try {
    switch (effect.type) {
      case "refreshRunning": {
        const { ids, issues } = partOf(effect.ids, await ports.fetchIssues(effect.ids));
        const gone = goneOf(ports, ids, issues);
        return { type: "running.refreshed", request, ids, issues, ...gone };
      }
      case "preflight":
        return { type: "preflight.ended", request, problem: await ports.preflight() };
      case "fetchCandidates": {
        const { issues, unread } = await ports.fetchCandidates();
        const pace = ports.pollPace?.() ?? null;
        return { type: "candidates.fetched", request, issues, pace, ...(unread && { unread }) };
      }
      case "verifyIssues": {
        const read = partOf(effect.ids, await ports.fetchIssues(effect.ids));
        return { type: "issues.verified", request, ...read };
      }
      case "checkIssue": {
        const { issueId } = effect;
        const { issues, unread } = await ports.fetchIssues([issueId]);
        if (unread) {
          const { code, message } = unread;
          return failedRead(ports, effect, { code, message });
        }
        const gone = goneOf(ports, [issueId], issues);
        return { type: "issue.checked", request, issueId, issue: issues[0] ?? null, ...gone };
      }
    }
  } catch (error) {
    return failedRead(ports, effect, faultOf(error));
  }
}

/** The issues, and which of the ids were read. */
function partOf(ids: readonly string[], { issues, unread }: PartialRead) {
  const left = new Set(unread?.ids);
  return { ids: ids.filter((id) => !left.has(id)), issues };
}

/** What the tracker says about the issues that its answer leaves out. */
function goneOf(
  ports: ReadPorts,
  ids: readonly string[],
  issues: readonly Issue[],
): { readonly gone?: Gone } {
  if (ids.length === issues.length) return {};
  const there = new Set(issues.map(({ id }) => id));
  const said = ids.flatMap((id): (readonly [string, string])[] => {
    const why = there.has(id) ? null : (ports.whyGone?.(id) ?? null);
    return why === null ? [] : [[id, why]];
  });
  return said.length === 0 ? {} : { gone: Object.fromEntries(said) };
}

function failedRead(ports: ReadPorts, effect: Read, error: Fault): Input {
  const { request } = effect;
  switch (effect.type) {
    case "refreshRunning":
      return { type: "running.refreshFailed", request, error };
    case "preflight":
      return { type: "preflight.ended", request, problem: error };
    case "fetchCandidates": {
      // A refusal for its rate says when to ask again, and that is kept by the tracker.
      const pace = error.code === "tracker_rate_limited" ? null : (ports.pollPace?.() ?? null);
      return { type: "candidates.failed", request, error, pace };
    }
    case "verifyIssues":
      return { type: "issues.verifyFailed", request, error };
    case "checkIssue":
      return { type: "issue.checkFailed", request, issueId: effect.issueId, error };
  }
}

function faultOf(error: unknown): Fault {
  const code = error instanceof SymphonyError ? error.code : "tracker_request";
  return { code, message: messageOf(error) };
}
