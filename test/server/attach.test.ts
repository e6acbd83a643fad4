import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { readMerging } from "../../src/core/workspace/baseline.ts";
import { mergingFile } from "../../src/core/workspace/place.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { gitWorld } from "../support/worlds/git-world.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { type Answer, serve } from "../support/worlds/server.ts";

const post = (body: unknown = {}) => ({ method: "POST", body });

/** A server whose ENG-1 runs in a clone with a changed file. */
async function running() {
  const git = await gitWorld();
  const server = await serve(git.world);
  const { scheduler, core } = git.world;
  return {
    ...git,
    core,
    scheduler,
    ask: server.ask,
    status: () => core.orchestrator.statusOf("ENG-1")?.status,
    /** ENG-1 is held, and a person is attached to it. */
    async attach() {
      const answer = server.ask("/api/v1/ENG-1/attach", post({ interrupt: true }));
      await until(() => scheduler.run("ENG-1").stopReason !== null);
      await scheduler.run("ENG-1").end({ kind: "stopped" });
      return api.issues.attach.reply.parse((await answer).json());
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await git[Symbol.asyncDispose]();
    },
  };
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let round = 0; round < 500 && !isTrue(); round += 1) {
    await settled();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.ok(isTrue());
}

function codeOf(answer: Answer): [number, string] {
  return [answer.status, answer.json().error.code];
}

describe("POST :id/attach", () => {
  test("is 409 while an agent runs, and changes nothing", async () => {
    await using at = await running();
    assert.deepEqual(codeOf(await at.ask("/api/v1/ENG-1/attach", post())), [409, "turn_running"]);
    assert.equal(at.status(), "running");
    assert.equal(at.scheduler.run("ENG-1").stopReason, null);
  });

  test("with interrupt stops the agent first, and answers once it is gone", async () => {
    await using at = await running();
    let answered = false;
    const answer = at.ask("/api/v1/eng-1/attach", post({ interrupt: true })).finally(() => {
      answered = true;
    });
    await until(() => at.scheduler.run("ENG-1").stopReason !== null);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(answered, false);
    await at.scheduler.run("ENG-1").end({ kind: "stopped" });
    const reply = api.issues.attach.reply.parse((await answer).json());
    const base = gitIn(at.path)("rev-parse", "HEAD");
    assert.partialDeepStrictEqual(reply, {
      issue_identifier: "ENG-1",
      path: at.path,
      branch: "eng-1",
      base,
      uncommitted: true,
    });
    assert.equal(at.status(), "held");
    const again = await at.ask("/api/v1/ENG-1/attach", post());
    assert.deepEqual(api.issues.attach.reply.parse(again.json()), reply);
  });

  test("names what stands in the way, and how to hand the issue back", async () => {
    await using at = await running();
    const record = mergingFile(at.path);
    mkdirSync(dirname(record), { recursive: true });
    writeFileSync(record, "{");
    // This world delivers nothing: what comes before a person reads the record all the same.
    at.core.deliveries.ready = async () => void (await readMerging(at.path));
    const answer = at.ask("/api/v1/ENG-1/attach", post({ interrupt: true }));
    await until(() => at.scheduler.run("ENG-1").stopReason !== null);
    await at.scheduler.run("ENG-1").end({ kind: "stopped" });
    assert.deepEqual(codeOf(await answer), [409, "transition_not_allowed"]);
    const { details, message } = (await answer).json().error;
    const { hint } = details;
    assert.match(message, /^ENG-1 is held, but not ready: .* cannot be read/);
    assert.ok(hint.includes(`move ${record} away`), hint);
    assert.match(hint, /symphony attach ENG-1 --done hands it back/);
    assert.equal(at.status(), "held");
    rmSync(record);
    assert.equal((await at.ask("/api/v1/ENG-1/attach", post())).status, 200);
  });

  test("protects the workspace from its removal", async () => {
    await using at = await running();
    await at.attach();
    const removal = await at.ask("/api/v1/workspaces/ENG-1?force=true", { method: "DELETE" });
    assert.deepEqual(codeOf(removal), [409, "workspace_in_use"]);
  });

  test("is 404 for an unknown issue and for one without a workspace, 400 for a wrong body", async () => {
    await using at = await running();
    assert.deepEqual(codeOf(await at.ask("/api/v1/NO-1/attach", post())), [404, "issue_not_found"]);
    const none = await at.ask("/api/v1/ENG-3/attach", post());
    assert.deepEqual(codeOf(none), [404, "workspace_not_found"]);
    const wrong = await at.ask("/api/v1/ENG-1/attach", post({ interrupt: "yes" }));
    assert.deepEqual(codeOf(wrong), [400, "invalid_request"]);
  });
});

describe("POST :id/detach", () => {
  test("is 409 when nobody is attached, also for an issue that is held otherwise", async () => {
    await using at = await running();
    assert.deepEqual(codeOf(await at.ask("/api/v1/ENG-1/detach", post())), [409, "not_attached"]);
    const stop = at.ask("/api/v1/ENG-1/abort", post());
    await until(() => at.scheduler.run("ENG-1").stopReason !== null);
    await at.scheduler.run("ENG-1").end({ kind: "stopped" });
    await stop;
    const late = await at.ask("/api/v1/ENG-1/detach", post({ note: "add tests" }));
    assert.deepEqual(codeOf(late), [409, "not_attached"]);
    assert.equal(at.status(), "held");
    assert.deepEqual(at.core.history.undelivered("id-ENG-1"), []);
  });

  test("hands the changes and the note to the next turn, and lets the issue run", async () => {
    await using at = await running();
    await at.attach();
    writeFileSync(join(at.path, "by-hand.txt"), "by hand\n");
    gitIn(at.path)("add", "by-hand.txt");
    gitIn(at.path)("commit", "-q", "-m", "by hand");
    const answer = await at.ask("/api/v1/ENG-1/detach", post({ note: "add tests" }));
    const left = api.issues.detach.reply.parse(answer.json());
    assert.deepEqual([left.changed_files, left.truncated], [2, false]);
    const [steer, ...others] = at.core.history.undelivered("id-ENG-1");
    assert.deepEqual(others, []);
    assert.match(steer?.message ?? "", /Their note: add tests/);
    assert.match(steer?.message ?? "", /it includes what was not committed when they came/);
    assert.match(steer?.message ?? "", /\n\+by hand\n/);
    await until(() => at.status() === "running");
    assert.deepEqual(codeOf(await at.ask("/api/v1/ENG-1/detach", post())), [409, "not_attached"]);
  });

  test("gives the agent the beginning of a long diff", async () => {
    await using at = await running();
    await at.attach();
    writeFileSync(join(at.path, "long.txt"), "a line of text\n".repeat(5_000));
    const answer = await at.ask("/api/v1/ENG-1/detach", post());
    assert.equal(api.issues.detach.reply.parse(answer.json()).truncated, true);
    const [steer] = at.core.history.undelivered("id-ENG-1");
    assert.ok((steer?.message.length ?? 0) < 17_000);
    assert.match(steer?.message ?? "", /its end is left out, so read the files/);
  });

  test("changes nothing when the commit to compare with is gone", async () => {
    await using at = await running();
    const { base } = await at.attach();
    const git = gitIn(at.path);
    git("checkout", "-q", "--orphan", "fresh");
    git("commit", "-q", "-m", "fresh");
    git("branch", "-D", "eng-1");
    git("reflog", "expire", "--expire=now", "--all");
    git("gc", "-q", "--prune=now");
    assert.throws(() => git("cat-file", "-e", `${base}`));
    assert.deepEqual(codeOf(await at.ask("/api/v1/ENG-1/detach", post())), [409, "no_repository"]);
    assert.equal(at.status(), "held");
    assert.deepEqual(at.core.history.undelivered("id-ENG-1"), []);
  });
});

describe("a transition of an attached issue", () => {
  test("to queued hands the changes to the next turn", async () => {
    await using at = await running();
    await at.attach();
    writeFileSync(join(at.path, "by-hand.txt"), "by hand\n");
    const moved = await at.ask("/api/v1/ENG-1/transition", post({ to: "queued" }));
    assert.equal(moved.status, 200, moved.text);
    const [steer, ...others] = at.core.history.undelivered("id-ENG-1");
    assert.deepEqual(others, []);
    assert.match(steer?.message ?? "", /A person worked in your workspace[\s\S]*\n\+by hand\n/);
    assert.deepEqual(codeOf(await at.ask("/api/v1/ENG-1/detach", post())), [409, "not_attached"]);
    for (let time = 0; time < 2; time++) {
      const late = await at.ask("/api/v1/ENG-1/detach", post({ note: "add tests" }));
      const left = api.issues.detach.reply.parse(late.json());
      assert.deepEqual([left.attached, left.changed_files], [false, null]);
    }
    const messages = at.core.history.undelivered("id-ENG-1").map(({ message }) => message);
    assert.deepEqual(messages, [
      steer?.message,
      "A person who worked in your workspace, and has left it, says: add tests",
    ]);
  });

  test("to queued is possible when the commit to compare with is gone: the turn says so", async () => {
    await using at = await running();
    await at.attach();
    const git = gitIn(at.path);
    git("checkout", "-q", "--orphan", "fresh");
    git("commit", "-q", "-m", "fresh");
    git("branch", "-D", "eng-1");
    git("reflog", "expire", "--expire=now", "--all");
    git("gc", "-q", "--prune=now");
    const moved = await at.ask("/api/v1/ENG-1/transition", post({ to: "queued" }));
    assert.equal(moved.status, 200, moved.text);
    const [steer] = at.core.history.undelivered("id-ENG-1");
    assert.match(steer?.message ?? "", /What they changed is not known/);
  });

  test("of one without a person hands over nothing", async () => {
    await using at = await running();
    const stop = at.ask("/api/v1/ENG-1/abort", post());
    await until(() => at.scheduler.run("ENG-1").stopReason !== null);
    await at.scheduler.run("ENG-1").end({ kind: "stopped" });
    await stop;
    const moved = await at.ask("/api/v1/ENG-1/transition", post({ to: "queued" }));
    assert.equal(moved.status, 200, moved.text);
    assert.deepEqual(at.core.history.undelivered("id-ENG-1"), []);
  });
});
