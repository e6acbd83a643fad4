import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { liveProcesses } from "../../src/core/process/table.ts";
import { SmallDisk } from "../support/makers/small-disk.ts";
import { hangingWorld } from "../support/worlds/hanging-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

/** Two of three issues run; the data directory is on a disk of 4 MB. */
async function project() {
  const world = await hangingWorld({
    issues: ["ENG-1", "ENG-2", "ENG-3"],
    pollMs: 1_000,
    agents: 2,
  });
  const disk = await SmallDisk.mount(world.dataDir, "4m");
  return {
    ...world,
    // The gate of a host that runs short closes before the disk is full.
    env: { ...world.env, SYMPHONY_STORAGE__MIN_FREE: "0" },
    disk,
    dataDir: disk.dir,
    dataDirSeen: disk.path(),
    through: (line: readonly string[]) => disk.through(line),
    async [Symbol.asyncDispose]() {
      await disk[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

/** Resolves with the running attempts, once each of them is in a turn. */
async function running(server: Served, ...names: string[]): Promise<ReadonlyMap<string, string>> {
  return eventually(`${names} run`, async () => {
    const rows = (await server.client.system.state({})).running.filter((row) => row.session_id);
    const found = new Map(rows.map((row) => [row.issue_identifier, row.attempt_id]));
    return found.size === names.length && names.every((name) => found.has(name)) && found;
  });
}

async function refusal(work: Promise<unknown>): Promise<SymphonyError> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  assert.equal(error.code, "storage_unavailable", error.message);
  return error;
}

async function isGone(attemptId: string): Promise<boolean> {
  return (await liveProcesses()).every(({ runId }) => !`${runId}/`.includes(`/${attemptId}/`));
}

test("FAULT-9: an attempt stopped on a full disk stays stopped, also after a crash; nothing starts, and everything is saved later", async () => {
  await using place = await project();
  const attempts = await (async () => {
    await using server = await Served.start(place);
    const { client } = server;
    const before = await running(server, "ENG-1", "ENG-2");
    await place.disk.fillUp();
    const params = { id: "ENG-1" };
    const stop = await refusal(client.issues.abort({ params, body: { reason: "wrong branch" } }));
    assert.match(
      stop.message,
      /ENG-1: the stop took effect but is not saved yet \(no space left on device\); it is saved as soon as there is room/,
    );
    assert.equal(stop.details["saved_later"], true);
    await eventually("its agent is gone", () => isGone(before.get("ENG-1") ?? ""));
    await eventually("it is held", async () => {
      const { held } = await client.system.state({});
      return held.some((row) => row.issue_identifier === "ENG-1");
    });
    const state = await client.system.state({});
    assert.equal(state.storage?.reason, "no space left on device");
    const waiting = state.queued.find((row) => row.issue_identifier === "ENG-3");
    assert.match(
      waiting?.waiting_for ?? "",
      /^cannot save: no space left on device; \d+ writes? wait/,
    );
    const { explain } = await client.issues.detail({ params: { id: "ENG-3" } });
    assert.equal(explain.find(({ gate }) => gate === "storage")?.pass, false);

    const body = { model: "gpt-5.5" };
    const chosen = await refusal(client.issues.model({ params: { id: "ENG-2" }, body }));
    assert.match(chosen.message, /^nothing was changed/);
    await refusal(client.config.replaceOverlay({ body: { agent: { max_turns: 7 } } }));
    const { overrides, status } = await client.issues.detail({ params: { id: "ENG-2" } });
    assert.deepEqual([overrides.model, status], [null, "running"], "what ran goes on, unchanged");
    const shown = await symphony(
      { ...place, env: { ...place.env, SYMPHONY_URL: server.url } },
      "state",
    );
    assert.match(shown.stdout, /nothing new is started: cannot save: no space left on device/);
    assert.equal((await client.system.state({})).running.length, 1, "the free slot stays free");

    place.disk.free();
    await eventually("all is saved", async () => (await client.system.state({})).storage === null);
    await running(server, "ENG-2", "ENG-3");
    await server.crash();
    return before;
  })();

  const verified = await symphony(place, "audit", "verify");
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  await using again = await Served.start(place);
  await running(again, "ENG-2", "ENG-3");
  const { held } = await again.client.system.state({});
  assert.deepEqual(
    held.map(({ issue_identifier, reason }) => [issue_identifier, reason]),
    [["ENG-1", "aborted: wrong branch"]],
  );
  const past = await again.client.issues.attempts({ params: { id: "ENG-1" } });
  assert.deepEqual(
    past.attempts.map(({ id, status }) => [id, status]),
    [[attempts.get("ENG-1"), "canceled"]],
  );
  const cut = await again.client.issues.attempts({ params: { id: "ENG-2" } });
  assert.deepEqual(
    cut.attempts.map(({ status }) => status),
    ["running", "interrupted"],
  );
  const audit = await again.client.audit.list({ query: { action: "issues.abort" } });
  assert.deepEqual(
    audit.entries.map(({ target, outcome, detail }) => [target, outcome, detail["answered"]]),
    [["ENG-1", "ok", "storage_unavailable"]],
  );
  assert.equal(await again.stop(), 0);
});

test("FAULT-9: a server that is stopped with a full disk names what it could not save, and exits with an error", async () => {
  await using place = await project();
  const server = await Served.start(place);
  await running(server, "ENG-1", "ENG-2");
  await place.disk.fillUp();
  await refusal(server.client.issues.abort({ params: { id: "ENG-1" }, body: {} }));
  assert.equal(await server.stop(), 1);
  assert.match(server.log, /the disk refused writes until the end: not saved.*record/);
});

/** Issues of the embedded tracker, finished by a program with much output; the data directory is on a disk of 4 MB. */
async function worked() {
  const root = await mkdtemp(join(tmpdir(), "symphony-full-"));
  const workflowPath = join(root, "WORKFLOW.md");
  // The history needs more pages than a server frees when it stops.
  const message = { type: "message", text: "word ".repeat(1_600) };
  const call = { id: 1, tool: "issue_move", arguments: { state: "Done" } };
  const lines = [
    ...Array.from({ length: 20 }, () => message),
    { type: "tool_call", ...call },
    { type: "result", success: true },
  ];
  const agent = lines.map((line) => JSON.stringify(line)).join("\n");
  await writeFile(join(root, "agent.jsonl"), `${agent}\n`);
  await writeFile(
    workflowPath,
    `---
tracker: { kind: local, provider: { prefix: F } }
polling: { interval_ms: 300 }
workspace: { root: workspaces }
agent: { kind: command, level: danger, max_concurrent_agents: 5 }
command: { line: "cat ${root}/agent.jsonl", output: jsonl }
---
Work on {{ issue.identifier }}
`,
  );
  const disk = await SmallDisk.mount(join(root, "data"), "4m");
  return {
    ...{ disk, workflowPath, dataDir: disk.dir, dataDirSeen: disk.path() },
    env: { HOME: root, SYMPHONY_TOKEN: "full-disk-token-for-a-test-0123456789" },
    through: (line: readonly string[]) => disk.through(line),
    async [Symbol.asyncDispose]() {
      await disk[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

test("FAULT-9: a history whose last checkpoint had no space is complete: the next start reads it with its journal", async () => {
  await using place = await worked();
  const danger = "--i-understand";
  {
    await using server = await Served.start(place, danger);
    const { client } = server;
    for (let n = 1; n <= 3; n++) await client.issues.create({ body: { title: `Issue ${n}` } });
    await eventually("all are done", async () => {
      const { counts } = await client.system.state({});
      return counts.completed === 3;
    });
    // The detail is answered after pending writes have reached the disk.
    for (let n = 1; n <= 3; n++) await client.issues.detail({ params: { id: `F-${n}` } });
    await place.disk.fillUp();
    await client.issues.abort({ params: { id: "F-1" }, body: {} }).catch(() => {});
    await server.stop();
  }
  const main = await readFile(place.disk.path("history.db"));
  // https://sqlite.org/fileformat2.html#in_header_database_size
  assert.ok(main.readUInt32BE(28) * 4_096 > main.length, "its last pages had no room");
  place.disk.free();
  await using again = await Served.start(place, danger);
  const { counts } = await again.client.system.state({});
  assert.equal(counts.completed, 3);
  for (let n = 1; n <= 3; n++) {
    const { attempts } = await again.client.issues.attempts({ params: { id: `F-${n}` } });
    assert.ok(attempts.length > 0, `F-${n}`);
  }
  assert.equal(await again.stop(), 0);
});
