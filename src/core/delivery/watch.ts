import { forgeCredentialName } from "../config/delivery.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { messageOf } from "../model/errors.ts";
import { ForgeError } from "../model/forge-error.ts";
import { repositoryNamed } from "../repository/routing.ts";
import { readBranch } from "./branch.ts";
import { carriedInto, type Delivered, isClosed, type Reach } from "./delivered.ts";
import { type Forge, type Observation, rightsOf } from "./forge.ts";
import {
  conflictSource,
  hashOf,
  judge,
  type Known,
  rerunKey,
  runName,
  runOf,
  summaryOf,
  type Verdict,
} from "./judge.ts";
import type { DeliveryStore, Feedback, NewEntry } from "./store.ts";
import type { Updates } from "./updates.ts";

interface WatchDeps extends Reach {
  readonly store: DeliveryStore;
  save(delivery: Delivered, entries?: readonly NewEntry[]): void;
  /** Starts the outbox. */
  kick(): void;
  /** Brings a newer base into branches; null: branches stay as they are. */
  readonly updates: Pick<Updates, "update"> | null;
}

const showsWithinMs = 60_000;
const closedEveryMs = 10 * 60_000;
const reopenedWithinMs = 14 * 24 * 60 * 60_000;
/** Stands in `problemWith` for the read of a pull request. */
const unread = "read";

/** Reads what happened to delivered work until it is merged or closed, whatever became of the attempt, the claim or the configuration since. */
export class Watch {
  readonly #deps: WatchDeps;
  readonly #looking = new Map<string, Promise<void>>();
  /** Judged again when nothing has changed: the verdict also depends on rights, settings and what was pushed. */
  readonly #last = new Map<string, Observation>();
  /** The reads that follow those; all who asked in the meantime share one. */
  readonly #next = new Map<string, Promise<void>>();
  /** By issue, the commit that the last read found ready to be merged. */
  readonly #ready = new Map<string, string>();
  /** By issue, when its closed pull request was last read, ms since the epoch. */
  readonly #closed = new Map<string, number>();
  #cancel: (() => void) | null = null;
  #stopped = false;

  constructor(deps: WatchDeps) {
    this.#deps = deps;
  }

  start(): void {
    if (this.#stopped) return;
    const { clock, config } = this.#deps;
    this.#cancel = clock.after(config().delivery.pollIntervalMs, () => {
      void this.all().finally(() => this.start());
    });
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await Promise.allSettled(this.#looking.values());
  }

  /** Reads one delivery now, with a read that begins after this call. Never rejects. */
  look(issueId: string): Promise<void> {
    const current = this.#looking.get(issueId);
    if (current === undefined) return this.#begin(issueId);
    const known = this.#next.get(issueId);
    if (known !== undefined) return known;
    const next = current.then(() => {
      this.#next.delete(issueId);
      return this.#begin(issueId);
    });
    this.#next.set(issueId, next);
    return next;
  }

  /** Whether this commit may be merged, by a read that begins after this call. */
  async isMergeable(issueId: string, head: string): Promise<boolean> {
    await this.look(issueId);
    return this.#ready.get(issueId) === head;
  }

  async #begin(issueId: string): Promise<void> {
    this.#ready.delete(issueId);
    if (this.#stopped) return;
    const work = this.#look(issueId).finally(() => this.#looking.delete(issueId));
    this.#looking.set(issueId, work);
    await work;
  }

  /** Tells the scheduler that there is something to read. */
  tellFeedback(issueId: string): void {
    const { store, post } = this.#deps;
    const all = store.newFeedback(issueId);
    if (all.length === 0) return;
    const byPerson = all.some((one) => one.byPerson);
    post({ type: "offer.answered", issueId, byPerson, summary: summaryOf(all) });
  }

  /** Reads every delivery now; `asked` by a person, closed ones too. Never rejects. */
  async all(asked = false): Promise<void> {
    for (const one of this.#deps.store.all()) {
      if (!one.over || this.#mayReopen(one, asked)) await this.look(one.issueId);
    }
  }

  /** A person can open a closed pull request again: it is read now and then for some days. */
  #mayReopen({ issueId, seenAt, ...known }: Delivered, asked: boolean): boolean {
    const wall = this.#deps.clock.wall();
    if (!isClosed(known) || wall - (seenAt ?? 0) > reopenedWithinMs) return false;
    const isDue = asked || wall - (this.#closed.get(issueId) ?? seenAt ?? 0) >= closedEveryMs;
    if (isDue) this.#closed.set(issueId, wall);
    return isDue;
  }

  async #look(issueId: string): Promise<void> {
    const { store, config, log } = this.#deps;
    const known = store.of(issueId);
    if (known === null || known.pushed === null || (known.over && !isClosed(known))) return;
    const rule = repositoryNamed(known.repository, config().git.repositories);
    if (rule === null) return;
    try {
      if (known.pullRequest === null) await this.#branch(known, rule);
      else await this.#pullRequest(known, this.#deps.forgeFor(rule));
    } catch (error) {
      // The last known facts stay, with their age: an answer that did not come means nothing.
      const { issueIdentifier } = known;
      this.#tellUnread(issueId, error);
      log.warn("delivery not read", {
        issue_identifier: issueIdentifier,
        reason: messageOf(error),
      });
    }
  }

  /** What only a person can mend is shown until the next look succeeds. */
  #tellUnread(issueId: string, error: unknown): void {
    const { store, config, save } = this.#deps;
    const known = store.of(issueId);
    const isDenied = error instanceof ForgeError && error.category === "unauthorized";
    if (!isDenied || known === null || known.problem !== null) return;
    const secret = forgeCredentialName(config().delivery);
    const problem = `not read: ${error.message}; next: symphony secrets add ${secret}`;
    save({ ...known, problem, problemWith: unread });
  }

  async #branch(known: Delivered, rule: RepositoryConfig): Promise<void> {
    if (known.mode !== "branch") return;
    const { clock, store, save, updates, isEnded } = this.#deps;
    const seen = await readBranch(known, rule, this.#deps);
    const now = store.of(known.issueId);
    if (seen === null || now === null) return;
    if (now.pushed !== known.pushed || now.head !== known.head) return;
    const next = { ...now, seenAt: clock.wall() };
    // A newer commit is still to be pushed: its push finds out by itself what became of the branch.
    const isPushed = now.head === now.pushed;
    if (seen.end === "merged") return this.#over(next, seen.summary, seen.end);
    if (seen.end !== null) {
      // A remote may show a push a little later.
      const isShown = isPushed && clock.wall() - (now.pushedAt ?? 0) > showsWithinMs;
      return isShown ? this.#over({ ...next, pushed: null }, seen.summary, seen.end) : save(next);
    }
    if (isPushed && isEnded(known.issueId)) return save({ ...next, over: true, waitingFor: null });
    save({ ...next, ...(isPushed && seen.now) });
    const wanted = { conflict: null, onlyConflicts: true };
    if (seen.tip !== null) void updates?.update(known.issueId, { ...wanted, base: seen.tip });
  }

  async #pullRequest(known: Delivered, forge: Forge | null): Promise<void> {
    if (forge === null || known.pullRequest === null) return;
    const { store, clock } = this.#deps;
    const key = `${known.repository} ${known.pullRequest.number}`;
    const answer = await forge.observe(known.pullRequest.number);
    const last = answer === "unchanged" ? this.#last.get(key) : answer;
    if (last === undefined) return;
    const seen = { ...last, at: clock.wall() };
    this.#last.set(key, seen);
    const mayWrite = await rightsOf(seen, forge);
    const included = seen.pullRequest.state === "closed" && (await this.#isIncluded(known));
    const now = store.of(known.issueId);
    // What was offered again meanwhile is judged by the next look.
    if (now === null || now.offeredAt !== known.offeredAt) return;
    if (now.over && seen.pullRequest.state === "closed") return;
    const open = now.over && seen.pullRequest.state === "open" ? this.#reopened(now) : now;
    this.#judge(this.#retarget(open, seen), seen, { mayWrite, included });
    if (seen.pullRequest.state !== "open") this.#last.delete(key);
  }

  /** A person has opened at the site what was closed: it waits for people again. */
  #reopened(known: Delivered): Delivered {
    const { issueId, issueIdentifier, pullRequest, workspacePath } = known;
    const next = { ...known, over: false };
    this.#deps.save(next);
    this.#deps.bus.publish({
      type: "pull_request.updated",
      ...{ issueId, issueIdentifier },
      message: `pull request #${pullRequest?.number} was opened again`,
      data: { number: pullRequest?.number ?? null, url: pullRequest?.url ?? null },
    });
    this.#deps.post({ type: "offer.resumed", issueId, workspacePath });
    return next;
  }

  /** A person has set another base: its change is another one now, and is judged anew. */
  #retarget(known: Delivered, { pullRequest, baseHead, reviews, checks }: Observation): Delivered {
    const { base: earlier, issueId, issueIdentifier, from } = known;
    const { base, number, url, state, head } = pullRequest;
    if (state !== "open" || earlier === null || base === earlier) return known;
    this.#deps.bus.publish({
      type: "pull_request.updated",
      ...{ issueId, issueIdentifier },
      message: `pull request #${number} is for ${base} now, no longer for ${earlier}: earlier reviews and checks do not count`,
      data: { number, url, base, from: earlier },
    });
    const retargeted = { head, reviews: reviews.length, checks: checks.map(runName) };
    const { carried: _, carriedTo: __, ...rest } = known;
    return { ...rest, base, retargeted, from: baseHead ?? from };
  }

  #judge(
    now: Delivered,
    seen: Observation,
    { mayWrite, included }: { readonly mayWrite: Known["mayWrite"]; readonly included: boolean },
  ): void {
    const { config, store } = this.#deps;
    const { issueId, pushed, reruns, pushedAt = now.offeredAt, retargeted = null } = now;
    const hadChecks = now.hadChecks === true || seen.checks.length > 0;
    const carried = carriedInto(now, pushed);
    const waited = { for: now.waitingFor, since: now.waitsSince ?? seen.at };
    const { head } = seen.pullRequest;
    const shown = head === pushed ? pushed : now.shown;
    const mended = now.problemWith === unread ? { problem: null, problemWith: null } : {};
    const verdict = judge(seen, {
      ...{ issueId, pushed, retargeted, reruns, mayWrite, carried, pushedAt, hadChecks, waited },
      rules: config().delivery,
      shown: shown !== null && shown === pushed,
      ownDraft: now.wrote?.draft === true,
      isOwnHead: head !== pushed && store.isOwn(issueId, head),
    });
    this.#apply({ ...now, ...mended, shown, hadChecks }, seen, { verdict, included });
  }

  /** Whether the base has the same changes, merged in another way. */
  async #isIncluded({ repository, pushed, base }: Delivered): Promise<boolean> {
    const rule = repositoryNamed(repository, this.#deps.config().git.repositories);
    if (rule === null || pushed === null || base === null) return false;
    return (await this.#deps.isIncluded(rule, pushed, base)) === true;
  }

  #apply(
    known: Delivered,
    seen: Observation,
    { verdict, included }: { readonly verdict: Verdict; readonly included: boolean },
  ): void {
    const { at, pullRequest } = seen;
    const { store, save, bus, kick } = this.#deps;
    const { issueId, issueIdentifier } = known;
    const { facts } = verdict;
    const waitingFor = this.#comesFirst(known, seen, verdict) ?? verdict.waitingFor;
    const { waitsSince: since = at } = known;
    const waitsSince = waitingFor === known.waitingFor ? since : at;
    const next: Delivered = { ...known, pullRequest: facts, waitingFor, waitsSince, seenAt: at };
    if (verdict.end === "merged") {
      return this.#over(next, `pull request #${facts.number} is merged`, "merged");
    }
    if (verdict.end === "closed") {
      const by = pullRequest.closedBy === null ? "" : ` by ${pullRequest.closedBy}`;
      const gone = seen.baseHead === null ? `, and its base ${pullRequest.base} is gone` : "";
      const has = included ? `, and ${pullRequest.base} has its content` : "";
      return this.#over(
        next,
        `pull request #${facts.number} was closed${by}${gone}${has}`,
        "closed",
      );
    }
    const reruns = { ...next.reruns };
    const target = `delivery:${issueId}`;
    const entries: NewEntry[] = verdict.reruns.map((check) => {
      const name = rerunKey(check);
      reruns[name] = { of: runOf(check), at };
      const { excerpt: _, ...payload } = check;
      return {
        kind: "rerun",
        key: `rerun:${issueId}:${name}`,
        target,
        issueId,
        payload: { check: payload },
      };
    });
    save({ ...next, reruns }, entries);
    if (entries.length > 0) kick();
    const isUpdated = this.#updateBase(known, seen, verdict);
    const news = verdict.feedback.filter((one) => !isUpdated || one.source !== conflictSource);
    const fresh = news.filter((feedback) => store.addFeedback(feedback));
    for (const { source, author, url, text } of fresh) {
      bus.publish({
        type: "feedback.received",
        ...{ issueId, issueIdentifier },
        message: `${author ?? "a check"}: ${text}`,
        data: { source, author, url, number: facts.number },
      });
    }
    // Also what was told before a crash, if no attempt has read it.
    this.tellFeedback(issueId);
    if (fresh.length === 0) this.#merge(known, seen, verdict);
    this.#tellStuck(issueId, pullRequest.head, verdict);
  }

  /** What is to be done before a merge, in words: its work is not over, or people asked for more. */
  #comesFirst(
    { issueId, head, pushed }: Delivered,
    { baseHead }: Observation,
    { mergeable }: Verdict,
  ): string | null {
    const { store, isRunning, isAttached } = this.#deps;
    if (!mergeable) return null;
    if (isRunning(issueId)) return "the end of its run";
    if (isAttached(issueId)) return "the person in its workspace";
    if (head !== pushed) return "its new commit to be pushed";
    // A mergeable head has no failed check, and a conflict counts for one pair of head and base.
    const conflict = hashOf(`${pushed} ${baseHead}`);
    const isOpen = ({ source, hash }: Feedback) =>
      source === conflictSource ? hash === conflict : !source.startsWith("check:");
    return store.unanswered(issueId, "").some(isOpen) ? "an answer to what was said" : null;
  }

  #merge({ issueId, pushed }: Delivered, seen: Observation, verdict: Verdict): void {
    const { store, save, kick } = this.#deps;
    const known = store.of(issueId);
    const { head } = seen.pullRequest;
    if (known === null || !verdict.mergeable || head !== pushed) return;
    if (this.#comesFirst(known, seen, verdict) !== null) return;
    this.#ready.set(issueId, head);
    const entry = { kind: "merge", key: `merge:${issueId}:${head}`, issueId, payload: { head } };
    save(known, [{ ...entry, target: `delivery:${issueId}` }]);
    kick();
  }

  /** Holds the issue, once for each commit and reason; what comes back from a person continues it. */
  #tellStuck(issueId: string, head: string, { stuck }: Verdict): void {
    const { store, save, post } = this.#deps;
    const known = store.of(issueId);
    const key = `${head} ${stuck}`;
    if (known === null || stuck === null || known.stuckFor === key) return;
    save({ ...known, stuckFor: key });
    const url = known.pullRequest?.url ?? "";
    const reason = `${stuck}; next: look at ${url}, then symphony transition ${known.issueIdentifier} queued`;
    post({ type: "offer.stopped", issueId, reason, untilSaid: true });
  }

  /** A branch that is behind or conflicts is updated; false: nothing can update it. */
  #updateBase(known: Delivered, seen: Observation, { feedback }: Verdict): boolean {
    const { updates } = this.#deps;
    const { pullRequest, baseHead } = seen;
    if (updates === null || baseHead === null || pullRequest.base !== known.base) return false;
    const conflict = feedback.find(({ source }) => source === conflictSource) ?? null;
    // Also for another base: what was checked is then what is to be merged.
    const lacksBase =
      pullRequest.mergeState === "behind" || known.retargeted?.head === known.pushed;
    const isBehind = lacksBase && pullRequest.head === known.pushed;
    if (conflict === null && !isBehind) return true;
    const wanted = { base: baseHead, conflict, onlyConflicts: false };
    void updates.update(known.issueId, wanted);
    return true;
  }

  #over(known: Delivered, summary: string, end: "merged" | "closed"): void {
    const { save, bus, post, kick } = this.#deps;
    const { issueId, issueIdentifier, pullRequest, branch } = known;
    const key = `finish:${issueId}:${known.pushed}`;
    const target = `tracker:${issueId}`;
    const finish = { kind: "finish", key, target, issueId, payload: {} };
    const merged = end === "merged" ? known.pushed : null;
    save(
      { ...known, over: true, waitingFor: null, problem: null, merged },
      end === "merged" ? [finish] : [],
    );
    bus.publish({
      type: end === "merged" ? "pull_request.merged" : "pull_request.closed",
      ...{ issueId, issueIdentifier },
      message: summary,
      data: { branch, number: pullRequest?.number ?? null, url: pullRequest?.url ?? null },
    });
    if (end === "merged") post({ type: "offer.merged", issueId, summary });
    else {
      const again = pullRequest === null ? "push" : "open";
      const reason = `${summary}; next: symphony transition ${issueIdentifier} completed, or symphony deliver ${issueIdentifier} to ${again} it again`;
      post({ type: "offer.stopped", issueId, reason, next: "complete" });
    }
    kick();
  }
}
