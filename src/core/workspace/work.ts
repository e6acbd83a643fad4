import { oneLine } from "../one-line.ts";
import { type Baseline, readBaseline, statesOf } from "./baseline.ts";
import { examine, type Findings, kindOf } from "./examine.ts";
import { plainName } from "./raw-name.ts";

/** One kind of work that is nowhere else. */
export type Work =
  | ({ readonly kind: "changed_files" | "new_files" } & Counted)
  | { readonly kind: "unfinished"; readonly operation: string }
  | {
      readonly kind: "commits";
      readonly count: number;
      /** True when there are more than were counted. */
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
  /** What cannot be determined counts as work. */
  | { readonly kind: "unknown"; readonly reason: string };

interface Counted {
  readonly count: number;
  /** The first ones, by path. */
  readonly examples: readonly string[];
}

const mostExamples = 10;
const namedAtMost = 3;
const maxNameChars = 300;
const maxReasonChars = 500;
/** Longer nobody waits for an answer: then what is there is not known. */
const lookLimitMs = 300_000;

/**
 * What the directory at `path`, a workspace, holds that is nowhere else; nothing, if it can be deleted without a loss.
 * Nothing in it is run. Never rejects: what cannot be determined is an answer too.
 */
export async function workIn(path: string, signal?: AbortSignal): Promise<readonly Work[]> {
  return workOf(await findingsIn(path, signal));
}

/** The same in detail. */
export async function findingsIn(path: string, signal?: AbortSignal): Promise<Findings> {
  const limit = AbortSignal.timeout(lookLimitMs);
  const baseline = await readBaseline(path);
  return examine(path, {
    baseline,
    intoIgnored: true,
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
}

/** What a workspace is that has just been made for an issue. Never rejects. */
export async function baselineOf(
  path: string,
  issueId: string,
  signal?: AbortSignal,
): Promise<Baseline> {
  const how = { baseline: null, intoIgnored: false, ...(signal && { signal }) };
  const { repository, refs, changed, fresh, staged, problems } = await examine(path, how);
  const own = [...(refs?.all ?? [])].filter(([name]) => !name.startsWith("refs/remotes/"));
  return {
    issueId,
    repository: kindOf(repository),
    head: refs?.head ?? null,
    refs: new Map(own),
    staged,
    files: problems.length > 0 ? null : await statesOf(path, [...changed, ...fresh]),
  };
}

export function workOf(found: Findings): readonly Work[] {
  const { onlyHere, refs, unfinished, problems } = found;
  const all: (Work | null)[] = [
    counted("changed_files", found.changed),
    counted("new_files", found.fresh),
    unfinished === null ? null : { kind: "unfinished", operation: unfinished },
    onlyHere === null || onlyHere.commits === 0
      ? null
      : {
          kind: "commits",
          count: onlyHere.commits,
          more: onlyHere.more,
          refs: first(onlyHere.refs),
        },
    onlyHere === null || onlyHere.tags.length === 0
      ? null
      : { kind: "tags", count: onlyHere.tags.length, refs: first(onlyHere.tags) },
    refs === null || refs.stashes === 0 ? null : { kind: "stashes", count: refs.stashes },
    listed("nested_repository", found.nested),
    listed("submodule", found.submodules),
    ...problems.map((reason) => unknown(reason)),
  ];
  return all.filter((one) => one !== null);
}

export function unknown(reason: string): Work {
  return { kind: "unknown", reason: oneLine(reason, maxReasonChars) };
}

/** True for work, false for none, null where it is not known. */
export function isDirty(work: readonly Work[]): boolean | null {
  if (work.length === 0) return false;
  return work.some(({ kind }) => kind !== "unknown") ? true : null;
}

/** `2 new files (a, b) and 1 commit on main`; for people. */
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
      return `${count} that no remote has (${named(work.refs, work.refs.length)})`;
    }
    case "tags":
      return `${plural(work.count, "tag")} that no remote has (${named(work.refs, work.count)})`;
    case "stashes":
      return plural(work.count, "stash", "stashes");
    case "nested_repository":
      return `${plural(work.count, "nested repository", "nested repositories")} (${named(work.paths, work.count)})`;
    case "submodule":
      return `${plural(work.count, "submodule")} (${named(work.paths, work.count)})`;
    case "unknown":
      return `what cannot be determined (${work.reason})`;
  }
}

function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function named(names: readonly string[], count: number): string {
  const shown = names.slice(0, namedAtMost);
  return count > shown.length ? `${shown.join(", ")}, …` : shown.join(", ");
}

function counted(kind: "changed_files" | "new_files", names: readonly string[]): Work | null {
  return names.length === 0 ? null : { kind, count: names.length, examples: first(names) };
}

function listed(kind: "nested_repository" | "submodule", names: readonly string[]): Work | null {
  return names.length === 0 ? null : { kind, count: names.length, paths: first(names) };
}

/** In the order of their names, so that the same content is told in the same words. */
function first(names: readonly string[]): readonly string[] {
  const sorted = names.toSorted().slice(0, mostExamples);
  return sorted.map((name) => oneLine(plainName(name), maxNameChars));
}
