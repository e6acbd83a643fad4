import type { Conflict } from "../repository/merging.ts";
import { plainName } from "../text/text.ts";
import type { Delivered } from "./delivered.ts";
import { conflictSource, hashOf } from "./judge.ts";
import type { Feedback } from "./store.ts";

// The turn that a newer base leads to.

export interface Wanted {
  /** The tip of the base branch. */
  readonly base: string;
  /** The site's own word that the branch conflicts; the turn reads it if nothing better is known. */
  readonly conflict: Feedback | null;
  /** A branch that merges is left as it is. */
  readonly onlyConflicts: boolean;
}

const namedAtMost = 50;

/** The pair that an update is tried once for. */
export function keyOf({ head }: Delivered, { base }: Wanted): string {
  return `${head} ${base}`;
}

/** What came of an update, as the agent reads it: once for each head and base. */
export function feedbackOf(known: Delivered, wanted: Wanted, text: string): Omit<Feedback, "at"> {
  return {
    issueId: known.issueId,
    source: conflictSource,
    hash: hashOf(keyOf(known, wanted)),
    text,
    author: null,
    url: known.pullRequest?.url ?? null,
    byPerson: false,
    replyTo: null,
  };
}

/** What the agent has to do about each file. */
export function conflictText(
  { base }: Delivered,
  wanted: Wanted,
  conflicts: readonly Conflict[],
): string {
  const of = (kind: Conflict["kind"]) => {
    const paths = conflicts.flatMap((one) => (one.kind === kind ? [plainName(one.path)] : []));
    const more = paths.length > namedAtMost ? `, and ${paths.length - namedAtMost} more` : "";
    return paths.length === 0 ? null : `${paths.slice(0, namedAtMost).join(", ")}${more}`;
  };
  const [marks, whole, generated] = [of("marks"), of("whole"), of("generated")];
  const parts = [
    `The branch conflicts with ${base} (${wanted.base.slice(0, 10)}). Both sides are in the files of the workspace now, and the commit after this turn is the merge.`,
    marks && `With conflict markers: ${marks}. Keep what both sides meant, and remove the markers.`,
    whole &&
      `Without markers, because one side removed or replaced the file: ${whole}. Decide which version is right.`,
    generated &&
      `Generated, and at the version of ${base}: ${generated}. Do not edit them by hand: run the program that writes them, and keep the versions that ${base} has pinned.`,
    "Leave everything else that came from the base as it is.",
  ];
  return parts.filter((part) => part !== null).join("\n");
}
