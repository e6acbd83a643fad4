import { basename, dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import type { SymphonyEvent } from "../model/event.ts";
import type { IssueName } from "../model/issue.ts";
import { type Work, workInWords } from "../model/work.ts";
import { gitHead } from "../repository/survey.ts";
import type { EventSink, History } from "../store/store.ts";
import { shellQuoted } from "../text/text.ts";
import { readBaseline } from "./baseline.ts";
import type { KeptCopy } from "./copies.ts";
import { type KnownPlace, keyOfAside, knownPlaces } from "./known-places.ts";
import { findAt } from "./place.ts";
import type { Removal, RemovalTarget } from "./removal.ts";
import { beyondPushed, workIn } from "./work.ts";
import type { SetAside, Workspaces } from "./workspaces.ts";

/** A workspace without an agent that is kept because of the work it holds. */
export interface Kept extends Standing {
  readonly issueIdentifier: string;
  readonly work: readonly Work[];
  /** When it was first kept, in ms since the epoch. */
  readonly since: number;
  /** The commands that an operator can use. */
  readonly next: NextCommands;
}

type Remembered = Omit<Kept, "next">;

interface KeptDeps {
  readonly workspaces: Pick<Workspaces, "remove" | "inspect" | "pathOf" | "placeOf" | "root">;
  readonly bus: EventSink;
  readonly history: Pick<
    History,
    "latestAttempt" | "recentEvents" | "workspacePlaceAt" | "workspacePlaces" | "workspacePlacesOf"
  >;
  readonly clock: Clock;
  /** Whether a live attempt uses the directory at this path, or is about to. */
  isInUse(path: string): boolean;
}

const recentEvents = 50;
const notExamined: readonly Work[] = [{ kind: "unknown", reason: "not examined yet" }];

/** Removes the workspaces of issues that have ended, and records those that are kept, and why. */
export class KeptWorkspaces {
  readonly #deps: KeptDeps;
  readonly #byPath = new Map<string, Remembered>();
  #version = 0;

  constructor(deps: KeptDeps) {
    this.#deps = deps;
  }

  /** Increases with every change: while it is equal, `list()` changes only because of attempts. */
  get version(): number {
    return this.#version;
  }

  /** Sorted by issue, without workspaces that are in use again. */
  list(): readonly Kept[] {
    const all = [...this.#byPath.values()].filter(({ path }) => !this.#deps.isInUse(path));
    const collator = new Intl.Collator("en", { numeric: true });
    all.sort((a, b) => collator.compare(a.issueIdentifier, b.issueIdentifier));
    const alone = this.#alone(all);
    return all.map((one) => ({ ...one, next: nextCommands(one, alone.has(one.path)) }));
  }

  /** Those of the issue, and those that were set aside from its place. */
  of({ id, identifier }: IssueName): readonly Kept[] {
    return this.list().filter(
      ({ issueId, issueIdentifier, key }) =>
        issueId === id || (issueIdentifier === identifier && keyOfAside(key) !== null),
    );
  }

  at(path: string): Kept | null {
    return this.#byPath.has(path) ? (this.list().find((kept) => kept.path === path) ?? null) : null;
  }

  /** The directory is gone. */
  forget(path: string): void {
    if (this.#byPath.delete(path)) this.#version++;
  }

  /**
   * The issue has ended: removes its workspaces, at the recorded paths and at the current one,
   * unless they hold work. Rejects as `Workspaces.remove` does.
   */
  async clear(issue: IssueName, recorded: string | null): Promise<void> {
    await this.#each(issue, recorded, (target) => this.#deps.workspaces.remove(target));
  }

  /**
   * An operator completed the issue: its workspaces are kept in any case, and what they hold is
   * published.
   */
  async report(issue: IssueName, recorded: string | null): Promise<void> {
    await this.#each(issue, recorded, (target) => this.#deps.workspaces.inspect(target));
  }

  /** Something was in the way of a new workspace. Listed under its own issue, if that is known. */
  wasSetAside({ issue, owner, path, work }: SetAside): void {
    const { history } = this.#deps;
    this.forget(join(dirname(path), keyOfAside(basename(path)) ?? ""));
    const identifier = (owner && history.latestAttempt(owner)?.issueIdentifier) ?? issue.identifier;
    this.#keep({ id: owner ?? issue.id, identifier }, path, work);
  }

  /**
   * Examines workspaces that no attempt will use again (`leftBehind`): those of some issues, or all
   * except those of the issues in `cleared`, which were examined already. Failures are passed to
   * `onError`.
   */
  async findLeft(
    of: { readonly issueIds: ReadonlySet<string> } | { readonly cleared: ReadonlySet<string> },
    onError: (path: string, error: unknown) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const isMeant = ({ id }: IssueName, isAside: boolean) =>
      "issueIds" in of ? of.issueIds.has(id) : isAside || !of.cleared.has(id);
    for (const { path, issue } of await leftBehind(this.#deps, isMeant)) {
      if (signal?.aborted) return;
      if (this.#byPath.has(path) || this.#deps.isInUse(path)) continue;
      try {
        this.#took(issue, path, await this.#deps.workspaces.inspect({ path, issue }));
      } catch (error) {
        if (!signal?.aborted) onError(path, error);
      }
    }
  }

  /**
   * Examines a workspace that was not examined before the server's end. If `signal` aborts first,
   * it counts as work; the commit `pushed` does not. No event is published. Never rejects.
   */
  async examineLast(
    { id, identifier }: IssueName,
    { path, pushed }: { readonly path: string; readonly pushed: string | null },
    signal: AbortSignal,
  ): Promise<void> {
    const found = this.#byPath.has(path) ? "nothing" : await findAt(path).catch(() => "nothing");
    if (found !== "directory") return;
    const seen = signal.aborted ? [] : await workIn(path, signal);
    const work = signal.aborted ? notExamined : beyondPushed(seen, await gitHead(path), pushed);
    if (work.length === 0) return;
    const since = this.#deps.clock.wall();
    const name = { issueId: id, issueIdentifier: identifier };
    this.#byPath.set(path, { ...name, key: basename(path), path, work, since });
    this.#version++;
  }

  async #each(
    issue: IssueName,
    recorded: string | null,
    work: (target: RemovalTarget) => Promise<Removal>,
  ): Promise<void> {
    const { history, workspaces, isInUse } = this.#deps;
    const latest = history.latestAttempt(issue.id)?.workspacePath ?? null;
    const faults: unknown[] = [];
    const one = async (path: string, target: string | null) => {
      // Checked each time, because time may have passed: an agent that now works there must not
      // lose its directory.
      if (isInUse(path)) return;
      try {
        this.#took(issue, target, await work({ path: target, issue }));
      } catch (error) {
        faults.push(error);
      }
    };
    // The identifier and the root may have changed. The current path may belong to another issue by
    // now.
    const paths = new Set([recorded, latest].filter((path) => path !== null));
    for (const { path } of history.workspacePlacesOf(issue.id)) paths.add(path);
    for (const path of paths) await one(path, path);
    const today = workspaces.pathOf(issue.identifier);
    if (!paths.has(today)) await one(today, null);
    if (faults.length > 0) throw faults[0];
  }

  #took(issue: IssueName, path: string | null, removal: Removal): void {
    switch (removal.outcome) {
      case "nothing":
        if (path !== null) this.forget(path);
        return;
      case "removed":
        this.forget(removal.path);
        this.#deps.bus.publish({
          type: "workspace.removed",
          issueId: issue.id,
          issueIdentifier: issue.identifier,
          message: removedMessage(removal.copy),
          data: { key: basename(removal.path), path: removal.path, ...keptIn(removal.copy) },
        });
        // It is gone from its place; the caller reports what is left of it.
        if (removal.rest !== null) throw removal.rest;
        return;
      case "kept":
        this.#keep(issue, removal.path, removal.work, removal.notCopied);
    }
  }

  #keep(
    { id, identifier }: IssueName,
    path: string,
    work: readonly Work[],
    notCopied: string | null = null,
  ): void {
    const { bus, history, clock } = this.#deps;
    const known = this.#byPath.get(path);
    const isSame = known?.issueId === id && sameWork(known.work, work);
    if (isSame) return;
    const key = basename(path);
    const reported = lastReported(history.recentEvents(id, recentEvents), path);
    const since = known?.since ?? reported?.at ?? clock.wall();
    const kept = { key, path, issueId: id, issueIdentifier: identifier, work, since };
    this.#byPath.set(path, kept);
    this.#version++;
    // It was published before the last restart.
    if (reported !== null && sameWork(reported.data["holds"], work)) return;
    const latest = history.latestAttempt(id);
    const [next] = nextCommands(kept, this.#alone([kept]).has(path));
    bus.publish({
      type: "workspace.kept",
      issueId: id,
      issueIdentifier: identifier,
      attemptId: latest?.workspacePath === path ? latest.id : null,
      message: `workspace kept, it holds ${workInWords(work)}${notCopied === null ? "" : `; no copy of it was made: ${notCopied}`}`,
      data: { key, path, next, holds: work, ...(notCopied !== null && { not_copied: notCopied }) },
    });
  }

  /** The workspaces that their key and their issue identify without ambiguity. */
  #alone(all: readonly Standing[]): ReadonlySet<string> {
    if (all.length === 0) return new Set();
    const { workspaces, history } = this.#deps;
    const known = [...history.workspacePlaces(), ...this.#byPath.values()];
    return aloneIn(workspaces.root(), all, known);
  }
}

/** Every removal says where the work went. */
function removedMessage(copy: KeptCopy | null): string {
  return copy === null
    ? "workspace removed, nothing to keep"
    : `workspace removed, its work is kept in ${copy.path}`;
}

function keptIn(copy: KeptCopy | null) {
  if (copy === null) return { kept: null };
  return { kept: copy.path, next: `symphony workspaces restore ${shellQuoted(copy.key)}` };
}

/** The last event about the directory at `path`, if it said that the directory is kept. */
function lastReported(events: readonly SymphonyEvent[], path: string): SymphonyEvent | null {
  const last = events.find(
    ({ type, data }) =>
      (type === "workspace.kept" || type === "workspace.removed") &&
      // Earlier versions published a removal without the path.
      (data["path"] === path || (data["path"] === undefined && data["key"] === basename(path))),
  );
  return last?.type === "workspace.kept" ? last : null;
}

function sameWork(a: unknown, b: readonly Work[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

interface Sources {
  readonly workspaces: Pick<Workspaces, "placeOf" | "root">;
  readonly history: Pick<History, "latestAttempt" | "workspacePlaceAt" | "workspacePlaces">;
}

interface Left {
  readonly path: string;
  readonly issue: IssueName;
}

/**
 * The workspaces that no attempt will use again, with their issues: those of an earlier root or
 * identifier, and those that were set aside.
 */
async function leftBehind(
  { workspaces, history }: Sources,
  isMeant: (issue: IssueName, isAside: boolean) => boolean,
): Promise<readonly Left[]> {
  const left: Left[] = [];
  for (const place of await knownPlaces(workspaces.root(), history.workspacePlaces())) {
    const issue = await ownerOf(place, history);
    const { path, key } = place;
    const isAside = keyOfAside(key) !== null;
    if (issue === null || !isMeant(issue, isAside)) continue;
    if (isAside || path !== today(issue, workspaces)) left.push({ path, issue });
  }
  return left;
}

/** A directory that was set aside has no record, but its baseline was moved along. */
async function ownerOf(
  { key, path, recorded }: KnownPlace,
  history: Sources["history"],
): Promise<IssueName | null> {
  if (recorded !== null) return { id: recorded.issueId, identifier: recorded.issueIdentifier };
  const base = keyOfAside(key);
  if (base === null) return null;
  const from = join(dirname(path), base);
  const id = (await readBaseline(path))?.issueId ?? history.workspacePlaceAt(from)?.issueId ?? null;
  if (id === null) return null;
  return { id, identifier: history.latestAttempt(id)?.issueIdentifier ?? basename(from) };
}

/** null for an identifier that cannot name a workspace. */
function today(issue: IssueName, workspaces: Sources["workspaces"]): string | null {
  try {
    return workspaces.placeOf(issue);
  } catch {
    return null;
  }
}

/** A directory and its issue. */
interface Standing {
  readonly key: string;
  readonly path: string;
  readonly issueId: string;
}

/** The commands that show it and delete it. */
type NextCommands = readonly [show: string, remove: string];

/** The commands for an operator, with the path if the key or the issue would be ambiguous. */
function nextCommands(
  { key, path, issueIdentifier }: Standing & { readonly issueIdentifier: string },
  alone: boolean,
): NextCommands {
  // A directory that was set aside is not the issue's own workspace.
  const shown = keyOfAside(key) === null ? issueIdentifier : key;
  return [
    `symphony diff ${shellQuoted(alone ? shown : path)}`,
    `symphony workspaces remove ${shellQuoted(alone ? key : path)} --force`,
  ];
}

/**
 * The paths of those in `all` that are in `root`, if no other known directory has the same key or
 * the same issue. A directory that is gone counts too: it may come back, and a path is always
 * correct.
 */
function aloneIn(
  root: string,
  all: readonly Standing[],
  known: Iterable<Pick<Standing, "path" | "issueId">>,
): ReadonlySet<string> {
  const byKey = new Map(all.map(({ key }) => [key, new Set<string>()]));
  const byIssue = new Map(all.map(({ issueId }) => [issueId, new Set<string>()]));
  for (const { path, issueId } of known) {
    const key = basename(path);
    byKey.get(key)?.add(path);
    if (keyOfAside(key) === null) byIssue.get(issueId)?.add(path);
  }
  const alone = all.filter(({ key, path, issueId }) => {
    const isAside = keyOfAside(key) !== null;
    const others = [byKey.get(key), isAside ? undefined : byIssue.get(issueId)];
    return dirname(path) === root && others.every((paths) => (paths?.size ?? 0) <= 1);
  });
  return new Set(alone.map(({ path }) => path));
}
