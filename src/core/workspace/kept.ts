import { basename, dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import type { SymphonyEvent } from "../model/event.ts";
import { type Work, workInWords } from "../model/work.ts";
import type { EventSink, History } from "../store/store.ts";
import { keyOfAside } from "./known-places.ts";
import { leftBehind } from "./left-behind.ts";
import { aloneIn, type NextCommands, nextCommands, type Standing } from "./next-commands.ts";
import { findAt } from "./place.ts";
import { workIn } from "./work.ts";
import type { IssueName, Removal, RemovalTarget, SetAside, Workspaces } from "./workspaces.ts";

/** A workspace without an agent that stays for the work it holds. */
export interface Kept extends Standing {
  readonly issueIdentifier: string;
  readonly work: readonly Work[];
  /** When it was first found so, in ms since the epoch. */
  readonly since: number;
  /** What a person may do about it. */
  readonly next: NextCommands;
}

type Remembered = Omit<Kept, "next">;

interface KeptDeps {
  readonly workspaces: Pick<Workspaces, "remove" | "look" | "pathOf" | "root">;
  readonly bus: EventSink;
  readonly history: Pick<
    History,
    "latestAttempt" | "recentEvents" | "workspacePlaceAt" | "workspacePlaces" | "workspacePlacesOf"
  >;
  readonly clock: Clock;
  /** Whether a live attempt has the directory at this path, or is about to. */
  isInUse(path: string): boolean;
}

const recentEvents = 50;
const notLookedAt: readonly Work[] = [{ kind: "unknown", reason: "not looked at yet" }];

/** Removes the workspaces of issues that have ended, and remembers those that stay, and why. */
export class KeptWorkspaces {
  readonly #deps: KeptDeps;
  readonly #byPath = new Map<string, Remembered>();
  #version = 0;

  constructor(deps: KeptDeps) {
    this.#deps = deps;
  }

  /** Grows with every change: as long as it is the same, so is `list()` but for what attempts do. */
  get version(): number {
    return this.#version;
  }

  /** By issue; a workspace that is in use again is not among them. */
  list(): readonly Kept[] {
    const all = [...this.#byPath.values()].filter(({ path }) => !this.#deps.isInUse(path));
    const collator = new Intl.Collator("en", { numeric: true });
    all.sort((a, b) => collator.compare(a.issueIdentifier, b.issueIdentifier));
    const alone = this.#alone(all);
    return all.map((one) => ({ ...one, next: nextCommands(one, alone.has(one.path)) }));
  }

  /** Those of the issue, and what was set aside from its place. */
  of({ id, identifier }: IssueName): readonly Kept[] {
    return this.list().filter(
      ({ issueId, issueIdentifier, key }) =>
        issueId === id || (issueIdentifier === identifier && keyOfAside(key) !== null),
    );
  }

  at(path: string): Kept | null {
    return this.#byPath.has(path) ? (this.list().find((kept) => kept.path === path) ?? null) : null;
  }

  /** It is not there any more. */
  forget(path: string): void {
    if (this.#byPath.delete(path)) this.#version++;
  }

  /**
   * The issue has ended: removes its workspaces, where they were recorded and where one would be today, unless they hold
   * work. Rejects as `Workspaces.remove` does.
   */
  async clear(issue: IssueName, recorded: string | null): Promise<void> {
    await this.#each(issue, recorded, (target) => this.#deps.workspaces.remove(target));
  }

  /** An operator called the issue completed: its workspaces stay anyway, and what they hold is told. */
  async report(issue: IssueName, recorded: string | null): Promise<void> {
    await this.#each(issue, recorded, (target) => this.#deps.workspaces.look(target));
  }

  /** Something that was in the way of a new workspace. Whose it was counts, where that is known. */
  wasSetAside({ issue, owner, path, work }: SetAside): void {
    const { history } = this.#deps;
    this.forget(join(dirname(path), keyOfAside(basename(path)) ?? ""));
    const identifier = (owner && history.latestAttempt(owner)?.issueIdentifier) ?? issue.identifier;
    this.#keep({ id: owner ?? issue.id, identifier }, path, work);
  }

  /**
   * Looks at what no attempt is given any more (`leftBehind`), of one issue or of all but those in `cleared`, which have been
   * seen already. What cannot be looked at is passed to `onError`.
   */
  async findLeft(
    of: { readonly issueId: string } | { readonly cleared: ReadonlySet<string> },
    onError: (path: string, error: unknown) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    for (const { path, issue, isAside } of await leftBehind(this.#deps)) {
      if (signal?.aborted) return;
      const isMeant =
        "issueId" in of ? of.issueId === issue.id : isAside || !of.cleared.has(issue.id);
      if (!isMeant || this.#byPath.has(path) || this.#deps.isInUse(path)) continue;
      try {
        this.#took(issue, path, await this.#deps.workspaces.look({ path, issue }));
      } catch (error) {
        if (!signal?.aborted) onError(path, error);
      }
    }
  }

  /**
   * Looks at a workspace that the end of the server came before. What is not known when `signal` aborts counts as work. No
   * event tells of it. Never rejects.
   */
  async lookLast({ id, identifier }: IssueName, path: string, signal: AbortSignal): Promise<void> {
    const found = this.#byPath.has(path) ? "nothing" : await findAt(path).catch(() => "nothing");
    if (found !== "directory") return;
    const seen = signal.aborted ? [] : await workIn(path, signal);
    const work = signal.aborted ? notLookedAt : seen;
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
      // Asked each time, for some time may have passed: an agent that works there now is not to lose its directory.
      if (isInUse(path)) return;
      try {
        this.#took(issue, target, await work({ path: target, issue }));
      } catch (error) {
        faults.push(error);
      }
    };
    // The identifier and the root may have changed since. What is there today may be another issue's by now.
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
          message: "workspace removed",
          data: { key: basename(removal.path), path: removal.path },
        });
        return;
      case "kept":
        this.#keep(issue, removal.path, removal.work);
    }
  }

  #keep({ id, identifier }: IssueName, path: string, work: readonly Work[]): void {
    const { bus, history, clock } = this.#deps;
    const known = this.#byPath.get(path);
    const isSame = known?.issueId === id && sameWork(known.work, work);
    if (isSame) return;
    const key = basename(path);
    const told = lastTold(history.recentEvents(id, recentEvents), path);
    const since = known?.since ?? told?.at ?? clock.wall();
    const kept = { key, path, issueId: id, issueIdentifier: identifier, work, since };
    this.#byPath.set(path, kept);
    this.#version++;
    // It was said before the last restart.
    if (told !== null && sameWork(told.data["holds"], work)) return;
    const latest = history.latestAttempt(id);
    const [next] = nextCommands(kept, this.#alone([kept]).has(path));
    bus.publish({
      type: "workspace.kept",
      issueId: id,
      issueIdentifier: identifier,
      attemptId: latest?.workspacePath === path ? latest.id : null,
      message: `workspace kept, it holds ${workInWords(work)}`,
      data: { key, path, next, holds: work },
    });
  }

  /** Those that their key and their issue name without a doubt. */
  #alone(all: readonly Standing[]): ReadonlySet<string> {
    if (all.length === 0) return new Set();
    const { workspaces, history } = this.#deps;
    const known = [...history.workspacePlaces(), ...this.#byPath.values()];
    return aloneIn(workspaces.root(), all, known);
  }
}

/** What was said last of the directory at `path`, if it was that it is kept. */
function lastTold(events: readonly SymphonyEvent[], path: string): SymphonyEvent | null {
  const last = events.find(
    ({ type, data }) =>
      (type === "workspace.kept" || type === "workspace.removed") &&
      // Earlier versions told of a removal without the path.
      (data["path"] === path || (data["path"] === undefined && data["key"] === basename(path))),
  );
  return last?.type === "workspace.kept" ? last : null;
}

function sameWork(a: unknown, b: readonly Work[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
