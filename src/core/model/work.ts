/** One kind of work that exists only in the workspace. */
export type Work =
  | ({ readonly kind: "changed_files" | "new_files" } & Counted)
  | { readonly kind: "unfinished"; readonly operation: string }
  | {
      readonly kind: "commits";
      readonly count: number;
      /** True when there are more commits than were counted. */
      readonly more: boolean;
      readonly refs: readonly string[];
    }
  | { readonly kind: "tags"; readonly count: number; readonly refs: readonly string[] }
  | { readonly kind: "stashes"; readonly count: number }
  | {
      readonly kind: "nested_repository" | "submodule";
      readonly count: number;
      readonly paths: readonly string[];
    }
  /** Content that cannot be determined counts as work. */
  | { readonly kind: "unknown"; readonly reason: string };

interface Counted {
  readonly count: number;
  /** The first ones, by path. */
  readonly examples: readonly string[];
}

const namedAtMost = 3;

/** True for work, false for none, null where it is not known. */
export function isDirty(work: readonly Work[]): boolean | null {
  if (work.length === 0) return false;
  return work.some(({ kind }) => kind !== "unknown") ? true : null;
}

/** Text for operators: `2 new files (a, b) and 1 commit on main`. */
export function workInWords(work: readonly Work[]): string {
  const parts = work.map(words);
  const last = parts.pop();
  if (last === undefined) return "nothing that is nowhere else";
  return parts.length === 0 ? last : `${parts.join(", ")} and ${last}`;
}

function words(work: Work): string {
  switch (work.kind) {
    case "changed_files":
      return `${plural(work.count, "changed file")} (${named(work.examples, work.count)})`;
    case "new_files":
      return `${plural(work.count, "new file")} (${named(work.examples, work.count)})`;
    case "unfinished":
      return `${work.operation} that is not finished`;
    case "commits": {
      const count = work.more ? `more than ${work.count} commits` : plural(work.count, "commit");
      return `${count} not pushed (${named(work.refs, work.refs.length)})`;
    }
    case "tags":
      return `${plural(work.count, "tag")} perhaps not pushed (${named(work.refs, work.count)})`;
    case "stashes":
      return plural(work.count, "stash", "stashes");
    case "nested_repository":
      return `${plural(work.count, "nested repository", "nested repositories")} (${named(work.paths, work.count)})`;
    case "submodule":
      return `${plural(work.count, "submodule")} (${named(work.paths, work.count)})`;
    case "unknown":
      return `content that cannot be determined (${work.reason})`;
  }
}

function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function named(names: readonly string[], count: number): string {
  const shown = names.slice(0, namedAtMost);
  return count > shown.length ? `${shown.join(", ")}, …` : shown.join(", ");
}
