import assert from "node:assert/strict";
import type { Config } from "../../../src/core/config/config.ts";
import type { Attempt } from "../../../src/core/model/attempt.ts";
import type { AgentPause } from "../../../src/core/model/gates.ts";
import { type Issue, normalState } from "../../../src/core/model/issue.ts";
import type { Prior } from "../../../src/core/orchestrator/decision.ts";
import type { Effect } from "../../../src/core/orchestrator/messages.ts";
import type { FaultyDisk } from "../fakes/faulty-disk.ts";

const dayMs = 86_400_000;

/** An independent count of what brakes and providers' limits measure, to compare with the core's decisions. */
export class BrakeLedger {
  readonly #limits: Config["brakes"];
  readonly #attempts = new Map<string, Attempt>();
  readonly #spent = new Map<string, number>();
  readonly #days = new Map<number, number>();
  readonly #idle = new Map<string, { state: string; turns: number }>();
  readonly #braked = new Set<string>();
  readonly #pausedUntil = new Map<string, number>();
  /** Agents whose pause has an end that the provider named. */
  readonly #named = new Set<string>();
  holds = 0;
  pauses = 0;
  fullDays = 0;

  constructor(limits: Config["brakes"]) {
    this.#limits = limits;
  }

  prior(issueId: string, after: string): Prior {
    const own = [...this.#attempts.values()].filter((attempt) => attempt.issueId === issueId);
    const counted = own.filter(({ id }) => id > after);
    const tokens = counted.reduce((sum, attempt) => sum + attempt.tokens.total, 0);
    return {
      count: own.length,
      resume: null,
      thread: null,
      tokens,
      idle: counted.at(-1)?.idle ?? null,
    };
  }

  today(wall: number): number {
    return this.#days.get(Math.floor(wall / dayMs)) ?? 0;
  }

  heard(effect: Effect): void {
    if (effect.type === "startAttempt") {
      this.#attempts.set(effect.row.id, effect.row);
      // Also of an attempt that does not begin, because the disk refuses it.
      this.#seen(effect.issue);
    }
    if (effect.type === "saveAttempt") this.#attempts.set(effect.attempt.id, effect.attempt);
    if (effect.type === "saveUsed") {
      const { attempt, at, tokens } = effect;
      const { issueId } = attempt;
      this.#attempts.set(attempt.id, attempt);
      this.#spent.set(issueId, (this.#spent.get(issueId) ?? 0) + tokens.total);
      this.#days.set(Math.floor(at / dayMs), this.today(at) + tokens.total);
    }
    if (effect.type !== "publish") return;
    const { type, issueId, data } = effect.event;
    if (type === "issue.held" && data?.["brake"] !== undefined) {
      this.holds++;
      this.#braked.add(issueId ?? "");
      this.#deserved(issueId ?? "", String(data["brake"]));
    }
    if (type === "budget.reached") this.fullDays++;
    if (type === "provider.paused") {
      this.pauses++;
      const agent = String(data?.["agent"]);
      this.#pausedUntil.set(agent, Date.parse(String(data?.["until"])));
      if (data?.["told"] === true) this.#named.add(agent);
      else this.#named.delete(agent);
    }
  }

  /** No brake holds an issue that still has an allowance. */
  #deserved(issueId: string, brake: string): void {
    const { tokensPerIssue, turnsWithoutProgress } = this.#limits;
    const spent = this.#spent.get(issueId) ?? 0;
    if (brake === "tokens_per_issue") {
      assert.ok(spent >= (tokensPerIssue ?? 0), `B7: ${issueId} is held with tokens left`);
    }
    const turns = (this.#idle.get(issueId)?.turns ?? 0) + 1;
    if (brake === "turns_without_progress") {
      assert.ok(turns >= (turnsWithoutProgress ?? 0), `B8: ${issueId} is held with turns left`);
    }
  }

  /** A turn of a live attempt ended well, with the issue in `state`. */
  turned(issueId: string, state: string, moved: boolean): void {
    const known = this.#idle.get(issueId);
    const still = !moved && known?.state === normalState(state);
    const turns = still ? known.turns + 1 : 0;
    this.#idle.set(issueId, { state: normalState(state), turns });
    const limit = this.#limits.turnsWithoutProgress;
    const held = this.#braked.has(issueId);
    assert.ok(limit === null || turns < limit || held, `B9: ${issueId} idles on`);
  }

  /** A state that another one has given the issue since its last turn is progress. */
  #seen(issue: Issue): void {
    const state = normalState(issue.state);
    if (this.#idle.get(issue.id)?.state !== state) this.#idle.set(issue.id, { state, turns: 0 });
  }

  /** An operator resumed the issue, or said that it is done. */
  released(issueId: string, to: string): void {
    this.#braked.delete(issueId);
    if (to !== "queued") return;
    this.#spent.delete(issueId);
    this.#idle.delete(issueId);
  }

  /** An operator's refresh may end a pause whose end the provider did not name. */
  refreshed(): void {
    for (const agent of this.#pausedUntil.keys()) {
      if (!this.#named.has(agent)) this.#pausedUntil.delete(agent);
    }
  }

  /** A new process may try a limited provider, and an issue that a brake held, only if the disk has refused to keep that. */
  crashed(saved: readonly AgentPause[], disk: Pick<FaultyDisk, "isTroubled" | "records">): void {
    for (const issueId of this.#braked) {
      const isKept = (disk.records.get(issueId)?.held ?? null) !== null;
      if (disk.isTroubled && !isKept) this.#braked.delete(issueId);
    }
    for (const [agent, until] of this.#pausedUntil) {
      const { untilWall = 0 } = saved.find((pause) => pause.agent === agent) ?? {};
      this.#pausedUntil.set(agent, Math.min(until, untilWall));
    }
  }

  mayStart(issue: Issue, agent: string, wall: number): void {
    const { id: issueId } = issue;
    this.#seen(issue);
    const { tokensPerIssue, tokensPerDay } = this.#limits;
    assert.ok(!this.#braked.has(issueId), `B1: ${issueId} was held by a brake and starts again`);
    const spent = this.#spent.get(issueId) ?? 0;
    assert.ok(tokensPerIssue === null || spent < tokensPerIssue, `B2: ${issueId} starts with none`);
    const today = this.today(wall);
    assert.ok(tokensPerDay === null || today < tokensPerDay, "B3: the day's budget is used up");
    const until = this.#pausedUntil.get(agent) ?? 0;
    assert.ok(wall >= until, `B4: ${agent} is paused for ${until - wall} ms more`);
  }
}
