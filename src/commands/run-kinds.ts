import type { TrackerConfig } from "../core/config/config.ts";
import { type Kinds, kinds } from "../core/kinds.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { Issue } from "../core/model/issue.ts";
import { requireTrackerKind, type TrackerAdapter } from "../core/tracker/kinds.ts";
import type { Tracker } from "../core/tracker/tracker.ts";

/** Symphony's kinds with trackers that list one issue alone, so that nothing else is started. */
export function kindsFor(identifier: string): Kinds {
  const trackers = kinds.trackers.map((row) => ({
    ...row,
    async load(): Promise<TrackerAdapter> {
      const adapter = await row.load();
      return {
        ...adapter,
        create: (config, deps) => oneIssue(adapter.create(config, deps), identifier),
      };
    },
  }));
  return { ...kinds, trackers };
}

function oneIssue(tracker: Tracker, identifier: string): Tracker {
  const isIt = (issue: Issue) => issue.identifier.toLowerCase() === identifier.toLowerCase();
  let last: { readonly all: readonly Issue[]; readonly own: readonly Issue[] } | null = null;
  const own: Pick<Tracker, "fetchIssuesByStates" | "fetchIssuesByIds"> = {
    async fetchIssuesByStates(states: readonly string[]): Promise<readonly Issue[]> {
      const all = await tracker.fetchIssuesByStates(states);
      // The same list as before is the same array, so that nothing is done for it.
      if (last?.all !== all) last = { all, own: all.filter(isIt) };
      return last.own;
    },
    async fetchIssuesByIds(ids: readonly string[]): Promise<readonly Issue[]> {
      const all = await tracker.fetchIssuesByIds(ids);
      // A retry of another issue that an earlier server left keeps its place for the next server.
      const [only] = all;
      if (ids.length === 1 && only !== undefined && !isIt(only)) {
        throw new SymphonyError("tracker_request", `only ${identifier} is worked on by this run`);
      }
      return all;
    },
  };
  // Everything else is asked of the tracker itself, which may have private fields.
  return new Proxy(tracker, {
    get(target, name) {
      // Its reads would list the other issues too.
      if (name === "partial") return undefined;
      if (name in own) return Reflect.get(own, name);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/**
 * The kinds of a run of an issue that no tracker has: the tracker that the workflow file names is replaced by symphony's
 * own, with the states of the file and one for review.
 */
export function kindsWithOwnIssues(): Kinds {
  const own = requireTrackerKind(kinds.trackers, "local");
  const settings = (config: TrackerConfig): TrackerConfig => ({
    ...config,
    kind: own.kind,
    provider: { prefix: "RUN", states: reviewStates(config) },
  });
  const trackers = kinds.trackers.map((row) => ({
    ...row,
    async load(): Promise<TrackerAdapter> {
      const adapter = await own.load();
      return {
        check: (config, lookup) => adapter.check(settings(config), lookup),
        create: (config, deps) => adapter.create(settings(config), deps),
        openIssues: (config, deps) => adapter.openIssues(settings(config), deps),
      };
    },
  }));
  return { ...kinds, trackers };
}

/** Where an issue of a file waits when its run is over. */
export const reviewState = "In Review";

/** Every other state that the file moves issues to. */
function reviewStates({ inProgress, onSuccess, onMerged }: TrackerConfig): readonly string[] {
  const named = [inProgress, onSuccess.kind === "state" ? onSuccess.name : null, onMerged];
  return [reviewState, ...named.filter((name) => name !== null)];
}
