import type { Row, State } from "./lanes.ts";

/** Every row that the server sent. */
export function rowsOf(state: State): readonly Row[] {
  const { blocked, review, running, retrying, queued, failed, held, completed } = state;
  return [blocked, review, running, retrying, queued, failed, held, completed].flat<Row[][]>();
}

export function rowOf(state: State, issue: string): Row | undefined {
  return rowsOf(state).find((row) => row.issue_identifier === issue);
}

/**
 * `next` with the rows of `known` that say the same: a part of the page whose row is the same object has nothing to
 * show anew.
 */
export function withKnownRows(next: State, known: State | null): State {
  if (known === null) return next;
  const lists = {
    ...{ queued: kept(next.queued, known.queued), running: kept(next.running, known.running) },
    ...{ retrying: kept(next.retrying, known.retrying), review: kept(next.review, known.review) },
    ...{ blocked: kept(next.blocked, known.blocked), held: kept(next.held, known.held) },
    failed: kept(next.failed, known.failed),
    completed: kept(next.completed, known.completed),
  };
  return { ...next, ...lists };
}

function kept<R extends Row>(next: readonly R[], known: readonly R[]): R[] {
  const byIssue = new Map(known.map((row) => [row.issue_identifier, row]));
  return next.map((row) => {
    const old = byIssue.get(row.issue_identifier);
    return old !== undefined && JSON.stringify(old) === JSON.stringify(row) ? old : row;
  });
}
