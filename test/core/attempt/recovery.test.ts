import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { priorOf } from "../../../src/core/attempt/recovery.ts";
import type { Attempt } from "../../../src/core/model/attempt.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { attempt, temporaryDir } from "../../support/makers/storage.ts";

// Rows of the case file of agents are named "A24: …".

type Ended = Pick<Attempt, "status" | "threadId"> & { readonly code?: string };

test("A24: the session is resumed after a stall, a broken connection or an interruption, and new after poison", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  let number = 0;
  /** The session that the attempt after these would resume. */
  const resumedAfter = (...ended: readonly Ended[]) => {
    const issueId = `issue-${++number}`;
    ended.forEach(({ status, threadId, code }, at) => {
      const error = code === undefined ? null : { code, message: code };
      const row = { issueId, status, threadId, error, number: at + 1, endedAt: 2_000 };
      history.saveAttempt(attempt(`att_${number}_${at}`, row));
    });
    return priorOf(history, issueId, "").resume?.threadId ?? null;
  };
  const stalled = { status: "stalled", threadId: "one", code: "stopped" } as const;
  const crashed = { status: "failed", threadId: "one", code: "port_exit" } as const;
  const failed = { status: "failed", threadId: "one", code: "turn_failed" } as const;
  const refused = { status: "failed", threadId: "one", code: "provider_refused" } as const;
  assert.equal(resumedAfter(stalled), "one");
  assert.equal(resumedAfter(crashed), "one");
  assert.equal(resumedAfter({ status: "interrupted", threadId: "one" }), "one");
  assert.equal(resumedAfter(refused), "one");
  const lost = { status: "failed", threadId: "one", code: "worker_lost" } as const;
  assert.equal(resumedAfter(lost), "one");
  assert.equal(resumedAfter(lost, lost), null);
  const outage = { status: "failed", threadId: "one", code: "provider_unavailable" } as const;
  assert.equal(resumedAfter(outage), "one");
  assert.equal(resumedAfter(outage, stalled), null);
  assert.equal(resumedAfter(failed), null);
  assert.equal(resumedAfter({ status: "succeeded", threadId: "one" }), null);
  // Twice in a row on one session: the session itself may be the cause.
  assert.equal(resumedAfter(crashed, stalled), null);
  assert.equal(resumedAfter({ ...stalled, threadId: "before" }, stalled), "one");
  assert.equal(resumedAfter(stalled, refused), "one");
  // A crash while an attempt was prepared, before it had a session, says nothing of the one before.
  const cut = { status: "interrupted", threadId: null } as const;
  assert.equal(resumedAfter(stalled, cut, cut), "one");
  assert.equal(resumedAfter(failed, cut), null);
  assert.equal(resumedAfter(cut), null);
  assert.equal(resumedAfter(stalled, { status: "failed", threadId: null }), null);
  // Offered work is continued in its session all the same.
  assert.equal(resumedAfter({ status: "succeeded", threadId: "one" }, cut), null);
  assert.equal(priorOf(history, `issue-${number}`, "").thread?.threadId, "one");
});
