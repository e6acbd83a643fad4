// Removes a workspace: only when nothing is lost, or an operator insists.

import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import { messageOf } from "../model/errors.ts";
import type { IssueName } from "../model/issue.ts";
import type { Work } from "../model/work.ts";
import { workspaceKey } from "../repository/key.ts";
import type { Loan } from "../repository/mirrors.ts";
import { gitHead } from "../repository/survey.ts";
import { readBaseline } from "./baseline.ts";
import type { KeptCopies, KeptCopy } from "./copies.ts";
import { deleteTree } from "./deletion.ts";
import {
  deleteWhole,
  hasChangedSince,
  isBeingDeleted,
  LeftBehind,
  momentIn,
  putBack,
} from "./directory.ts";
import {
  beingMade,
  type Found,
  fault,
  findAt,
  markerOf,
  removedDir,
  requireInside,
  restoredMarker,
} from "./place.ts";
import { beyondPushed, workIn, workInFile } from "./work.ts";

export interface RemovalTarget {
  readonly path: string | null;
  /** The issue of the workspace: one that was made for another issue is not changed. */
  readonly issue: IssueName | null;
}

export type Removal =
  | { readonly outcome: "nothing" }
  | {
      readonly outcome: "removed";
      readonly path: string;
      /** Where its work went; null: it held none that is nowhere else, or an operator gave it up. */
      readonly copy: KeptCopy | null;
      /** Why a part of it is not deleted yet: its place is free, and the rest is tried again. */
      readonly rest: LeftBehind | null;
    }
  | {
      readonly outcome: "kept";
      readonly path: string;
      readonly work: readonly Work[];
      /** Why there is no copy of its work; null: none was tried. */
      readonly notCopied: string | null;
    };

export interface RemovalDeps {
  readonly clock: Clock;
  /** Gets the work of a workspace that is removed; without it such a workspace stays. */
  readonly copies?: Pick<KeptCopies, "keep" | "remove">;
  /**
   * Whether a forge has the commit that is checked out at `path`; null: not known. By default
   * never.
   */
  delivered?(path: string, issueId: string): Promise<boolean | null>;
  /**
   * Called with a root before anything in it is made, moved or deleted. Rejects with
   * `workspace_in_use` if another server has it.
   */
  own?(root: string): Promise<void>;
  /** For a workspace that is gone: gives back what it borrowed. */
  release(loan: Loan): Promise<void>;
  /** The current directory of workspaces. */
  root(): string;
  /** Aborted when the server must stop at once. */
  readonly leaving: AbortSignal;
  /** Runs `before_remove`. */
  beforeRemove(path: string, issue: IssueName | null): Promise<void>;
  /** A warning for operators. */
  note(message: string, path: string, issue: IssueName | null): void;
}

/** What an examination of a directory that is to be removed led to. */
interface Cleared {
  /** What would be lost; empty: nothing. */
  readonly work: readonly Work[];
  readonly copy: KeptCopy | null;
  readonly notCopied: string | null;
}

const nothing: Removal = { outcome: "nothing" };
const changedMeanwhile: readonly Work[] = [
  { kind: "unknown", reason: "it changed while it was examined" },
];
const firstRetryMs = 60_000;
const longestRetryMs = 3_600_000;

export class Removals {
  readonly #deps: RemovalDeps;
  #retryMs = firstRetryMs;
  #isRetrying = false;

  constructor(deps: RemovalDeps) {
    this.#deps = deps;
  }

  async remove(target: RemovalTarget, operator?: { readonly force: boolean }): Promise<Removal> {
    const place = await this.#placeOf(target, operator !== undefined);
    if (place === null) return nothing;
    const { path, root, found } = place;
    const { issue } = target;
    await this.#deps.own?.(dirname(path));
    const force = operator?.force === true;
    const how = { issue, mayCopy: operator === undefined };
    const work = force ? [] : await this.workAt(path, found);
    let examinedAt = force ? null : await momentIn(dirname(path));
    let cleared = await this.#clear(path, work, how);
    if (found === "directory" && cleared.work.length === 0) {
      await this.#deps.beforeRemove(path, issue);
      // The hook, or another process that may write here, may have added something.
      const now = await requireInside(path, root);
      if (
        !force &&
        (cleared.copy === null || examinedAt === null || (await hasChangedSince(path, examinedAt)))
      ) {
        examinedAt = await momentIn(dirname(path));
        const late = now === "nothing" ? [] : await this.workAt(path, now);
        await this.#discard(cleared.copy);
        cleared = await this.#clear(path, late, how);
      }
    }
    const { copy, notCopied } = cleared;
    if (cleared.work.length > 0) return { outcome: "kept", path, work: cleared.work, notCopied };
    const loan = (await readBaseline(path))?.loan ?? null;
    try {
      const isDeleted = await deleteWhole(path, examinedAt);
      if (isDeleted) {
        await this.release(loan, path);
        return { outcome: "removed", path, copy, rest: null };
      }
    } catch (error) {
      if (!(error instanceof LeftBehind)) throw error;
      await this.release(loan, path);
      this.#deps.note(error.message, path, issue);
      this.#retryLater();
      return { outcome: "removed", path, copy, rest: error };
    }
    await this.#discard(copy);
    return { outcome: "kept", path, work: changedMeanwhile, notCopied: null };
  }

  async inspect(target: RemovalTarget): Promise<Removal> {
    const place = await this.#placeOf(target, false);
    if (place === null) return nothing;
    const { path } = place;
    const { issue } = target;
    const work = await this.#undelivered(path, await this.workAt(path, place.found), issue);
    return work.length === 0 ? nothing : { outcome: "kept", path, work, notCopied: null };
  }

  async finish(): Promise<void> {
    const root = this.#deps.root();
    const dir = removedDir(root);
    const names = await readdir(dir).catch(() => []);
    if (names.length > 0) await this.#deps.own?.(root);
    let isLeft = false;
    for (const name of names) {
      const path = join(dir, name);
      if (isBeingDeleted(path) || (await findAt(path)) === "nothing") continue;
      try {
        const back = await putBack(path);
        if (back === null) await deleteTree(path);
        else this.#deps.note("A removal was cut off: the workspace is back", back, null);
      } catch (error) {
        isLeft = true;
        this.#deps.note(`Could not delete: ${messageOf(error)}`, path, null);
      }
    }
    if (isLeft) this.#retryLater();
    else this.#retryMs = firstRetryMs;
  }

  /** The work that would be lost with it. Rejects when the server stops before that is known. */
  async workAt(path: string, found: Found): Promise<readonly Work[]> {
    if (found !== "directory") return workInFile(path);
    // No agent has used it yet.
    const isHalfMade = (await markerOf(path)) === beingMade && (await readBaseline(path)) === null;
    const work = isHalfMade ? [] : await workIn(path, this.#deps.leaving);
    if (!this.#deps.leaving.aborted) return work;
    throw fault(path, { what: "the workspace is kept: the server stopped before it was examined" });
  }

  /** The place of the target; null if nothing is there, or if it was made for another issue. */
  async #placeOf({ path: recorded, issue }: RemovalTarget, isByOperator: boolean) {
    const root = this.#deps.root();
    const path = recorded ?? (issue && join(root, workspaceKey(issue.identifier)));
    if (path === null) return null;
    const found = await requireInside(path, root);
    if (found === "nothing") return null;
    // In the current root an operator names the directory itself. Elsewhere the issue must match:
    // another project may use the root now.
    if (issue !== null && !(isByOperator && dirname(path) === root)) {
      const baseline = await readBaseline(path);
      if (baseline !== null && baseline.issueId !== issue.id) return null;
    }
    return { path, root, found };
  }

  /** Makes a copy of what would be lost, if that is possible and no forge has it already. */
  async #clear(
    path: string,
    found: readonly Work[],
    { issue, mayCopy }: { issue: IssueName | null; mayCopy: boolean },
  ): Promise<Cleared> {
    const { copies, leaving } = this.#deps;
    const clear: Cleared = { work: [], copy: null, notCopied: null };
    const work = await this.#undelivered(path, found, issue);
    if (work.length === 0) return clear;
    if (!mayCopy || copies === undefined) return { ...clear, work };
    if ((await findAt(restoredMarker(path))) !== "nothing") {
      return { ...clear, work, notCopied: "an operator restored it" };
    }
    if ((await findAt(path)) !== "directory") return { ...clear, work };
    try {
      return { ...clear, copy: await copies.keep(path, { issue, work, signal: leaving }) };
    } catch (error) {
      return { ...clear, work, notCopied: messageOf(error) };
    }
  }

  /** `work` without what a forge has. Only commits of the branch that is checked out are known to be delivered. */
  async #undelivered(
    path: string,
    work: readonly Work[],
    issue: IssueName | null,
  ): Promise<readonly Work[]> {
    const { delivered } = this.#deps;
    if (delivered === undefined || issue === null || work.length === 0) return work;
    const at = await gitHead(path);
    const rest = beyondPushed(work, at, at?.head ?? null);
    if (rest.length === work.length) return work;
    return (await delivered(path, issue.id).catch(() => null)) === true ? rest : work;
  }

  /** What stays borrowed after a failure only uses space. */
  async release(loan: Loan | null, path: string): Promise<void> {
    if (loan === null) return;
    await this.#deps
      .release(loan)
      .catch(() => this.#deps.note("Could not release what it borrowed", path, null));
  }

  async #discard(copy: KeptCopy | null): Promise<void> {
    if (copy !== null) await this.#deps.copies?.remove(copy);
  }

  /** Deletes again what could not be deleted, with growing pauses, until the server stops. */
  #retryLater(): void {
    const { clock, leaving, root, note } = this.#deps;
    if (this.#isRetrying || leaving.aborted) return;
    this.#isRetrying = true;
    const cancel = clock.after(this.#retryMs, () => {
      leaving.removeEventListener("abort", cancel);
      this.#isRetrying = false;
      this.finish().catch((error) => note(`Could not delete: ${messageOf(error)}`, root(), null));
    });
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs);
    leaving.addEventListener("abort", cancel, { once: true });
  }
}
