import { basename } from "node:path";
import { shellQuoted } from "../agent/shell-quoted.ts";
import type { Clock } from "../clock.ts";
import type { SymphonyEvent } from "../model/event.ts";
import { type Work, workInWords } from "../model/work.ts";
import type { EventSink, History } from "../store/store.ts";
import type { IssueName, Removal, RemovalTarget, SetAside, Workspaces } from "./workspaces.ts";

/** A workspace without an agent that stays for the work it holds. */
export interface Kept {
  readonly key: string;
  readonly path: string;
  readonly issueId: string;
  readonly issueIdentifier: string;
  readonly work: readonly Work[];
  /** When it was first found so, in ms since the epoch. */
  readonly since: number;
}

interface KeptDeps {
  readonly workspaces: Pick<Workspaces, "remove" | "look" | "pathOf">;
  readonly bus: EventSink;
  readonly history: Pick<History, "latestAttempt" | "recentEvents">;
  readonly clock: Clock;
  /** Whether a live attempt has the workspace of this key, or is about to. */
  isInUse(key: string): boolean;
}

const recentEvents = 50;

/** Removes the workspaces of issues that have ended, and remembers those that stay, and why. */
export class KeptWorkspaces {
  readonly #deps: KeptDeps;
  readonly #byPath = new Map<string, Kept>();
  #version = 0;

  constructor(deps: KeptDeps) {
    this.#deps = deps;
  }

  /** Grows with every change: as long as it is the same, so is `list()` but for what is in use. */
  get version(): number {
    return this.#version;
  }

  /** By issue; a workspace that is in use again is not among them. */
  list(): readonly Kept[] {
    const all = [...this.#byPath.values()].filter(({ key }) => !this.#deps.isInUse(key));
    const collator = new Intl.Collator("en", { numeric: true });
    return all.sort((a, b) => collator.compare(a.issueIdentifier, b.issueIdentifier));
  }

  of(issueId: string): Kept | null {
    return this.list().find((kept) => kept.issueId === issueId) ?? null;
  }

  at(path: string): Kept | null {
    return this.list().find((kept) => kept.path === path) ?? null;
  }

  /** It is not there any more. */
  forget(path: string): void {
    if (this.#byPath.delete(path)) this.#version++;
  }

  /**
   * The issue has ended: removes its workspace, where it was recorded and where it would be today, unless it holds work.
   * Rejects as `Workspaces.remove` does.
   */
  async clear(issue: IssueName, recorded: string | null): Promise<void> {
    await this.#each(issue, recorded, (target) => this.#deps.workspaces.remove(target));
  }

  /** An operator called the issue completed: its workspace stays anyway, and what it holds is told. */
  async report(issue: IssueName, recorded: string | null): Promise<void> {
    await this.#each(issue, recorded, (target) => this.#deps.workspaces.look(target));
  }

  /** Something that was in the way of a new workspace. */
  wasSetAside({ issue, path, work }: SetAside): void {
    this.#keep(issue, path, work);
  }

  async #each(
    issue: IssueName,
    recorded: string | null,
    work: (target: RemovalTarget) => Promise<Removal>,
  ): Promise<void> {
    const { history, workspaces, isInUse } = this.#deps;
    const latest = history.latestAttempt(issue.id)?.workspacePath ?? null;
    const faults: unknown[] = [];
    const one = async (path: string | null, key: string) => {
      // Asked each time, for some time may have passed: an agent that works there now is not to lose its directory.
      if (isInUse(key)) return;
      try {
        this.#took(issue, path, await work({ path, issue }));
      } catch (error) {
        faults.push(error);
      }
    };
    // The identifier and the root may have changed since. What is there today may be another issue's by now.
    const paths = new Set([recorded, latest].filter((path) => path !== null));
    for (const path of paths) await one(path, basename(path));
    const today = workspaces.pathOf(issue.identifier);
    if (!paths.has(today)) await one(null, basename(today));
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
          data: { key: basename(removal.path) },
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
    const told = lastTold(history.recentEvents(id, recentEvents), key);
    const since = known?.since ?? told?.at ?? clock.wall();
    const kept = { key, path, issueId: id, issueIdentifier: identifier, work, since };
    this.#byPath.set(path, kept);
    this.#version++;
    // It was said before the last restart.
    if (told !== null && sameWork(told.data["holds"], work)) return;
    const latest = history.latestAttempt(id);
    bus.publish({
      type: "workspace.kept",
      issueId: id,
      issueIdentifier: identifier,
      attemptId: latest?.workspacePath === path ? latest.id : null,
      message: `workspace kept, it holds ${workInWords(work)}`,
      data: { key, path, next: nextCommands(kept)[0], holds: work },
    });
  }
}

/** What a person may do about it: see it, delete it. */
export function nextCommands({ key, issueIdentifier }: Pick<Kept, "key" | "issueIdentifier">) {
  // What was set aside is another directory than the issue's own.
  const shown = /\.aside-\d+$/.test(key) ? key : issueIdentifier;
  return [
    `symphony diff ${shellQuoted(shown)}`,
    `symphony workspaces remove ${shellQuoted(key)} --force`,
  ] as const;
}

function lastTold(events: readonly SymphonyEvent[], key: string): SymphonyEvent | null {
  const last = events.find(
    ({ type, data }) =>
      (type === "workspace.kept" || type === "workspace.removed") && data["key"] === key,
  );
  return last?.type === "workspace.kept" ? last : null;
}

function sameWork(a: unknown, b: readonly Work[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
