import type { z } from "zod";
import type { IssueDetail } from "../../contract/issues.ts";
import type { Then } from "../../core/as-of.ts";
import type { Core } from "../../core/core.ts";
import type { Delivery } from "../../core/model/delivery.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import { templateFor } from "../../core/orchestrator/choice.ts";
import { type IssueStatusView, statusOfIdentifier } from "../../core/orchestrator/snapshot.ts";
import { displayText } from "../../core/text/text.ts";
import { KeptAnswers, Prepared } from "../replies.ts";
import { detailView } from "../views.ts";

const latestAttempts = 5;
const recentEvents = 50;
/** How far back an earlier moment of one issue is shown with its history. */
const attemptsRead = 500;
const eventsRead = 5_000;

/** null for an issue whose work was never offered. */
function shownDelivery({ deliveries }: Core, issueId: string): Delivery | null {
  const found = deliveries.of(issueId);
  return found !== null && found.offeredAt > 0 ? found : null;
}

interface KeptDetail {
  readonly reply: Prepared<z.output<typeof IssueDetail>>;
  /** The recorded place of its workspace, and whether nothing was there any more: a person may remove it. */
  readonly place: string | null;
  readonly isGone: boolean;
}

/** The details that were shown, each kept while nothing that it is made from has changed. */
export function keptDetails(core: Core) {
  const kept = new KeptAnswers<KeptDetail>(
    ({ place, isGone }) => place === null || core.workspaces.isGone(place) === isGone,
  );
  const marks = (): readonly unknown[] => {
    const { orchestrator, history, secretsKnown, workspaces, deliveries } = core;
    const versions = [history.changes(), secretsKnown(), workspaces.kept.version];
    return [
      ...orchestrator.marks(),
      orchestrator.trackerHealthy(),
      ...versions,
      deliveries.version,
    ];
  };
  return {
    marks,
    peek: (id: string) => kept.peek(id, marks())?.reply,
    /** `asOf`: the marks of a moment before `status` was read. */
    get(id: string, status: IssueStatusView, asOf: readonly unknown[]) {
      const make = () => {
        const { detail, ...rest } = detailOf(core, status);
        return { ...rest, reply: Prepared.of(detail, core.redact) };
      };
      return kept.get(id, asOf, make).reply;
    },
  };
}

/** An issue as it is now. */
export function detailOf(core: Core, status: IssueStatusView) {
  // Includes events that have not been written to disk yet.
  core.bus.flush();
  const { attempts, total } = core.history.attemptsOf(status.issue.id, latestAttempts, 0);
  const events = core.history.recentEvents(status.issue.id, recentEvents);
  const place = core.workspaces.placeOf(status.issue);
  const latest =
    attempts.find(({ workspacePath }) => workspacePath !== null)?.workspacePath ?? null;
  const isGone = latest !== null && core.workspaces.isGone(latest);
  const kept = core.workspaces.kept.of(status.issue);
  const delivery = shownDelivery(core, status.issue.id);
  const { config } = core.config.current;
  const detail = detailView(status, {
    ...{ attempts, attemptCount: total, events, place, isGone, kept, delivery },
    away: core.ssh()?.placeOf(status.issue.id) ?? null,
    maxRounds: config.delivery.maxRounds,
    template: templateFor(status.templateId, status.issue, config),
    lastFeedback: lastFeedback(core, status.issue.id),
  });
  return { detail, place: latest, isGone };
}

/** Of the past, only what was there then; where its work was delivered is not part of the record. */
export function detailThen(core: Core, identifier: string, then: Then) {
  const { history } = core;
  const { state, config, wall, event } = then;
  const status = statusOfIdentifier(state, then, identifier, history);
  if (status === null) {
    throw new SymphonyError("issue_not_found", `no issue ${identifier} was known here then`, {
      hint: "symphony state --at shows what was",
    });
  }
  const { id } = status.issue;
  const all = history.attemptsOf(id, attemptsRead, 0).attempts;
  const attempts = all.filter(({ startedAt }) => startedAt <= wall);
  const events = history.recentEvents(id, eventsRead).filter(({ seq }) => seq <= event);
  return detailView(status, {
    attempts: attempts.slice(0, latestAttempts),
    attemptCount: attempts.length,
    events: events.slice(0, recentEvents),
    ...{ place: null, isGone: false, kept: [], delivery: null, lastFeedback: null },
    away: null,
    maxRounds: config.delivery.maxRounds,
    template: templateFor(status.templateId, status.issue, config),
  });
}

const feedbackShown = 500;

/** Redacted before it is cut: half a secret would not be recognized. */
function lastFeedback({ deliveries, redact }: Core, issueId: string) {
  const last = deliveries.lastFeedback(issueId);
  return last && { ...last, text: displayText(redact(last.text), feedbackShown) };
}
