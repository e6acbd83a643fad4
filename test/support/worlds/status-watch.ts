import assert from "node:assert/strict";
import type { Config } from "../../../src/core/config/config.ts";
import { type Issue, normalState, statuses } from "../../../src/core/model/issue.ts";
import { standingOf } from "../../../src/core/orchestrator/dispatch.ts";
import type { Effect, Input } from "../../../src/core/orchestrator/messages.ts";
import { knownIssue, snapshot, statusOf } from "../../../src/core/orchestrator/snapshot.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";

/** The title of an issue of a simulated world; it contains the version of the issue. */
export function titleOf(version: number): string {
  return `version ${version}`;
}

function versionOf({ title }: Issue): number {
  return Number(title.replace("version ", ""));
}

/** Checks that an issue has one status, that nothing older than the last read is shown, and that a closed issue is done. */
export class StatusWatch {
  readonly #config: Config;
  /** The newest version of each issue that an answer has contained. */
  readonly #read = new Map<string, number>();
  /** Issues whose workspace an attempt of this process has left. */
  readonly #worked = new Set<string>();

  constructor(config: Config) {
    this.#config = config;
  }

  /** An answer of the tracker, right before the core handles it. */
  answered(input: Input): void {
    if ("issues" in input) for (const issue of input.issues) this.#answered(issue);
    if (input.type === "issue.checked" && input.issue !== null) this.#answered(input.issue);
  }

  #answered(issue: Issue): void {
    this.#read.set(issue.id, Math.max(this.#read.get(issue.id) ?? 0, versionOf(issue)));
  }

  heard(effect: Effect): void {
    if (effect.type === "startAttempt") this.#worked.add(effect.issue.id);
    if (effect.type === "removeWorkspace") this.#worked.delete(effect.issue.id);
  }

  /** A new process starts with the data on its disk; it cleans up at its start. */
  restarted(): void {
    this.#read.clear();
    this.#worked.clear();
  }

  /** Between two inputs. */
  look(state: State, issueIds: Iterable<string>, now: number): void {
    const view = snapshot(state, this.#config, { now, limit: 100 });
    const lists = new Map<string, string>();
    for (const status of statuses) {
      assert.equal(view[status].length, view.counts[status], `${status} is counted as it is shown`);
      for (const { issue } of view[status]) {
        const other = lists.get(issue.id);
        assert.equal(other, undefined, `M1: ${issue.id} is ${other} and ${status}`);
        lists.set(issue.id, status);
        this.#isFresh(issue);
      }
    }
    for (const id of issueIds) {
      const issue = knownIssue(state, id);
      if (issue) this.#isFresh(issue);
      const status = issue && statusOf(state, issue);
      assert.equal(status, lists.get(id) ?? null, `INV-6: ${id} has the status of its list`);
    }
  }

  #isFresh(issue: Issue): void {
    const read = this.#read.get(issue.id) ?? 0;
    assert.ok(
      versionOf(issue) >= read,
      `M2: ${issue.id} is shown as ${issue.title}, read: ${read}`,
    );
  }

  /** After some polls of a world without faults; `issues` are those of the tracker. */
  settled(state: State, issues: Iterable<Issue>): void {
    for (const issue of issues) {
      const row = state.issues.get(issue.id);
      const dismissed = (row?.claim === "completed" && row.dismissed) || null;
      const isOver = dismissed !== null && dismissed.state !== normalState(issue.state);
      assert.ok(!isOver, `M5: ${issue.id} was completed by an operator in another state`);
      const status = statusOf(state, issue);
      const standing = standingOf(issue, this.#config.tracker);
      const isDone = status === "completed" && dismissed === null;
      assert.ok(standing !== "routable" || !isDone, `M5: ${issue.id} is open and completed`);
      if (standing !== "terminal") continue;
      assert.ok(
        status === null || status === "completed",
        `M3: ${issue.id} is closed and ${status}`,
      );
      assert.ok(!this.#worked.has(issue.id), `M4: ${issue.id} is closed and its workspace stays`);
    }
  }
}
