// A session on a worker, without an engine: the letters pass from hand to hand.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { AgentSession } from "../../../src/core/agent/agent.ts";
import type { AgentImage } from "../../../src/core/agent/images.ts";
import { agentKinds } from "../../../src/core/agent/kinds.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { WorkerAgents } from "../../../src/core/fleet/agents.ts";
import { copyOf } from "../../../src/core/fleet/copy.ts";
import { Hosted, type HostedDeps } from "../../../src/core/fleet/hosted.ts";

const dir = mkdtempSync(join(tmpdir(), "symphony-hosted-"));
const source = join(dir, "source");
const place = join(dir, "worker", "workspaces", "LOCAL-1");
mkdirSync(source);
const git = (...args: string[]) => execFileSync("git", ["-C", source, ...args]);
git("init", "-q", "-b", "main");
for (let at = 0; at < 300; at++) writeFileSync(join(source, `file-${at}`), `${at}\n`);
git("add", "-A");
git("-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-q", "-m", "one");
const signal = new AbortController().signal;
const { facts, bundle } = await copyOf(source, { maxBytes: 1e7, signal });
after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));

let runs = 0;
function hosted(deps: Partial<HostedDeps> = {}) {
  runs += 1;
  const one = new Hosted(`A-${runs}`, {
    ...{ kinds: agentKinds, clock: systemClock, env: process.env, dir: join(dir, "worker") },
    workspaceRoot: join(dir, "worker", "workspaces"),
    agents: new WorkerAgents({
      ...{
        kinds: deps.kinds ?? agentKinds,
        clock: systemClock,
        env: process.env,
        dir: join(dir, "worker"),
      },
      ...{ workspaceRoot: join(dir, "worker", "workspaces"), worker: "w", key: Buffer.alloc(32) },
      hide() {},
      log() {},
      changed() {},
    }),
    prepare: async () => null,
    hide() {},
    requireLease() {},
    log() {},
    ...deps,
  });
  const start = (prepare: string | null = null) =>
    one.asked({
      body: {
        ...{ type: "start", attempt: "A", key: "LOCAL-1", kind: "command", agent: "command" },
        ...{ settings: {}, prepare, prepareMs: 60_000, maxCopy: 1e7, facts, tools: [] },
        ...{ hasUnfinished: false, spec: { level: "danger", secretEnvNames: [] } },
      },
      data: bundle,
    });
  const end = () => one.asked({ body: { type: "end" }, data: null });
  return { one, start, end };
}

/** An agent that is there, and shows what it was told. */
function showing(steered: (readonly AgentImage[] | undefined)[]): HostedDeps["kinds"] {
  const session: Partial<AgentSession> = {
    ...{ threadId: "t", resumed: false, takesImages: true, forgetsImages: true },
    async steer(_id, _message, images) {
      steered.push(images);
      return { turnId: "1" };
    },
    async [Symbol.asyncDispose]() {},
  };
  return agentKinds.map((row) => ({
    ...row,
    create: async () => ({ kind: row.kind, start: async () => session as AgentSession }),
  }));
}

test("the end of a session that starts is answered when its preparation has ended and its place is free", async () => {
  const begun = Promise.withResolvers<void>();
  let isOver = false;
  const { start, end } = hosted({
    async prepare(_line, { path, signal: stop }) {
      begun.resolve();
      await new Promise((done) => stop.addEventListener("abort", done));
      for (let at = 0; at < 20; at++) await new Promise((done) => setImmediate(done));
      writeFileSync(join(path, "late"), "");
      isOver = true;
      return "ended";
    },
  });
  const starting = assert.rejects(start("npm ci"));
  await begun.promise;
  await end();
  assert.ok(isOver);
  assert.ok(!existsSync(place));
  await starting;
});

test("the next attempt of an issue finds its place empty while the last one's files are still deleted", async () => {
  for (let round = 0; round < 5; round++) {
    const { start, end } = hosted({ kinds: showing([]) });
    await start();
    assert.equal(readFileSync(join(place, "file-299"), "utf8"), "299\n");
    assert.deepEqual(await end(), { failed: null });
    assert.ok(!existsSync(place));
  }
  const { start, end } = hosted({ kinds: showing([]) });
  await start();
  const left = execFileSync("git", ["-C", place, "status", "--porcelain"], { encoding: "utf8" });
  assert.equal(left, "");
  await end();
});

test("images reach an agent on a worker with guidance, and that it forgets them is known", async () => {
  const steered: (readonly AgentImage[] | undefined)[] = [];
  const { one, start, end } = hosted({ kinds: showing(steered) });
  const opened = await start();
  assert.deepEqual([opened["takesImages"], opened["forgetsImages"]], [true, true]);
  const images: readonly AgentImage[] = [{ mediaType: "image/png", base64: "AAAA" }];
  await one.asked({ body: { type: "steer", steerId: "s", message: "look", images }, data: null });
  assert.deepEqual(steered, [images]);
  await end();
});
