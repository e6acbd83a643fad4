import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Needs } from "../model/attempt.ts";
import { SymphonyError } from "../model/errors.ts";
import type { AgentEvent, Answer, People } from "./agent.ts";

export interface AsksOptions {
  readonly people: People;
  readonly clock: Clock;
  emit(event: AgentEvent): void;
}

interface Open {
  readonly needs: Needs;
  /** Questions that want an answer each; 0 for an approval. */
  readonly questions: number;
  readonly settle: PromiseWithResolvers<Answer>;
  readonly cancel: () => void;
}

/**
 * What one live session waits for people to say. Nothing waits for ever: after `people.timeoutMs` the ask is
 * refused with `approval_required` or `turn_input_required`, its `details.needs` says what was wanted.
 */
export class Asks {
  readonly #options: AsksOptions;
  readonly #open = new Map<string, Open>();

  constructor(options: AsksOptions) {
    this.#options = options;
  }

  /** True while a person's word is awaited: the silence of the agent is not its own then. */
  get waiting(): boolean {
    return this.#open.size > 0;
  }

  /** Resolves with what the person said. Rejects when the time is over, or at once where nobody is to be waited for. */
  ask(needs: Needs, questions: number): Promise<Answer> {
    const { people, clock, emit } = this.#options;
    const { timeoutMs } = people;
    if (timeoutMs <= 0 || (needs.kind === "question" && people.approvals === "decline")) {
      emit({ type: "approval.requested", needs, ask: null });
      return Promise.reject(unanswered(needs));
    }
    const id = `ask_${randomUUID()}`;
    const settle = Promise.withResolvers<Answer>();
    const cancel = clock.after(timeoutMs, () => {
      this.#open.delete(id);
      settle.reject(unanswered(needs));
    });
    this.#open.set(id, { needs, questions, settle, cancel });
    emit({
      type: "approval.requested",
      needs,
      ask: { id, sinceWall: clock.wall(), untilWall: clock.wall() + timeoutMs },
    });
    return settle.promise;
  }

  /** Throws `nothing_asked` when the ask is over, `invalid_request` when the answer does not fit it. */
  answer(id: string, answer: Answer): void {
    const open = this.#open.get(id);
    if (!open)
      throw new SymphonyError("nothing_asked", "the agent does not wait for this any more");
    checkFits(open, answer);
    this.#open.delete(id);
    open.cancel();
    this.#options.emit({
      type: "approval.resolved",
      decision: decisionOf(answer),
      automatic: false,
      askId: id,
    });
    open.settle.resolve(answer);
  }

  /** Gives up all that is open; nobody hears of it any more. */
  close(): void {
    for (const [id, { cancel }] of this.#open) {
      cancel();
      this.#open.delete(id);
    }
  }
}

/** The refusal of an ask that nobody answered. */
export function unanswered(needs: Needs): SymphonyError {
  const what = needs.kind === "approval" ? "an approval" : "an answer";
  const code = needs.kind === "approval" ? "approval_required" : "turn_input_required";
  return new SymphonyError(code, `the agent waits for ${what}: ${needs.prompt}`, {
    details: { needs },
  });
}

function checkFits({ needs, questions }: Open, answer: Answer): void {
  if (needs.kind === "approval" && answer.type !== "decision") {
    throw misfit("an approval is asked for: approve or decline");
  }
  if (needs.kind === "question" && answer.type !== "answers") {
    throw misfit("a question is asked: it needs an answer in words");
  }
  if (answer.type === "answers" && answer.answers.length !== questions) {
    throw misfit(`${questions} answers are needed, ${answer.answers.length} were given`);
  }
}

function misfit(message: string): SymphonyError {
  return new SymphonyError("invalid_request", message, { hint: "symphony inbox" });
}

function decisionOf(answer: Answer): string {
  if (answer.type === "answers") return "answered";
  return answer.approve ? "approved" : "declined";
}
