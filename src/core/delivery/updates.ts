import type { RepositoryConfig } from "../config/git.ts";
import { messageOf } from "../model/errors.ts";
import { commitWork } from "../repository/commit.ts";
import type { Identity } from "../repository/git.ts";
import type { Contents } from "../repository/lfs.ts";
import type { Conflict } from "../repository/merging.ts";
import { repositoryNamed } from "../repository/routing.ts";
import type { Signer } from "../repository/signing.ts";
import { gitHead } from "../repository/survey.ts";
import { finishUpdate, type UpdateResult, updateWorkspace } from "../repository/update.ts";
import { readBaseline, readMerging, writeMerging } from "../workspace/baseline.ts";
import { findingsIn, requireLentObjects } from "../workspace/work.ts";
import { begunMerge, claimMerge, othersIn } from "./begun-merge.ts";
import type { Checked, FailedCheck } from "./checks.ts";
import { conflictText, feedbackOf, keyOf, type Wanted } from "./conflict-turn.ts";
import { carriedInto, type Delivered, type Reach, updateStep } from "./delivered.ts";
import { mergeObjection } from "./examined.ts";
import { commandsFor, isGenerated } from "./generated.ts";
import type { DeliveryStore, Feedback, NewEntry } from "./store.ts";

export interface MirrorWish {
  readonly fresh: boolean;
  readonly whole: boolean;
}

/** What an update of a workspace reaches beyond itself. */
export interface UpdatePorts {
  /** Author and committer where the configuration names none. */
  identity(): Promise<Identity>;
  /** As `MadeDeps.signer`. */
  signer(): Promise<Signer>;
  /**
   * The path of the mirror, with what the remote had some seconds ago; `fresh`: with what it has now;
   * `whole`: also with the history that `depth` cut. Rejects when the remote cannot be read.
   */
  mirror(repository: RepositoryConfig, how: MirrorWish): Promise<string>;
  /** As `MadeDeps.contentsOf`. */
  contentsOf(repository: RepositoryConfig, path: string): Promise<Contents | null>;
  /** As `OfferRules` has it. */
  holdsSecret(bytes: Buffer): string | null;
  /** As `failedCheck`. */
  check(place: Checked, commands: readonly string[]): Promise<FailedCheck | null>;
}

interface UpdatesDeps extends Reach {
  readonly store: DeliveryStore;
  readonly ports: UpdatePorts;
  save(delivery: Delivered, entries?: readonly NewEntry[]): void;
  /** Starts the outbox. */
  kick(): void;
  /** Tells the scheduler that there is something to read. */
  tellFeedback(issueId: string): void;
}

/** `base`: of an update that was begun for an earlier commit of the base; `isClean`: nothing but the base came in. */
type Result = UpdateResult & { readonly base?: string; readonly isClean?: boolean };

const maxFailures = 3;
const noWorkspace = "it has no workspace";

/**
 * Brings a newer base into delivered branches without a model call; what git cannot merge becomes the
 * next turn. Once for each pair of head and base.
 */
export class Updates {
  readonly #deps: UpdatesDeps;
  readonly #leaving = new AbortController();
  readonly #busy = new Map<string, Promise<void>>();
  /** By issue, head and base. */
  readonly #failures = new Map<string, number>();

  constructor(deps: UpdatesDeps) {
    this.#deps = deps;
  }

  /** Resolves when no update of the issue's workspace runs. */
  async settled(issueId: string): Promise<void> {
    await this.#busy.get(issueId);
  }

  /** After a restart: finishes at once what a crash cut off, before a person or an agent writes there. */
  start(): void {
    for (const known of this.#deps.store.all()) {
      const { issueId, issueIdentifier, workspacePath: path, base, over } = known;
      const isUsed = this.#deps.isRunning(issueId) || this.#deps.isAttached(issueId);
      if (over || path === null || isUsed) continue;
      const work = this.#recover(known, path, base)
        .catch((error: unknown) => {
          const why = { issue_identifier: issueIdentifier, reason: messageOf(error) };
          this.#deps.log.warn("a merge that was cut off is not finished", why);
        })
        .finally(() => this.#busy.delete(issueId));
      this.#busy.set(issueId, work);
    }
  }

  /** Before an agent or a person starts in the workspace: nothing is half written. */
  async ready(issueId: string): Promise<void> {
    await this.settled(issueId);
    const known = this.#deps.store.of(issueId);
    if (known === null || known.workspacePath === null) return;
    await this.#recover(known, known.workspacePath, known.base);
    await claimMerge(known.workspacePath, false);
  }

  async close(): Promise<void> {
    this.#leaving.abort();
    await Promise.allSettled(this.#busy.values());
  }

  /** Updates the branch if it was not tried for this head and base. Never rejects. */
  update(issueId: string, wanted: Wanted): Promise<void> {
    const { store, isRunning, isAttached, config } = this.#deps;
    const known = store.of(issueId);
    const rule = repositoryNamed(known?.repository, config().git.repositories);
    if (known === null || known.over || known.pushed === null || rule === null)
      return Promise.resolve();
    if (known.updatedFor === keyOf(known, wanted)) return Promise.resolve();
    const isUsed = isRunning(issueId) || isAttached(issueId);
    const isBusy = isUsed || this.#busy.has(issueId) || known.head !== known.pushed;
    // What cannot be done now is wanted again by the next read.
    if (isBusy || this.#leaving.signal.aborted) return Promise.resolve();
    return this.#begin(known, rule, wanted);
  }

  /** Before the work is offered for the first time. Never rejects; `conflicts`: a turn comes first. */
  async before(
    known: Delivered,
    rule: RepositoryConfig,
    where: "conflicts" | "behind",
  ): Promise<"conflicts" | "ready"> {
    const { headOf, store } = this.#deps;
    const { issueId, base: branch } = known;
    const base = branch === null ? null : await headOf(rule, branch);
    await this.settled(issueId);
    if (!base) return "ready";
    const before = store.newFeedback(issueId).length;
    await this.#begin(known, rule, { base, conflict: null, onlyConflicts: where === "conflicts" });
    return store.newFeedback(issueId).length > before ? "conflicts" : "ready";
  }

  #begin(known: Delivered, rule: RepositoryConfig, wanted: Wanted): Promise<void> {
    const { issueId, issueIdentifier } = known;
    const work = this.#update(known, rule, wanted)
      .catch((error: unknown) => {
        const key = `${issueId} ${keyOf(known, wanted)}`;
        const failures = (this.#failures.get(key) ?? 0) + 1;
        // It is tried again with the next read, until it is clear that this does not help.
        if (failures < maxFailures) {
          this.#failures.set(key, failures);
        } else {
          this.#failures.delete(key);
          this.#refused(known, wanted, messageOf(error));
        }
        const reason = messageOf(error);
        this.#deps.log.warn("branch not updated", { issue_identifier: issueIdentifier, reason });
      })
      .finally(() => this.#busy.delete(issueId));
    this.#busy.set(issueId, work);
    return work;
  }

  async #update(known: Delivered, rule: RepositoryConfig, wanted: Wanted): Promise<void> {
    const result = await this.#merge(known, rule, wanted);
    switch (result.outcome) {
      case "updated": {
        const { head, base = wanted.base, isClean = true } = result;
        return this.#updated(known, { ...wanted, base }, { head, isClean });
      }
      case "conflicts": {
        const { conflicts, base = wanted.base } = result;
        await this.#conflicts(known, { ...wanted, base }, conflicts);
        return base === wanted.base ? undefined : this.#tried(known, wanted);
      }
      case "unknown":
        return this.#tried(known, wanted);
      default:
        this.#refused(known, wanted, result.outcome === "refused" ? result.why : null);
    }
  }

  /** The site sees a conflict that cannot be put into the files: the agent gets only the site's words about it. */
  #refused(known: Delivered, wanted: Wanted, why: string | null): void {
    this.#tried(known, wanted);
    if (why !== null && why !== noWorkspace) this.#publish(known, wanted, why);
    if (wanted.conflict !== null) this.#tell(wanted.conflict);
  }

  async #merge(known: Delivered, rule: RepositoryConfig, wanted: Wanted): Promise<Result> {
    const { workspacePath: path, head, base: baseName } = known;
    const isThere = path !== null && (await gitHead(path)) !== null;
    if (!isThere || head === null || baseName === null)
      return { outcome: "refused", why: noWorkspace };
    await this.#recover(known, path, baseName);
    await requireLentObjects(path);
    const begun = await begunMerge(path, head, this.#leaving.signal);
    if (begun !== null) return begun;
    const { ports, clock, config } = this.#deps;
    const { delivery } = config();
    const { signal } = this.#leaving;
    const { settled, cone } = await findingsIn(path, signal);
    const order = {
      ...{ path, head, baseName, settled, cone, signal, base: wanted.base },
      lfs: await ports.contentsOf(rule, path),
      submodules: ((await readBaseline(path))?.loan?.submodules ?? []).map((one) => one.path),
      onlyConflicts: wanted.onlyConflicts,
      author: delivery.author ?? (await ports.identity()),
      signer: delivery.signCommits ? await ports.signer() : null,
      wall: clock.wall(),
      isGenerated: (name: string) => isGenerated(name, delivery.regenerate),
      remember: (merging: Parameters<typeof writeMerging>[1]) => writeMerging(path, merging),
    };
    const merged = async (whole: boolean) =>
      updateWorkspace({ ...order, mirror: await ports.mirror(rule, { fresh: true, whole }) });
    const result = await merged(false);
    // A cut history is completed before anything is said about it.
    return result.outcome === "unknown" ? merged(true) : result;
  }

  async #updated(
    known: Delivered,
    wanted: Wanted,
    { head, isClean }: { readonly head: string; readonly isClean: boolean },
  ): Promise<void> {
    const { ports, save, store, kick, bus, post } = this.#deps;
    const { delivery } = this.#deps.config();
    const { issueId, issueIdentifier, branch, base, workspacePath } = known;
    const about = `${base} (${wanted.base.slice(0, 10)})`;
    const where = { path: workspacePath ?? "", head, signal: this.#leaving.signal };
    const isOurs = (name: string) => isClean || isGenerated(name, delivery.regenerate);
    const others = await othersIn(where, isOurs);
    if (others.length > 0) {
      // A command runs what an agent wrote: only the offer of a turn is examined.
      const text = `${about} was merged into the branch, and what writes the generated files has changed others too: ${others.join(", ")}. All is committed, and not pushed: keep there only what belongs to your work.`;
      this.#tell(feedbackOf(known, wanted, text));
      this.#tried(known, wanted);
      return this.#forget(known);
    }
    const made = { ...where, delivery, holdsSecret: ports.holdsSecret };
    const reason = isClean ? null : await mergeObjection(known, wanted.base, made);
    if (reason !== null) {
      post({ type: "offer.stopped", issueId, reason, next: "deliver" });
      this.#tried(known, wanted);
      return this.#forget(known);
    }
    const failed = await ports.check(this.#place(workspacePath ?? ""), delivery.checks);
    if (failed !== null) {
      const { command, output } = failed;
      const text = `${about} was merged into the branch, and then the check \`${command}\` fails:\n\n${output}`;
      // Said first: a kill after it leads to the same check and the same words, which are kept once.
      this.#tell(feedbackOf(known, wanted, text));
      this.#tried(known, wanted);
      return this.#forget(known);
    }
    const now = triedFor(store.of(issueId) ?? known, keyOf(known, wanted));
    const push: NewEntry = {
      ...{ kind: "push", target: `delivery:${issueId}`, issueId, payload: { commit: head } },
      key: `push:${issueId}:update:${known.head}:${wanted.base}`,
    };
    // A review of the work still holds when nothing but the base came in.
    const own = isClean && known.head !== null ? [known.head] : [];
    const carried = own.flatMap((head) => [...carriedInto(now, head), head]);
    // It was merged or closed meanwhile: nothing more is pushed.
    if (now.over) {
      save({ ...now, head });
      return this.#forget(known);
    }
    save({ ...now, head, carried, carriedTo: head }, [push]);
    bus.publish({
      type: "work.committed",
      ...{ issueId, issueIdentifier },
      message: `${about} is merged into ${branch} as ${head.slice(0, 10)}, without a turn`,
      data: { commit: head, base: wanted.base, merged: base },
    });
    kick();
    await this.#forget(known);
  }

  /** Last: whoever finds the record of a merge whose end is saved ends it then. Never rejects. */
  async #forget({ issueIdentifier, workspacePath }: Delivered): Promise<void> {
    await writeMerging(workspacePath ?? "", null).catch((error: unknown) => {
      const why = { issue_identifier: issueIdentifier, reason: messageOf(error) };
      this.#deps.log.warn("the record of a merge that is over is not removed", why);
    });
  }

  async #conflicts(
    known: Delivered,
    wanted: Wanted,
    conflicts: readonly Conflict[],
  ): Promise<void> {
    const { config } = this.#deps;
    const isText = conflicts.some(({ kind }) => kind !== "generated");
    const paths = conflicts.map(({ path }) => path);
    const { missing, commands } = commandsFor(paths, config().delivery.regenerate);
    if (!isText && missing.length === 0) {
      await claimMerge(known.workspacePath ?? "", true);
      const failed = await this.#deps.ports.check(this.#place(known.workspacePath ?? ""), commands);
      if (failed === null) {
        const head = await this.#commit(known);
        return this.#updated(known, wanted, { head, isClean: false });
      }
      const text = `${conflictText(known, wanted, conflicts)}\n\nThe command that writes them failed: ${failed.command}\n\n${failed.output}`;
      this.#tried(known, wanted);
      return this.#tell(feedbackOf(known, wanted, text));
    }
    this.#tried(known, wanted);
    this.#tell(feedbackOf(known, wanted, conflictText(known, wanted, conflicts)));
  }

  /** Ends a merge in which only generated files were in conflict. */
  async #commit(known: Delivered): Promise<string> {
    const { ports, clock, config } = this.#deps;
    const { signal } = this.#leaving;
    const path = known.workspacePath ?? "";
    await requireLentObjects(path);
    const merge = await readMerging(path);
    const { settled, cone } = await findingsIn(path, signal);
    const lfs = (await this.#contentsOf(known, path))?.store ?? null;
    const result = await commitWork({
      ...{ path, signal, merge, settled, cone, lfs },
      message: `Merge branch '${known.base}' into ${known.branch}\n`,
      author: config().delivery.author ?? (await ports.identity()),
      signer: config().delivery.signCommits ? await ports.signer() : null,
      wall: clock.wall(),
      base: (await readBaseline(path))?.head ?? null,
    });
    if (result.outcome !== "committed") throw new Error(`the merge is ${result.outcome}`);
    // A restart while the checks run continues with this commit.
    if (merge !== null) await writeMerging(path, { ...merge, commit: result.head, moving: false });
    return result.head;
  }

  /** Finishes what a crash cut off. */
  async #recover(known: Delivered, path: string, baseName: string | null): Promise<void> {
    const merging = await readMerging(path);
    if (merging?.moving !== true || baseName === null) return;
    const { ports, clock, config } = this.#deps;
    const author = config().delivery.author ?? (await ports.identity());
    const { signal } = this.#leaving;
    const remember = (next: typeof merging | null) => writeMerging(path, next);
    const cone = (await readBaseline(path))?.loan?.sparse ?? [];
    const { settled } = await findingsIn(path, signal);
    const lfs = await this.#contentsOf(known, path);
    const kept = { path, baseName, cone, settled, lfs };
    const order = { ...kept, author, wall: clock.wall(), signal, remember };
    await finishUpdate(merging, order, { isRepeated: true });
  }

  async #contentsOf({ repository }: Delivered, path: string): Promise<Contents | null> {
    const { ports, config } = this.#deps;
    const rule = repositoryNamed(repository, config().git.repositories);
    return rule === null ? null : ports.contentsOf(rule, path);
  }

  #place(path: string): Checked {
    const { log } = this.#deps;
    const tell = (line: string) => log.debug("update", { line });
    return { workspace: { path }, signal: this.#leaving.signal, tell };
  }

  /** Says why a newer base is not in the branch, and what a person can do. */
  #publish(known: Delivered, wanted: Wanted, why: string): void {
    const { store, save, bus } = this.#deps;
    const now = store.of(known.issueId) ?? known;
    const { issueId, issueIdentifier, base } = now;
    const what = why.replace(/^the branch was not updated: /, "");
    const next = `symphony attach ${issueIdentifier ?? issueId}, and merge ${base} there`;
    const problem = `${base} (${wanted.base.slice(0, 10)}) was not merged into the branch: ${what}; next: ${next}`;
    if (now.problem !== null && now.problemWith !== updateStep) return;
    save({ ...now, problem, problemWith: updateStep });
    const data = { step: updateStep, final: false };
    bus.publish({ type: "delivery.refused", issueId, issueIdentifier, message: problem, data });
  }

  #tried(known: Delivered, wanted: Wanted): void {
    const now = this.#deps.store.of(known.issueId) ?? known;
    this.#deps.save(triedFor(now, keyOf(known, wanted)));
  }

  #tell(feedback: Omit<Feedback, "at">): void {
    const { store, bus, tellFeedback, clock } = this.#deps;
    const { issueId, source, text, url } = feedback;
    if (!store.addFeedback({ ...feedback, at: clock.wall() })) return;
    bus.publish({
      type: "feedback.received",
      ...{ issueId, issueIdentifier: store.of(issueId)?.issueIdentifier ?? null },
      message: text.split("\n")[0] ?? "",
      data: { source, author: null, url },
    });
    tellFeedback(issueId);
  }
}

/** Once an update was tried, an earlier one's problem is over. */
function triedFor(now: Delivered, updatedFor: string): Delivered {
  const mended = now.problemWith === updateStep ? { problem: null, problemWith: null } : {};
  return { ...now, ...mended, updatedFor };
}
