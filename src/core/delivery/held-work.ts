import type { Unready } from "../attempt/turns.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Made } from "../orchestrator/messages.ts";
import type { Reach } from "./delivered.ts";

/** What the last attempt of a held issue left, and what it comes to now. */
export interface Remade {
  readonly attemptId: string;
  readonly workspacePath: string;
  readonly made: Made | Unready | null;
}

interface HeldWorkDeps extends Pick<Reach, "rests"> {
  /** Commits what the last attempt left in the workspace of a held issue; null: there is no such work. Omitted: there never is. */
  remake?(issueId: string, signal: AbortSignal): Promise<Remade | null>;
}

/**
 * Work that its attempt left in the workspace because something outside kept it from being offered,
 * such as a key that is missing. Once that is mended it is offered without a turn.
 */
export class HeldWork {
  readonly #deps: HeldWorkDeps;
  readonly #leaving = new AbortController();
  readonly #busy = new Map<string, Promise<void>>();

  constructor(deps: HeldWorkDeps) {
    this.#deps = deps;
  }

  /** Offers it, if there is any. Rejects with `nothing_to_deliver` and the reason if it still cannot be offered. */
  offer(issueId: string): Promise<void> {
    const known = this.#busy.get(issueId);
    if (known !== undefined) return known;
    const work = this.#offer(issueId).finally(() => this.#busy.delete(issueId));
    this.#busy.set(issueId, work);
    return work;
  }

  /** Resolves when nothing is committed in the issue's workspace. */
  async settled(issueId: string): Promise<void> {
    await this.#busy.get(issueId)?.catch(() => {});
  }

  async close(): Promise<void> {
    this.#leaving.abort();
    await Promise.allSettled(this.#busy.values());
  }

  async #offer(issueId: string): Promise<void> {
    const remade = (await this.#deps.remake?.(issueId, this.#leaving.signal)) ?? null;
    if (remade?.made == null || remade.made.kind === "unchanged") return;
    const { made, attemptId, workspacePath } = remade;
    if (made.kind !== "changed") throw new SymphonyError("nothing_to_deliver", made.reason);
    const { head, from = null } = made;
    if (head === null) return;
    const work = { attemptId, head, from };
    await this.#deps.rests({ type: "offer.resumed", issueId, workspacePath, made: work });
  }
}
