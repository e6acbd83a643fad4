import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/core/events/log.ts";
import { createCore } from "../../src/core/start.ts";
import { createRedactor } from "../../src/core/text/redact.ts";
import { temporaryDir } from "../support/makers/storage.ts";

/** Timers of half a second or less are due at once, as on a machine where all other work is slow. */
const hasty: Clock = {
  now: () => systemClock.now(),
  wall: () => systemClock.wall(),
  after(ms, fn) {
    if (ms > 500) return systemClock.after(ms, fn);
    let calls = true;
    setImmediate(() => {
      if (calls) fn();
    });
    return () => {
      calls = false;
    };
  },
};

test("a tracker that changes while a start is still recovering does not end the server", async (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, "WORKFLOW.md"), "---\ntracker: { kind: local }\n---\nDo it\n");
  const redactor = createRedactor();
  const redact = (text: string) => redactor.redact(text);
  const core = await createCore({
    version: "1.2.3",
    workflowPath: join(dir, "WORKFLOW.md"),
    dataDir: join(dir, ".symphony"),
    env: { PATH: process.env["PATH"], HOME: dir },
    flags: {},
    clock: hasty,
    log: createLogger({ level: "error", format: "logfmt", sinks: [], clock: hasty, redact }),
    redactor,
  });
  assert.equal(core.version, "1.2.3");
  assert.ok(Math.abs(core.startedWall - systemClock.wall()) < 60_000, "it says when it started");
  await core.stop();
});
