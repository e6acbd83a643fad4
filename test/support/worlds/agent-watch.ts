import assert from "node:assert/strict";
import { endedOf } from "../../../src/core/attempt/recovery.ts";
import type { Config } from "../../../src/core/config/config.ts";
import type { Attempt } from "../../../src/core/model/attempt.ts";
import type { PriorThread } from "../../../src/core/orchestrator/decision.ts";
import type { Ended } from "../../../src/core/orchestrator/issues.ts";
import type { Effect } from "../../../src/core/orchestrator/messages.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";

type Start = Extract<Effect, { type: "startAttempt" }>;

/** An independent record of which agent may run what: those that can be started, and work that has begun. */
export class AgentWatch {
  readonly #config: Config;
  readonly #broken = new Set<string>();
  /** The newest attempt of each issue. */
  readonly #last = new Map<string, Attempt>();
  /** Starts with an agent in the place of the preferred one, and moves of begun work. */
  standIns = 0;
  moves = 0;
  stays = 0;

  constructor(config: Config) {
    this.#config = config;
  }

  get agents(): readonly string[] {
    const { use, fallback } = this.#config.agent;
    return [...new Set([use, ...fallback])];
  }

  get broken(): ReadonlySet<string> {
    return this.#broken;
  }

  /** A check of the agent was posted. */
  checked(agent: string, isBroken: boolean): void {
    if (isBroken) this.#broken.add(agent);
    else this.#broken.delete(agent);
  }

  /** A new process: it has checked nothing yet. */
  restarted(): void {
    this.#broken.clear();
  }

  /** What the history says of an issue's last attempt: a thread to resume, or none. */
  thread(issueId: string): PriorThread | null {
    const last = this.#last.get(issueId);
    if (!last || last.threadId === null || !isCutOff(last)) return null;
    return { threadId: last.threadId, tokens: last.threadTokens, agent: last.agent };
  }

  /** What the history says of the end of an issue's last attempt. */
  ended(issueId: string): Ended | null {
    const last = this.#last.get(issueId);
    return last === undefined ? null : endedOf(last);
  }

  heard(effect: Effect): void {
    if (effect.type === "saveAttempt") this.#last.set(effect.attempt.issueId, effect.attempt);
  }

  /** As a new server marks the attempts of one that was killed. */
  interrupted(): void {
    for (const [id, row] of this.#last) {
      if (row.endedAt !== null) continue;
      this.#last.set(id, { ...row, status: "interrupted", endedAt: row.startedAt });
    }
  }

  started(order: Start, before: State): void {
    const { agent, resumeThreadId, takesOver, row } = order;
    const { id } = order.issue;
    const { handover } = this.#config.agent;
    assert.ok(!this.#broken.has(agent), `${id} starts with ${agent}, which cannot be started`);
    assert.ok(this.agents.includes(agent), `${id} starts with ${agent}, which nothing names`);
    const last = this.#last.get(id);
    const thread = this.thread(id);
    const isEmpty = thread?.tokens.total === 0 && last?.status === "failed";
    const begun = isEmpty ? null : thread;
    this.#last.set(id, row);
    if (begun !== null && begun.agent === agent) {
      this.stays++;
      assert.equal(resumeThreadId, begun.threadId, `${id} loses its thread`);
    } else if (begun !== null) {
      this.moves++;
      assert.ok(handover, `${id} is moved from ${begun.agent} to ${agent} without handover`);
      assert.equal(takesOver, true, `${id} is moved without its record`);
    }
    if (begun !== null && !handover) return;
    const better = this.agents.slice(0, this.agents.indexOf(agent));
    if (better.length > 0) this.standIns++;
    for (const one of better) {
      const isShut = before.pauses.get(one)?.active === true || this.#broken.has(one);
      assert.ok(isShut, `${id} starts with ${agent} although ${one} may run again`);
    }
  }
}

/** As the history decides it: see priorOf. */
function isCutOff({ status, error }: Attempt): boolean {
  return /^(?:interrupted|stalled)$/.test(status) || /^provider_/.test(error?.code ?? "");
}
