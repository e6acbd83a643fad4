import { forgeCredentialName, reviewStates } from "../config/delivery.ts";
import type { RepositoryConfig } from "../config/git.ts";
import { SymphonyError } from "../model/errors.ts";
import { ForgeError } from "../model/forge-error.ts";
import { type Issue, normalState, type TrackerState } from "../model/issue.ts";
import { standingOf } from "../orchestrator/dispatch.ts";
import { repositoryNamed } from "../repository/routing.ts";
import { conversationKind } from "./conversation-table.ts";
import { awaitsMerge, type Delivered, type Reach } from "./delivered.ts";
import { firstState } from "./end-state.ts";
import type { Check, Forge, PullRequest } from "./forge.ts";
import { commentKind, type LivingComments } from "./living-comment.ts";
import { branchHolds, moved } from "./moved-branch.ts";
import type { Written } from "./outbox.ts";
import { failureOf } from "./outcomes.ts";
import { redirected } from "./reachable.ts";
import { type DeliveryStore, type Entry, type NewEntry, startKey, unpushed } from "./store.ts";
import { pullRequestTexts } from "./wording.ts";

interface WritesDeps extends Reach {
  readonly store: DeliveryStore;
  readonly comments: Pick<LivingComments, "write"> | null;
  /** As `DeliveriesDeps` has it. */
  runCommand?(entry: Entry): Promise<Written>;
  runConversation?(entry: Entry): Promise<Written>;
  /** As `Watch.isMergeable`. */
  isMergeable(issueId: string, head: string): Promise<boolean>;
  save(delivery: Delivered, entries?: readonly NewEntry[]): void;
}

const done: Written = { outcome: "done" };
const dropped: Written = { outcome: "dropped" };

/** How each kind of write is made, and how one that was made before is recognized. */
export class Writes {
  readonly #deps: WritesDeps;

  constructor(deps: WritesDeps) {
    this.#deps = deps;
  }

  async make(entry: Entry, signal: AbortSignal): Promise<Written> {
    const known = this.#deps.store.of(entry.issueId);
    try {
      if (entry.kind === conversationKind)
        return (await this.#deps.runConversation?.(entry)) ?? dropped;
      if (known === null) return dropped;
      switch (entry.kind) {
        case "push":
          return await this.#push(entry, known, signal);
        case "pull_request":
          return await this.#pullRequest(entry, known);
        case "link":
          return await this.#link(entry, known);
        case "command":
          return (await this.#deps.runCommand?.(entry)) ?? dropped;
        case "say":
          return await this.#say(entry, known);
        case commentKind:
          return (await this.#deps.comments?.write(known)) ?? dropped;
        case "reply":
          return await this.#reply(entry, known);
        case "rerun":
          return await this.#rerun(entry, known);
        case "merge":
          return await this.#merge(entry, known);
        case "move":
        case "start":
        case "finish":
          return await this.#move(entry, known);
        default:
          return { outcome: "final", reason: `symphony knows no write "${entry.kind}"` };
      }
    } catch (error) {
      const isDenied = error instanceof ForgeError && error.category === "unauthorized";
      const next = isDenied && known ? this.#newToken(known) : "";
      const failed = failureOf(error, next, this.#deps.clock.wall());
      // The token is asked for before each push: without one nothing was pushed.
      const isPush = entry.kind === "push" && "reason" in failed;
      return isPush ? { ...failed, reason: `push refused: ${failed.reason}` } : failed;
    }
  }

  #newToken({ issueIdentifier }: Delivered): string {
    const secret = forgeCredentialName(this.#deps.config().delivery);
    return `; next: symphony secrets add ${secret}, then symphony deliver ${issueIdentifier}`;
  }

  async #push(entry: Entry, known: Delivered, signal: AbortSignal): Promise<Written> {
    const { push, save, bus, store } = this.#deps;
    const commit = String(entry.payload["commit"]);
    const { branch, workspacePath: path, pushed: expected } = known;
    const repository = this.#ruleOf(known);
    if (repository === null || branch === null || path === null) return dropped;
    // A newer commit is offered, whose own entry pushes it; or it was merged or closed meanwhile.
    if (known.head !== commit || known.over) return dropped;
    // Where nothing but git is asked of the site, the credential of the address is enough.
    const isNamed = known.mode === "branch" && repository.address.login !== null;
    const site = isNamed ? null : this.#forgeOf(known);
    const credential = (await site?.pushCredential()) ?? null;
    const order = { repository, path, commit, branch, expected, credential, signal };
    const first = await push(order);
    const standing = first.outcome === "moved" ? branchHolds(first.found, known, store) : null;
    const isRemade = known.remakes === true && (standing === "gone" || standing === "back");
    const isAgain = first.outcome === "moved" && (standing === "ours" || isRemade);
    const answer = isAgain ? await push({ ...order, expected: first.found }) : first;
    switch (answer.outcome) {
      case "moved":
        return moved(known, { repository, found: answer.found }, this.#deps);
      case "refused": {
        const isDenied =
          (answer.category === "permission" && !answer.final) ||
          answer.category === "workflow_scope";
        const next = isDenied ? this.#newToken(known) : "";
        const isMoved = answer.category === "redirected";
        const why = isMoved ? await redirected(repository, known, site) : answer.reason;
        const reason = `push refused: ${why}${next}`;
        return { outcome: answer.final ? "final" : "failed", reason };
      }
      default: {
        const now = store.of(entry.issueId) ?? known;
        const waitingFor = now.mode === "branch" ? awaitsMerge(now) : "its pull request";
        const pushedAt = this.#deps.clock.wall();
        const { remakes: _, ...rest } = now;
        save({ ...rest, pushed: commit, pushedAt, waitingFor, over: false });
        store.hurryAnswers(entry.issueId, pushedAt);
        bus.publish({
          ...about(known),
          type: "branch.pushed",
          message: `${branch} is pushed to ${repository.name}`,
          data: { branch, commit, repository: repository.name, mode: now.mode },
        });
        return done;
      }
    }
  }

  /** The issue ended before its work was proposed: the branch stays. */
  #tooLate(known: Delivered, state: string): Written {
    const { branch, pushed } = known;
    this.#deps.save({ ...known, waitingFor: null, over: true });
    this.#deps.bus.publish({
      ...about(known),
      type: "delivery.refused",
      message: `no pull request: the issue is ${state}; its work is on ${branch}`,
      data: { step: "pull_request", branch, commit: pushed },
    });
    return dropped;
  }

  /** Opens the pull request, or finds the one that an earlier try has opened. */
  async #pullRequest(entry: Entry, known: Delivered): Promise<Written> {
    const { config, save, bus, lastMessage, redact } = this.#deps;
    const { issueId, branch, base, marker, attemptId } = known;
    const forge = this.#forgeOf(known);
    // Without the commit at the remote there is nothing to propose.
    if (known.pushed !== entry.payload["commit"] || branch === null) return dropped;
    if (forge === null) {
      return {
        outcome: "final",
        reason: "no pull request: its repository is not at the site of delivery.github",
      };
    }
    if (known.pullRequest?.state === "open") return done;
    const issue = await this.#freshIssue(known);
    if (issue === null || standingOf(issue, config().tracker) === "terminal") {
      return this.#tooLate(known, issue?.state ?? "gone");
    }
    const { draft } = config().delivery;
    const there = await forge.find({ branch, marker });
    // What was merged is over; what a person closed is opened again, because a person ordered it.
    const found = there?.state === "merged" ? null : there;
    const isClosed = found?.state === "closed" && known.pullRequest !== null;
    const onto = base ?? (await forge.look()).defaultBranch;
    const rule = found === null || isClosed ? this.#ruleOf(known) : null;
    const frame = rule && (await this.#deps.pullRequestFrame(rule, onto));
    const told = { issue, summary: lastMessage(attemptId), branch, marker, frame, redact };
    const texts = await pullRequestTexts(config(), told);
    const again = isClosed ? await openedAgain(forge, found.number) : found;
    const opened = again ?? (await forge.open({ branch, base: onto, ...texts, draft }));
    const { number, url } = opened;
    const now = this.#deps.store.of(issueId) ?? known;
    const facts = {
      ...{ number, url, state: opened.state, draft: opened.draft, headSha: opened.head },
      ...({ checks: "unknown", review: "unknown" } as const),
    };
    const key = `link:${issueId}:${url}`;
    const link = {
      kind: "link",
      key,
      target: `tracker:${issueId}`,
      issueId,
      payload: { url, number },
    };
    save(
      {
        ...now,
        base: opened.base,
        pullRequest: facts,
        wrote: (again && now.wrote) ?? { ...texts, draft },
        waitingFor: "a review",
      },
      [link],
    );
    if (again === null || now.pullRequest === null) {
      bus.publish({
        ...about(known),
        type: "pull_request.opened",
        message: `pull request #${number} is open: ${url}`,
        data: { number, url, branch, base: opened.base, draft: opened.draft },
      });
    }
    return done;
  }

  /** Links the pull request in the tracker, if the tracker can. */
  async #link(entry: Entry, known: Delivered): Promise<Written> {
    const { link } = this.#deps.tracker().workflow;
    if (link === undefined || this.#isSilent()) return dropped;
    const { url, number } = entry.payload;
    await link(known.issue, {
      key: entry.key,
      url: String(url),
      title: `Pull request #${number}`,
    });
    return done;
  }

  /** A reply to a person in the tracker. */
  async #say({ key, payload }: Entry, known: Delivered): Promise<Written> {
    const { comment } = this.#deps.tracker().workflow;
    if (comment === undefined || this.#isSilent()) return dropped;
    await comment(known.issue, { key, body: String(payload["body"]) });
    return done;
  }

  async #reply({ key, payload }: Entry, known: Delivered): Promise<Written> {
    const forge = this.#forgeOf(known);
    if (forge === null || known.pullRequest === null) return dropped;
    const { number } = known.pullRequest;
    // It would name a commit that its reader cannot see.
    if (payload["commit"] && known.pushed !== known.head)
      return { outcome: "later", at: this.#deps.clock.wall() + laterMs, reason: unpushed };
    const marker = `<!-- symphony ${key} -->`;
    const order = { remark: String(payload["remark"]), body: String(payload["body"]), marker };
    await forge.reply(number, order);
    this.#deps.bus.publish({
      ...about(known),
      type: "feedback.answered",
      message: `answered on pull request #${number}`,
      data: { number, remark: order.remark },
    });
    return done;
  }

  async #rerun({ payload }: Entry, known: Delivered): Promise<Written> {
    const forge = this.#forgeOf(known);
    const check = payload["check"] as Check;
    if (forge === null || known.pullRequest === null || check.head !== known.pushed) return dropped;
    await forge.rerun(known.pullRequest.number, check);
    return done;
  }

  async #merge({ payload }: Entry, known: Delivered): Promise<Written> {
    const forge = this.#forgeOf(known);
    const head = String(payload["head"]);
    if (forge === null || known.pullRequest === null || head !== known.pushed) return dropped;
    // It may have waited: what was said and what failed since counts.
    if (!(await this.#deps.isMergeable(known.issueId, head))) return dropped;
    const { number } = known.pullRequest;
    const method = this.#deps.config().delivery.mergeMethod;
    const title = known.wrote?.title;
    const order = { head, method, ...(title !== undefined && { title }) };
    const answer = await forge.merge(number, order);
    if (answer.outcome === "merged") return done;
    const queue = `; next: symphony open ${known.issueIdentifier}, and add it to the queue there`;
    const reason = `merge refused: ${answer.reason}${/merge queue/i.test(answer.reason) ? queue : ""}`;
    return answer.final ? { outcome: "final", reason } : { outcome: "failed", reason };
  }

  /** Moves the issue, unless somebody has moved it since. */
  async #move({ kind, key, payload }: Entry, known: Delivered): Promise<Written> {
    const { tracker, rests, bus, config } = this.#deps;
    if (this.#isSilent()) return dropped;
    // Late: its attempt has ended and offered its work, and a state for running work would start another.
    if (kind === "start" && key === startKey(known.attemptId)) return dropped;
    // Offered work that did not reach its person is not ready for review.
    const isOffered = payload["mode"] === undefined || payload["mode"] === "none";
    if (kind === "move" && !isOffered && known.pushed !== known.head) return dropped;
    const issue = await this.#freshIssue(known);
    if (issue === null) return dropped;
    const states = await tracker().workflow.states(issue);
    const to = this.#targetOf(kind, payload, states);
    if (to === null) return dropped;
    // After a crash, feedback would not start an attempt in a state that is not known to be a place of rest.
    if (kind === "move") await rests({ type: "offer.resting", issueId: issue.id, state: to });
    const now = normalState(issue.state);
    if (now === normalState(to)) return done;
    // Its own move to the state for running work may not have been read back before the work was offered.
    const isOurs = kind === "move" && now === normalState(config().tracker.inProgress ?? "");
    if (kind !== "finish" && now !== payload["from"] && !isOurs) return dropped;
    await tracker().workflow.move(issue, to);
    bus.publish({
      ...about(known),
      type: "issue.moved",
      message: `moved from ${issue.state} to ${to}`,
      data: { from: issue.state, to },
    });
    return done;
  }

  /** `tracker.updates: none`: nothing is written to the tracker. */
  #isSilent(): boolean {
    return this.#deps.config().tracker.updates === "none";
  }

  #targetOf(
    kind: string,
    payload: Entry["payload"],
    states: readonly TrackerState[],
  ): string | null {
    const { tracker } = this.#deps.config();
    const all = states.map((state) => state.name);
    const require = (name: string) => {
      const found = firstState([name], all);
      if (found !== null) return found;
      throw new SymphonyError(
        "transition_not_allowed",
        `there is no state ${name}: there are ${all.join(", ")}`,
      );
    };
    if (kind === "start") return require(String(payload["to"]));
    if (kind === "finish") {
      if (tracker.onMerged !== null) return require(tracker.onMerged);
      const known = firstState(doneStates, all);
      return known ?? states.find(({ terminal }) => terminal)?.name ?? null;
    }
    const { onSuccess } = tracker;
    return onSuccess.kind === "state" ? require(onSuccess.name) : firstState(reviewStates, all);
  }

  async #freshIssue({ issueId }: Delivered): Promise<Issue | null> {
    const [issue] = await this.#deps.tracker().fetchIssuesByIds([issueId]);
    return issue ?? null;
  }

  #ruleOf({ repository }: Delivered): RepositoryConfig | null {
    return repositoryNamed(repository, this.#deps.config().git.repositories);
  }

  #forgeOf(known: Delivered): Forge | null {
    const rule = this.#ruleOf(known);
    return rule && this.#deps.forgeFor(rule);
  }
}

/** null: the site opens it no more, as when its branch was deleted and made again. */
function openedAgain(forge: Forge, number: number): Promise<PullRequest | null> {
  return forge.edit(number, { state: "open" }).catch((error: unknown) => {
    if (error instanceof ForgeError && error.category === "refused") return null;
    throw error;
  });
}

/** A push makes it due at once. */
const laterMs = 5_000;

/** States for done work, in the order of preference. */
const doneStates: readonly string[] = ["Done", "Completed", "Closed", "Merged"];

const about = ({ issueId, issueIdentifier }: Delivered) => ({ issueId, issueIdentifier });
