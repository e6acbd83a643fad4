import assert from "node:assert/strict";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { createLogger } from "../../src/core/events/log.ts";
import { createCore } from "../../src/core/start.ts";
import { lockDataDir } from "../../src/core/store/lock.ts";
import { createRedactor } from "../../src/core/text/redact.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { silentTracker } from "../support/fakes/silent-tracker.ts";
import { coded, neededFiles, temporaryDir } from "../support/makers/storage.ts";
import { webhookSecretValue } from "../support/makers/webhook.ts";

const junk = "neither a database nor a document\n".repeat(40);
const localTracker = "{ kind: local }";

/** A project on which a core can be opened, with a clock that does not advance. */
async function project(t: TestContext, tracker = localTracker) {
  const dir = temporaryDir(t);
  const workflowPath = join(dir, "WORKFLOW.md");
  const dataDir = join(dir, ".symphony");
  await mkdir(dataDir);
  await writeFile(workflowPath, `---\ntracker: ${tracker}\n---\nWork on {{ issue.title }}\n`);
  const clock = new FakeClock();
  const redactor = createRedactor();
  const logged: string[] = [];
  const sinks = [{ name: "test", write: (line: string) => void logged.push(line) }];
  const redact = (text: string) => text;
  const log = createLogger({ level: "debug", format: "json", sinks, clock, redact });
  const env = {
    PATH: process.env["PATH"],
    HOME: dir,
    LINEAR_API_KEY: "lin_api_x",
    LINEAR_WEBHOOK_SECRET: webhookSecretValue,
  };
  const options = { version: "1.2.3", workflowPath, dataDir, env, flags: {}, clock, log, redactor };
  return { options, dataDir, clock, logged };
}

/** What keeps a process alive: timers of the clock, file watchers, servers. */
function openHandles(clock: FakeClock): readonly string[] {
  const own = process.getActiveResourcesInfo().filter((name) => name === "FSEventWrap");
  return [...own, ...Array.from({ length: clock.pending }, () => "timer")];
}

describe("a start that fails leaves nothing open, bound or running", () => {
  for (const file of neededFiles) {
    test(`${file} is damaged`, async (t) => {
      const { options, dataDir, clock } = await project(t);
      const before = openHandles(clock);
      await writeFile(join(dataDir, file), junk, { mode: 0o600 });
      await assert.rejects(createCore(options), coded("storage_corrupt", new RegExp(file)));
      assert.deepEqual(openHandles(clock), before);
      await (await lockDataDir(dataDir)).release();
    });
  }

  test("an aborted start", async (t) => {
    const { options, dataDir, clock } = await project(t);
    const before = openHandles(clock);
    const stop = new AbortController();
    const admit = async () => stop.abort();
    const given = createCore({ ...options, admit, signal: stop.signal });
    await assert.rejects(given, (error) => error === stop.signal.reason);
    assert.deepEqual(openHandles(clock), before);
    assert.ok(!(await readdir(dataDir)).includes("lock.json"));
  });
});

test("a core that stops while its tracker does not answer the first read has not started, and leaves nothing", async (t) => {
  const tracker = await silentTracker(t);
  const place = await project(t, tracker.section);
  const { options, dataDir, clock, logged } = place;
  const before = openHandles(clock);
  const core = await createCore(options);
  const started = core.start();
  await tracker.asked;
  await core.stop();
  await started;
  assert.deepEqual(openHandles(clock), before);
  assert.doesNotMatch(logged.join(""), /cleanup failed|effect failed|no agent can start/);
  await (await lockDataDir(dataDir)).release();
});

test("a tracker of a new configuration that cannot be opened leaves the old one in use", async (t) => {
  const { options, dataDir, logged } = await project(t);
  const core = await createCore(options);
  t.after(() => core.stop());
  await core.start();
  const old = core.tracker();
  await rm(join(dataDir, "issues.db"));
  await writeFile(join(dataDir, "issues.db"), junk, { mode: 0o600 });
  await core.config.changeOverlay(() => ({ tracker: { provider: { prefix: "APP" } } }));
  assert.equal(core.tracker(), old);
  assert.match(logged.join(""), /the tracker was not changed.*issues\.db/);
});
