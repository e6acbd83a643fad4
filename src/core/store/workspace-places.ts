import type { WorkspacePlace } from "./store.ts";

/** A directory, and the newest attempt that used it. */
export interface PlaceOfAttempt extends WorkspacePlace {
  readonly attemptId: string;
}

/** The directories used by attempts, by path and by the issue of the newest attempt there. */
export class WorkspacePlaces {
  readonly #byPath = new Map<string, PlaceOfAttempt>();
  readonly #byIssue = new Map<string, Map<string, PlaceOfAttempt>>();

  constructor(places: Iterable<PlaceOfAttempt>) {
    for (const place of places) this.add(place);
  }

  /** An earlier attempt may be saved again after a later one; this then changes nothing. */
  add(place: PlaceOfAttempt): void {
    const { path, issueId } = place;
    const known = this.#byPath.get(path);
    if (known && known.attemptId > place.attemptId) return;
    if (known) this.#byIssue.get(known.issueId)?.delete(path);
    this.#byPath.set(path, place);
    const own = this.#byIssue.get(issueId) ?? new Map<string, PlaceOfAttempt>();
    this.#byIssue.set(issueId, own.set(path, place));
  }

  all(): Iterable<WorkspacePlace> {
    return this.#byPath.values();
  }

  at(path: string): WorkspacePlace | null {
    return this.#byPath.get(path) ?? null;
  }

  ofIssue(issueId: string): Iterable<WorkspacePlace> {
    return this.#byIssue.get(issueId)?.values() ?? [];
  }
}
