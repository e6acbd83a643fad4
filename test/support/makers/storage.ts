import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Attempt, noTokens } from "../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { SymphonyEvent } from "../../../src/core/model/event.ts";
import type { IssueRecord, Steer } from "../../../src/core/store/store.ts";
import { issue } from "./issue.ts";

/** Files of a data directory: if one is missing or damaged, no server starts. */
export const neededFiles = [
  "issues.db",
  "history.db",
  "webhooks.db",
  "overlay.json",
  "templates.json",
  "pause.json",
  "secrets.json",
  "issue-records.json",
] as const;

/** A fresh directory that is removed with its test. */
export function temporaryDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "symphony-test-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function attempt(id: string, fields: Partial<Attempt> = {}): Attempt {
  return {
    id,
    issueId: "id-ENG-1",
    issueIdentifier: "ENG-1",
    number: 1,
    status: "running",
    phase: "streaming_turn",
    agent: "codex",
    model: null,
    templateId: null,
    workerHost: null,
    threadId: null,
    sessionId: null,
    turnCount: 0,
    startedAt: 1_000,
    endedAt: null,
    tokens: noTokens,
    threadTokens: noTokens,
    error: null,
    workspaceKey: null,
    workspacePath: null,
    git: null,
    idle: null,
    ...fields,
  };
}

export function event(seq: number, fields: Partial<SymphonyEvent> = {}): SymphonyEvent {
  return {
    seq,
    type: "agent.message",
    at: 1_000 + seq,
    issueId: "id-ENG-1",
    issueIdentifier: "ENG-1",
    attemptId: "att_1",
    sessionId: null,
    message: `event ${seq}`,
    data: {},
    ...fields,
  };
}

export function steer(id: string, fields: Partial<Steer> = {}): Steer {
  return {
    id,
    issueId: "id-ENG-1",
    attemptId: "att_1",
    turnId: "turn-1",
    message: "auth first",
    key: null,
    at: 1_000,
    delivered: false,
    ...fields,
  };
}

export function record(identifier: string, fields: Partial<IssueRecord> = {}): IssueRecord {
  return {
    issue: issue(identifier),
    held: null,
    failed: null,
    retry: null,
    dismissed: null,
    review: null,
    offer: null,
    model: null,
    templateId: null,
    effort: null,
    agent: null,
    allowanceAfter: null,
    worker: null,
    ...fields,
  };
}

/** For `assert.throws` and `assert.rejects`: this code, and a message like this. */
export function coded(code: string, message: RegExp = /(?:)/): (error: unknown) => boolean {
  return (error) =>
    error instanceof SymphonyError && error.code === code && message.test(error.message);
}
