import { lstat } from "node:fs/promises";
import { basename } from "node:path";
import type { Work } from "../model/work.ts";
import { borrowsOf, refsBelow } from "../repository/checkout.ts";
import { mirrorIn } from "../repository/mirror.ts";
import { repositoryAt } from "../repository/refs.ts";
import type { GitHead } from "../repository/survey.ts";
import { oneLine, plainName } from "../text/text.ts";
import { type Baseline, readBaseline, statesOf } from "./baseline.ts";
import { examine, type Findings, kindOf, type RemoteCommits, requireLent } from "./examine.ts";
import { findAt, openGitMarker } from "./place.ts";

const maxExamples = 10;
const maxNameChars = 300;
const maxReasonChars = 500;
/** Time limit of one examination in ms; after it the content counts as not known. */
const examinationLimitMs = 300_000;

/**
 * The work that the workspace at `path` holds and that is nowhere else; empty if it can be deleted
 * without a loss. Runs nothing in it. Never rejects: content that cannot be determined is part of
 * the result.
 */
export async function workIn(path: string, signal?: AbortSignal): Promise<readonly Work[]> {
  return workOf(await findingsIn(path, signal));
}

/**
 * `work` without the commits of the branch that is checked out, if the commit there is `pushed`: a repository does not know
 * what its remote has. null: nothing was pushed.
 */
export function beyondPushed(
  work: readonly Work[],
  at: GitHead | null,
  pushed: string | null,
): readonly Work[] {
  if (at === null || pushed === null || at.head !== pushed) return work;
  const isOnHead = (name: string) => name === "HEAD" || name === at.branch;
  return work.filter((one) => one.kind !== "commits" || !one.refs.every(isOnHead));
}

/** As `workIn`, in detail. */
export async function findingsIn(path: string, signal?: AbortSignal): Promise<Findings> {
  const limit = AbortSignal.timeout(examinationLimitMs);
  const baseline = await readBaseline(path);
  // Whether an agent could write the refs of a workspace of an earlier version is not known.
  const isUnknown = baseline?.remote === null;
  const isOpen = isUnknown || (await findAt(openGitMarker(path))) !== "nothing";
  return examine(path, {
    ...{ baseline, isNew: false, ...(isOpen && { remote: await remoteOf(baseline) }) },
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
}

/** Rejects where an agent made the workspace's repository take objects that it was not lent: git must not read them for it. */
export async function requireLentObjects(path: string): Promise<void> {
  const [repository, baseline] = await Promise.all([repositoryAt(path), readBaseline(path)]);
  if (repository !== null && baseline !== null) await requireLent(path, repository, baseline);
}

/** What the remotes have: at least what they had when the workspace was made, and what the mirrors have now. */
async function remoteOf(baseline: Baseline | null): Promise<RemoteCommits> {
  const { loan = null, mirrors = null, remote = null } = baseline ?? {};
  const commitsIn = async (mirror: string | undefined) =>
    mirror === undefined || mirrors === null ? [] : commitsOf(mirrorIn(mirrors, mirror));
  const known = new Map([["", [...(remote ?? []), ...(await commitsIn(loan?.mirror))]]]);
  for (const { path, mirror } of loan?.submodules ?? []) known.set(path, await commitsIn(mirror));
  return (path) => known.get(path) ?? [];
}

async function commitsOf(gitDir: string): Promise<string[]> {
  return [...(await refsBelow("refs/remotes", gitDir)).values()];
}

/** The baseline of a workspace that has just been made for an issue. Never rejects. */
export async function baselineOf(
  path: string,
  {
    issueId,
    loan = null,
    mirrors = null,
  }: Pick<Baseline, "issueId"> & Partial<Pick<Baseline, "loan" | "mirrors">>,
  signal?: AbortSignal,
): Promise<Baseline> {
  const how = { baseline: null, cone: loan?.sparse ?? [], isNew: true, ...(signal && { signal }) };
  const { repository, refs, changed, fresh, staged, problems } = await examine(path, how);
  const own = [...(refs?.all ?? [])].filter(([name]) => !isRemote(name));
  const remote = [...(refs?.all ?? [])].filter(([name]) => isRemote(name)).map(([, id]) => id);
  return {
    ...{ issueId, loan, mirrors, remote: [...new Set(remote)] },
    borrows: repository === null ? [] : await borrowsOf(repository.store).catch(() => []),
    repository: kindOf(repository),
    head: refs?.head ?? null,
    refs: new Map(own),
    staged,
    files: problems.length > 0 ? null : await statesOf(path, [...changed, ...fresh]),
  };
}

function isRemote(ref: string): boolean {
  return ref.startsWith("refs/remotes/");
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

function unknown(reason: string): Work {
  return { kind: "unknown", reason: oneLine(reason, maxReasonChars) };
}

function counted(kind: "changed_files" | "new_files", names: readonly string[]): Work | null {
  return names.length === 0 ? null : { kind, count: names.length, examples: first(names) };
}

function listed(kind: "nested_repository" | "submodule", names: readonly string[]): Work | null {
  return names.length === 0 ? null : { kind, count: names.length, paths: first(names) };
}

/** Sorted by name, so that the same content always has the same text. */
function first(names: readonly string[]): readonly string[] {
  const sorted = names.toSorted().slice(0, maxExamples);
  return sorted.map((name) => oneLine(plainName(name), maxNameChars));
}

/** A file in place of a directory counts as work, unless it is empty. */
export async function workInFile(path: string): Promise<readonly Work[]> {
  const found = await lstat(path).catch(() => null);
  if (!found?.isFile() || found.size === 0) return [];
  return [{ kind: "new_files", count: 1, examples: [basename(path)] }];
}
