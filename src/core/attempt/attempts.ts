// One attempt of an agent at an issue, from workspace to exit, and its recovery after a restart.

import type { AgentSession, Answer } from "../agent/agent.ts";
import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import type { AttemptOrder, Exit } from "../orchestrator/messages.ts";
import type { AttemptReports } from "../orchestrator/orchestrator.ts";
import { ContentsByPath } from "../workspace/mark.ts";
import type { Pictures } from "./pictures.ts";
import { type AttemptDeps, runAttempt } from "./run.ts";
import { ShownImages } from "./shown-images.ts";

interface Live {
  readonly abort: AbortController;
  /** null: there is none, or it has ended. */
  session: AgentSession | null;
  pictures: Pictures | null;
  /** Settles when the images of each steer so far were read: none may overtake an earlier one. */
  steers: Promise<unknown>;
  /** Set once no further turn may begin; calling it cancels the scheduled end. */
  leaving: (() => void) | null;
  /** Its turn has ended, and its work is committed and checked, which has limits of its own. */
  making: boolean;
  detached: boolean;
}

interface Steered {
  readonly turnId: string;
}

/** The live attempts by id: run, stop, steer. */
export class Attempts {
  readonly #clock: Clock;
  readonly #live = new Map<string, Live>();
  readonly #shown: ShownImages;
  readonly #contents = new ContentsByPath();

  /** `dir`: the data directory; null: what threads were given is known until the end of this process. */
  constructor(clock: Clock, dir: string | null = null) {
    this.#clock = clock;
    this.#shown = new ShownImages(dir);
  }

  /** Resolves when the attempt has ended and none of its processes is left. */
  async run(order: AttemptOrder, deps: AttemptDeps, reports: AttemptReports): Promise<Exit> {
    const abort = new AbortController();
    const none = { session: null, pictures: null, leaving: null, making: false };
    const live: Live = { abort, ...none, steers: Promise.resolve(), detached: false };
    this.#live.set(order.attemptId, live);
    try {
      return await runAttempt(order, deps, {
        signal: live.abort.signal,
        leaving: () => live.leaving !== null,
        making: (isMaking) => {
          live.making = isMaking;
          if (!isMaking || live.leaving === null) return;
          live.leaving();
          live.leaving = () => {};
        },
        entered: (phase, workspace) => reports.entered(phase, workspace),
        detached: () => live.detached,
        reported: (event) => {
          if (!live.detached) reports.reported(event);
        },
        turned: (what) => reports.turned(what),
        shownTo: (threadId) => this.#shown.of(threadId),
        earlierIn: ({ path, createdNow }) => this.#contents.of(path, createdNow),
        session: (opened) => {
          live.session = opened?.session ?? null;
          live.pictures = opened?.pictures ?? null;
          if (live.detached) detachSession(live);
        },
      });
    } finally {
      live.leaving?.();
      this.#live.delete(order.attemptId);
    }
  }

  /**
   * Ends the attempt's processes, at once or after `graceMs` unless its turn ends first: what is made of
   * it then is waited for. `run` resolves when they are gone.
   */
  stop(attemptId: string, reason: string, graceMs: number): void {
    const live = this.#live.get(attemptId);
    if (!live || live.abort.signal.aborted) return;
    live.leaving?.();
    if (graceMs > 0 && !live.making) {
      live.leaving = this.#clock.after(graceMs, () => end(live, reason));
    } else {
      live.leaving = () => {};
      if (graceMs === 0) end(live, reason);
    }
  }

  /**
   * Detaches an attempt whose agent outlives the server: `run` resolves with `detached`, unless its
   * session has ended.
   */
  detach(attemptId: string): void {
    const live = this.#live.get(attemptId);
    if (!live || live.abort.signal.aborted) return;
    live.detached = true;
    detachSession(live);
  }

  /** Steers go to the agent in the order of the calls. Rejects with `no_active_turn` or the agent's own refusal. */
  async steer(attemptId: string, steerId: string, message: string): Promise<Steered> {
    const live = this.#live.get(attemptId);
    const pictured = (live?.steers ?? Promise.resolve()).then(() => picturedFor(live, message));
    if (live) live.steers = pictured.catch(() => {});
    const { session, text, images, given } = await pictured;
    const steered = await session.steer(steerId, text, images);
    given();
    return steered;
  }

  /** Passes a person's answer to the session. Throws `nothing_asked`, `invalid_request`. */
  answer(attemptId: string, askId: string, answer: Answer): void {
    const session = this.#live.get(attemptId)?.session;
    if (!session) throw new SymphonyError("nothing_asked", "the attempt is over");
    session.answer(askId, answer);
  }
}

async function picturedFor({ session, pictures }: Partial<Live> = {}, message: string) {
  if (!session || !pictures) {
    throw new SymphonyError("no_active_turn", "the attempt has no turn under way");
  }
  const { images, note, given } = await pictures.of({ news: [message] });
  return { session, images, given, text: note === "" ? message : `${message}\n\n${note}` };
}

function end(live: Live, reason: string): void {
  live.abort.abort(new SymphonyError("turn_cancelled", reason));
  // A session in mid-turn does not watch the signal; disposing it ends the turn.
  Promise.resolve(live.session?.[Symbol.asyncDispose]()).catch(() => {
    // The attempt disposes it again and reports that error.
  });
}

/** A session that has ended, or does not exist yet, has nothing to detach. */
function detachSession({ session, abort }: Live): void {
  if (!session?.detachable) return;
  session.detachable.detach();
  abort.abort(new SymphonyError("turn_cancelled", "the server is stopping"));
}
