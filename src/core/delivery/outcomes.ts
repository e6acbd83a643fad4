import { adviceOf, messageOf, SymphonyError } from "../model/errors.ts";
import { ForgeError } from "../model/forge-error.ts";
import { repositoryNamed } from "../repository/routing.ts";
import { conversationKind } from "./conversation-table.ts";
import type { Delivered, Reach } from "./delivered.ts";
import type { Check } from "./forge.ts";
import { rerunKey } from "./judge.ts";
import { commentKind, type LivingComments } from "./living-comment.ts";
import type { Written } from "./outbox.ts";
import type { DeliveryStore, Entry } from "./store.ts";

interface OutcomesDeps extends Reach {
  readonly store: DeliveryStore;
  readonly comments: Pick<LivingComments, "written"> | null;
  /** As `DeliveriesDeps` has it. */
  conversationWritten?(entry: Entry, written: Written): void;
  save(delivery: Delivered): void;
  /** Reads what the site has now. */
  look(issueId: string): Promise<void>;
}

/** Writes to the tracker that every issue has. */
const moves: ReadonlySet<string> = new Set(["start", "move", "finish", "link"]);

/** What each try of a write leads to: what is shown, and what is read next. */
export class Outcomes {
  readonly #deps: OutcomesDeps;
  /** What the tracker last refused for good: a credential that may not write is refused for every issue, and said once. */
  #refusal: string | null = null;

  constructor(deps: OutcomesDeps) {
    this.#deps = deps;
  }

  /** Takes one. */
  take(entry: Entry, written: Written): void {
    const { bus, log } = this.#deps;
    if (entry.kind === conversationKind) {
      this.#deps.conversationWritten?.(entry, written);
      return;
    }
    const known = this.#deps.store.of(entry.issueId);
    if (known === null) return;
    const { issueId, issueIdentifier } = known;
    if (entry.kind === commentKind) return this.#deps.comments?.written(known, written);
    const isMove = moves.has(entry.kind);
    if (written.outcome === "done" || written.outcome === "dropped") {
      if (isMove && written.outcome === "done") this.#refusal = null;
      // A merge that is dropped is ordered again when it is due.
      const isOver = written.outcome === "done" || entry.kind === "merge";
      const isMended = isOver && known.problemWith === entry.kind;
      if (isMended) this.#deps.save({ ...known, problem: null, problemWith: null });
      if (entry.kind === "push" && written.outcome === "done") void this.#keep(issueId);
      if (entry.kind === "pull_request" || entry.kind === "push") void this.#deps.look(issueId);
      return;
    }
    if (written.outcome === "later") return;
    if (entry.kind === "rerun" && written.outcome === "final") return this.#notRerun(known, entry);
    const problem = written.reason.includes("; next: ")
      ? written.reason
      : `${written.reason}; next: symphony deliver ${issueIdentifier}`;
    const isSaid = isMove && written.reason === this.#refusal;
    const isNews = known.problem !== problem && !isSaid;
    if (isMove && written.outcome === "final") this.#refusal = written.reason;
    this.#deps.save({ ...known, problem, problemWith: entry.kind });
    if (!isNews) return;
    log.warn("delivery", { issue_identifier: issueIdentifier, reason: written.reason });
    bus.publish({
      type: "delivery.refused",
      issueId,
      issueIdentifier,
      message: written.reason,
      data: { step: entry.kind, final: written.outcome === "final" },
    });
  }

  /** Nothing can run the check again: its failure counts as it is. */
  #notRerun(known: Delivered, { payload }: Entry): void {
    const of = rerunKey(payload["check"] as Check);
    const reruns = { ...known.reruns, [of]: { of: "", at: this.#deps.clock.wall() } };
    this.#deps.save({ ...known, reruns });
  }

  /** So that the work can be shown when its workspace and its branch are gone. */
  async #keep(issueId: string): Promise<void> {
    const { config, keep, release, log } = this.#deps;
    const known = this.#deps.store.of(issueId);
    const rule = repositoryNamed(known?.repository, config().git.repositories);
    if (!known?.branch || known.pushed === null || rule === null) return;
    try {
      const loan = await keep(rule, known.branch, known.pushed);
      const now = this.#deps.store.of(issueId);
      if (now) this.#deps.save({ ...now, loan });
      if (known.loan) await release(known.loan);
    } catch (error) {
      const reason = messageOf(error);
      log.debug("pushed work is not kept in its mirror", { issue_id: issueId, reason });
    }
  }
}

const finalCodes: ReadonlySet<string> = new Set([
  "transition_not_allowed",
  "tracker_read_only",
  "issue_not_found",
]);

/** What a rejection means for the entry. Unknown is tried again. */
export function failureOf(error: unknown, next: string, wall: number): Written {
  const reason = `${adviceOf(error)}${next}`;
  const cause = error instanceof SymphonyError ? error.cause : error;
  if (cause instanceof ForgeError) {
    if (cause.final) return { outcome: "final", reason };
    return { outcome: "failed", reason, at: cause.retryAt };
  }
  if (!(error instanceof SymphonyError)) return { outcome: "failed", reason };
  if (finalCodes.has(error.code)) return { outcome: "final", reason };
  // A tracker's rate limit.
  const { retryAt, retryAfterMs } = error.details;
  const named = typeof retryAt === "string" ? Date.parse(retryAt) : Number.NaN;
  const at = typeof retryAfterMs === "number" ? wall + retryAfterMs : named;
  return { outcome: "failed", reason, at: Number.isNaN(at) ? null : at };
}
