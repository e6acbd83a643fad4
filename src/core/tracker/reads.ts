import type { PartialRead, PartialReads } from "./partial.ts";
import type { Tracker } from "./tracker.ts";

type FetchByIds = (ids: readonly string[]) => Promise<PartialRead>;

interface Waiting {
  readonly ids: Set<string>;
  readonly answer: Promise<PartialRead>;
  readonly start: () => void;
}

/** Its reads in parts; a tracker without parts is read whole, or not at all. */
export function partsOf(
  tracker: Pick<Tracker, "partial" | "fetchIssuesByStates" | "fetchIssuesByIds">,
): PartialReads {
  const whole = async (read: Promise<PartialRead["issues"]>) => ({
    issues: await read,
    unread: null,
  });
  return (
    tracker.partial ?? {
      byStates: (states) => whole(tracker.fetchIssuesByStates(states)),
      byIds: (ids) => whole(tracker.fetchIssuesByIds(ids)),
    }
  );
}

/** Reads of single issues that are sent one by one; further reads wait and share the next request. */
const ownAtOnce = 3;

/**
 * Reads by id, made so that a burst (a bulk edit in the tracker, one issue edited many times) costs few requests: every
 * result still comes from a request that was sent after the read was requested.
 */
export function sharedReads(fetch: FetchByIds): FetchByIds {
  let underWay = 0;
  let waiting: Waiting | null = null;
  const read = async (ids: readonly string[]) => {
    underWay += 1;
    try {
      return await fetch(ids);
    } finally {
      underWay -= 1;
      const next = waiting;
      waiting = null;
      next?.start();
    }
  };
  const join = (id: string) => {
    waiting ??= batch(read);
    waiting.ids.add(id);
    return waiting.answer.then(({ issues, unread }) => ({
      issues: issues.filter((issue) => issue.id === id),
      unread: unread?.ids.includes(id) ? unread : null,
    }));
  };
  return (ids) => {
    const [only] = ids;
    if (only === undefined || ids.length > 1) return fetch(ids);
    return underWay < ownAtOnce ? read(ids) : join(only);
  };
}

function batch(read: FetchByIds): Waiting {
  const ids = new Set<string>();
  const { promise, resolve } = Promise.withResolvers<void>();
  return { ids, answer: promise.then(() => read([...ids])), start: resolve };
}
