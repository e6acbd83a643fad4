const mostTold = 1_000;
/** A dispatch that comes later has another cause: a poll, a free slot. */
const toldForMs = 60_000;

/** Issues that a webhook told of and that were not dispatched yet. */
export class Told {
  readonly #at = new Map<string, number>();

  note(issueId: string, now: number): void {
    this.#at.delete(issueId);
    this.#at.set(issueId, now);
    const [oldest] = this.#at.keys();
    if (oldest !== undefined && this.#at.size > mostTold) this.#at.delete(oldest);
  }

  /** When the issue was told of, where that led to this dispatch; else now. */
  take(issueId: string | null, now: number): number {
    const at = issueId === null ? undefined : this.#at.get(issueId);
    if (issueId !== null) this.#at.delete(issueId);
    return at !== undefined && now - at <= toldForMs ? at : now;
  }
}
