// Which processes belong to which tree that is watched.

import type { ProcessEntry } from "./table.ts";

export interface Owner {
  /** The cookie of its processes. */
  readonly runId: string;
  /** Its first process, whose descendants count whatever their cookie; 0: only the cookie counts. */
  readonly root: number;
}

export type Families<T> = ReadonlyMap<T, readonly ProcessEntry[]>;

/** A cookie of symphony is shorter; splitting a long one would take the time of everything else. */
const maxCookieChars = 256;
const maxCookieParts = 8;

interface Owners<T> {
  readonly byDescent: readonly T[];
  readonly byCookie: readonly T[];
}

const noOwners: Owners<never> = { byDescent: [], byCookie: [] };

/**
 * The processes of each. Descent decides, because a process can change its cookie and not its parent; where it says
 * nothing, the cookie does that stands first on the way down: that of the command which a shared agent started.
 */
export function familiesOf<T extends Owner>(
  entries: readonly ProcessEntry[],
  all: readonly T[],
): Families<T> {
  const byPid = new Map(entries.map((entry) => [entry.pid, entry]));
  const roots = Map.groupBy(all, ({ root }) => root);
  const runs = Map.groupBy(all, ({ runId }) => runId);
  const owners = new Map<number, Owners<T>>();
  const families = new Map<T, ProcessEntry[]>(all.map((one) => [one, []]));
  for (const entry of entries) {
    const path: ProcessEntry[] = [];
    // What was seen ends the way, so that a list which changed while it was made has no circle.
    for (let at = byPid.get(entry.pid); at && !owners.has(at.pid); at = byPid.get(at.parentPid)) {
      owners.set(at.pid, noOwners);
      path.push(at);
    }
    for (const { pid, parentPid, runId } of path.reverse()) {
      const above = owners.get(parentPid) ?? noOwners;
      const own = roots.get(pid);
      const named = () => namesIn(runId ?? "").flatMap((name) => runs.get(name) ?? []);
      owners.set(pid, {
        byDescent: own === undefined ? above.byDescent : [...above.byDescent, ...own],
        byCookie: above.byCookie.length > 0 ? above.byCookie : named(),
      });
    }
    const { byDescent, byCookie } = owners.get(entry.pid) ?? noOwners;
    for (const one of byDescent.length > 0 ? byDescent : byCookie) families.get(one)?.push(entry);
  }
  return families;
}

/** The run that a cookie names, and those that it is a part of. */
function namesIn(cookie: string): readonly string[] {
  if (cookie === "" || cookie.length > maxCookieChars) return [];
  const parts = cookie.split("/");
  if (parts.length > maxCookieParts) return [];
  return parts.map((_, left) => parts.slice(0, left + 1).join("/"));
}
