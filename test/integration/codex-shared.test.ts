import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { signalProcess } from "../../src/core/process/table.ts";
import { type SharedWorld, sharedWorld } from "../support/worlds/shared-world.ts";
import { eventually, isAlive, Served, symphony } from "../support/worlds/symphony.ts";

const finish = [
  {
    type: "call",
    name: "issue_move",
    arguments: { state: "Done" },
    usage: { input: 50, output: 5 },
  },
  { type: "text", text: "moved it", usage: { input: 50, output: 5 } },
];
const busy = { type: "shell", cmd: "echo $PWD > where.txt; setsid sleep 301 & sleep 300" };

describe("codex.process: shared", () => {
  test("several issues run in one codex, each with its own directory, model and keys", async () => {
    await using world = await sharedWorld(
      [
        { type: "shell", cmd: "pwd > where.txt; echo $SYMPHONY_RUN_ID > run.txt; sleep 3" },
        ...finish,
      ],
      "",
      "  by_label: { second: { model: fake-two } }",
    );
    const first = await world.issue("one");
    const second = await world.issue("two", "second");
    await using server = await Served.start(world);
    await eventually("both commands run", async () => {
      const seen = await Promise.all([first, second].map((id) => where(world, id)));
      return seen.every(
        (path, at) => path.trim() === join(world.workspaces, [first, second][at] ?? ""),
      );
    });
    const daemons = await world.daemons();
    assert.equal(daemons.length, 1);
    const socket = join(world.dataDir, "codex-shared", daemons[0]?.id ?? "", "sock");
    assert.equal((await stat(socket)).mode & 0o777, 0o600);
    assert.equal((await stat(join(world.dataDir, "codex-shared"))).mode & 0o777, 0o700);
    const [one, two] = await Promise.all([attemptOf(server, first), attemptOf(server, second)]);
    const run = await readFile(join(world.workspaces, first, "run.txt"), "utf8");
    assert.ok(run.trim().endsWith(one.id), run);
    await Promise.all([first, second].map((id) => succeeded(server, id)));
    assert.notEqual(one.thread_id, two.thread_id);
    const models = new Set((await world.openai.requests()).map(({ model }) => model));
    assert.deepEqual(models, new Set(["gpt-5.5", "fake-two"]));
    await server.stop();
    assert.deepEqual(
      await world.daemonProcesses(),
      [],
      "a codex nobody needs ends with its server",
    );
  });

  for (const how of ["stop", "crash"] as const) {
    test(`${how} of the server in mid-turn does not affect the provider, and the attempt continues`, async () => {
      await using world = await sharedWorld([{ ...finish[0], delayMs: 6_000 }, finish[1]]);
      const issue = await world.issue("one");
      let before: Attempt;
      {
        await using server = await Served.start(world);
        await eventually(
          "the model is asked",
          async () => (await world.openai.requests()).length > 0,
        );
        before = await attemptOf(server, issue);
        const began = performance.now();
        await server[how]();
        assert.ok(performance.now() - began < 5_000, "it leaves at once");
      }
      await using server = await Served.start(world);
      const running = await attemptOf(server, issue);
      assert.equal(running.id, before.id);
      const ended = await succeeded(server, issue);
      assert.equal(ended.id, before.id);
      assert.equal(ended.thread_id, before.thread_id);
      assert.equal(ended.turn_count, 1);
      assert.equal((await world.openai.requests()).length, 2, "no request was cut and sent again");
      const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
      assert.equal(attempts.length, 1);
      const events = await server.events(issue);
      const started = events.filter(({ type }) => type === "attempt.started");
      assert.equal(started.length, 1);
      assert.ok(!events.some(({ type }) => type === "issue.retrying"));
    });
  }

  test("a turn that ended while no server ran is adopted, and its tokens are counted once", async () => {
    await using world = await sharedWorld([
      { type: "shell", cmd: "sleep 3; touch done.txt", usage: { input: 100, output: 10 } },
      { type: "text", text: "one turn", usage: { input: 100, output: 10 } },
      ...finish,
    ]);
    const issue = await world.issue("one");
    let before: Attempt;
    {
      await using server = await Served.start(world);
      await eventually("a command runs", async () =>
        (await server.events(issue)).some(({ type }) => type === "agent.command"),
      );
      before = await attemptOf(server, issue);
      const steered = await symphony(world, "steer", issue, "mind the gap");
      assert.equal(steered.code, 0, steered.stderr);
      await server.crash();
    }
    await eventually("the turn ends", async () => (await world.openai.requests()).length >= 2);
    await using server = await Served.start(world);
    const ended = await succeeded(server, issue);
    assert.equal(ended.id, before.id);
    assert.equal(ended.turn_count, 2);
    const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
    assert.equal(attempts.length, 1);
    const events = await server.events(issue);
    const said = events.filter(({ type }) => type === "agent.message");
    assert.deepEqual(
      said.map(({ message }) => message),
      ["one turn", "moved it"],
      "what it said meanwhile is told, once",
    );
    const taken = events.filter(({ type }) => type === "steer.delivered");
    assert.equal(taken.length, 1, "guidance that was taken up meanwhile is not given again");
    assert.equal(ended.tokens.total_tokens, 330, "each of four answers counts once");
  });

  test("abort ends one issue's turn and processes and does not affect the other issue", async () => {
    await using world = await sharedWorld(
      [busy, ...finish],
      "  thread_sandbox: danger-full-access",
    );
    const [first, second] = [await world.issue("one"), await world.issue("two")];
    await using server = await Served.start(world);
    const [one, two] = await Promise.all([busyAttempt(server, first), busyAttempt(server, second)]);
    await eventually(
      "both work",
      async () => (await world.commandsOf(one.id)) > 0 && (await world.commandsOf(two.id)) > 0,
    );
    const others = await world.commandsOf(two.id);
    const aborted = await symphony(world, "abort", first);
    assert.equal(aborted.code, 0, aborted.stderr);
    await eventually(
      "none of its processes is left",
      async () => (await world.commandsOf(one.id)) === 0,
    );
    await eventually("it has ended", async () => (await attemptOf(server, first)).ended_at);
    assert.equal((await attemptOf(server, first)).status, "canceled");
    assert.equal(await world.commandsOf(two.id), others);
    assert.equal((await attemptOf(server, second)).ended_at, null);
    assert.equal((await world.daemons()).length, 1);
  });

  test("another codex is started when the first is full, and an issue that ended frees a place", async () => {
    await using world = await sharedWorld(
      { routes: [{ when: { anyText: "zebra" }, steps: finish }], steps: [busy] },
      "  threads_per_process: 2",
    );
    const issues = [await world.issue("one"), await world.issue("two"), await world.issue("three")];
    await using server = await Served.start(world);
    await Promise.all(issues.map((issue) => busyAttempt(server, issue)));
    const daemons = await world.daemons();
    assert.equal(daemons.length, 2);
    const third = await world.issue("a zebra");
    await succeeded(server, third);
    await succeeded(server, await world.issue("another zebra"));
    assert.deepEqual((await world.daemons()).length, 2);
    await server.crash();
    await using next = await Served.start(world);
    const ids = (await next.client.system.state({})).running.map((row) => row.issue_identifier);
    assert.deepEqual(ids.sort(), issues);
    assert.deepEqual(await world.daemons(), daemons);
  });

  test("after a change back to per_issue the shared codex is stopped, and its attempts are interrupted", async () => {
    await using world = await sharedWorld([busy], "  thread_sandbox: danger-full-access");
    const issue = await world.issue("one");
    let before: Attempt;
    {
      await using server = await Served.start(world);
      before = await busyAttempt(server, issue);
      await server.crash();
    }
    await using server = await Served.start({ ...world, workflowPath: await world.perIssue() });
    const ended = await attemptOf(server, issue);
    assert.deepEqual([ended.id, ended.status], [before.id, "interrupted"]);
    assert.deepEqual(await world.daemonProcesses(), [], "another mode ends what was shared");
    assert.equal(await world.commandsOf(before.id), 0);
  });

  test("an abort that the server could not finish before a crash is finished by the next one", async () => {
    await using world = await sharedWorld([busy], "  thread_sandbox: danger-full-access");
    const issue = await world.issue("one");
    let before: Attempt;
    {
      await using server = await Served.start(world);
      before = await busyAttempt(server, issue);
      await server.client.issues.abort({ params: { id: issue }, body: {} });
      await server.crash();
    }
    await using server = await Served.start(world);
    const { held, running } = await server.client.system.state({});
    assert.deepEqual([held.length, running.length], [1, 0]);
    assert.ok((await attemptOf(server, issue)).ended_at);
    assert.equal(await world.commandsOf(before.id), 0);
  });

  test("serve --restart-safe starts when turns can outlive the server, and otherwise says what is missing", async () => {
    await using world = await sharedWorld([]);
    await using server = await Served.start(world, "--restart-safe");
    const { features } = await server.client.system.runtime();
    assert.equal(features["shared_agents"], true);
    await server.stop();
    const refused = await symphony(world, "serve", await world.perIssue(), "--restart-safe");
    assert.equal(refused.code, 1, refused.stderr);
    assert.match(refused.stderr, /not restart-safe: codex\.process is per_issue/);
  });

  test("after codex is killed the attempts are retried on their threads, in a new codex", async () => {
    await using world = await sharedWorld(
      { routes: [{ when: { userText: "was interrupted" }, steps: finish }], steps: [busy] },
      "  thread_sandbox: danger-full-access",
    );
    const issue = await world.issue("one");
    await using server = await Served.start(world);
    const before = await busyAttempt(server, issue);
    for (const pid of await world.daemonProcesses()) signalProcess(pid, "SIGKILL");
    const ended = await succeeded(server, issue);
    assert.notEqual(ended.id, before.id);
    assert.equal(ended.thread_id, before.thread_id);
    const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
    assert.deepEqual(attempts.map(outcomeOf), ["succeeded", "failed"]);
    assert.equal(await world.commandsOf(before.id), 0);
  });

  test("after codex is killed while no server runs, the attempt is interrupted, then resumed", async () => {
    await using world = await sharedWorld({
      routes: [{ when: { userText: "was interrupted" }, steps: finish }],
      steps: [busy],
    });
    const issue = await world.issue("one");
    let before: Attempt;
    {
      await using server = await Served.start(world);
      before = await busyAttempt(server, issue);
      await server.crash();
    }
    for (const pid of await world.daemonProcesses()) signalProcess(pid, "SIGKILL");
    await using server = await Served.start(world);
    const ended = await succeeded(server, issue);
    assert.equal(ended.thread_id, before.thread_id);
    const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
    assert.deepEqual(attempts.map(outcomeOf), ["succeeded", "interrupted"]);
  });

  test("an approval that waits is asked again after the restart, and what is approved runs in its workspace and sees no other", async () => {
    const extra = { sandbox_permissions: "require_escalated", justification: "May I leave?" };
    const seen =
      '{ pwd; ls -A ..; for dir in "$DATA" "$DATA"/codex-shared/*; do ls -A "$dir"; done; } 2>&1';
    const look = (file: string) =>
      `DATA=$(cat data.txt); ${seen} > ${file}; touch ../outside.txt "$DATA"/outside.txt`;
    const script = [
      { type: "shell", cmd: "sleep 1; touch ../outside.txt" },
      { type: "shell", cmd: look("confined.txt") },
      { type: "shell", cmd: look("approved.txt"), extra },
      ...finish,
    ];
    await using world = await sharedWorld(
      script,
      "",
      "  approvals: ask\n  approval_timeout_ms: 600000",
      `hooks: { before_run: "printf %s '$ROOT/data' > data.txt" }`,
    );
    const issue = await world.issue("one");
    const other = await world.issue("two");
    const waits = (server: Served) =>
      eventually("both questions are in the inbox", async () => {
        const { blocked } = await server.client.system.state({});
        const shown = blocked.map((row) => row.issue_identifier);
        return [issue, other].every((id) => shown.includes(id));
      });
    let before: Attempt;
    {
      await using server = await Served.start(world);
      await waits(server);
      before = await attemptOf(server, issue);
      assert.equal((await world.daemons()).length, 2, "each workspace has a codex of its own");
      await server.crash();
    }
    await using server = await Served.start(world);
    await waits(server);
    const answered = await symphony(world, "respond", issue, "approve");
    assert.equal(answered.code, 0, answered.stderr);
    const ended = await succeeded(server, issue);
    assert.equal(ended.id, before.id);
    const events = await server.events(issue);
    assert.equal(events.filter(({ type }) => type === "approval.requested").length, 2);
    assert.ok(events.some((e) => e.type === "approval.resolved" && /approved/.test(e.message)));
    assert.ok(!events.some((e) => /a command that you approve starts/.test(e.message)));
    const workspace = join(world.workspaces, issue);
    for (const file of ["confined.txt", "approved.txt"]) {
      const text = await readFile(join(workspace, file), "utf8");
      assert.equal(text.split("\n")[0], workspace, text);
      assert.doesNotMatch(text, new RegExp(`${other}|sock|\\.json`), text);
    }
    assert.ok(!existsSync(join(world.workspaces, "outside.txt")));
    assert.ok(!existsSync(join(world.dataDir, "outside.txt")));
    const ids = (await world.daemons()).map(({ id }) => id);
    assert.equal(ids.length, 1, "it ends with its issue");
    const left = await readdir(join(world.dataDir, "codex-shared"));
    assert.deepEqual(
      left.filter((name) => !/\.|^attempts$/.test(name)).sort(),
      [...ids, "heartbeat"].sort(),
    );
  });

  test("without a server for longer than the limit, codex exits with everything that it runs", async () => {
    await using world = await sharedWorld(
      [busy],
      "  orphan_limit_ms: 2000\n  thread_sandbox: danger-full-access",
    );
    const issue = await world.issue("one");
    await using server = await Served.start(world);
    const { id } = await busyAttempt(server, issue);
    await eventually("it works", async () => (await world.commandsOf(id)) > 0);
    await server.crash();
    assert.ok((await world.daemonProcesses()).length > 0, "it outlives the server");
    await eventually("nothing is left", async () => {
      const [commands, processes] = await Promise.all([
        world.commandsOf(id),
        world.daemonProcesses(),
      ]);
      return commands === 0 && processes.length === 0;
    });
    const [daemon] = await world.daemons();
    await eventually("nor is the watchdog", async () => !isAlive(daemon?.pid ?? 0));
  });
});

type Attempt = Awaited<ReturnType<Served["client"]["issues"]["attempts"]>>["attempts"][number];

async function where(world: SharedWorld, issue: string): Promise<string> {
  return readFile(join(world.workspaces, issue, "where.txt"), "utf8").catch(() => "");
}

/** The newest attempt. */
async function attemptOf(server: Served, issue: string): Promise<Attempt> {
  const { attempts } = await server.client.issues.attempts({ params: { id: issue } });
  const [newest] = attempts;
  assert.ok(newest);
  return newest;
}

async function busyAttempt(server: Served, issue: string): Promise<Attempt> {
  await eventually("a command runs", async () =>
    (await server.events(issue)).some(({ type }) => type === "agent.command"),
  );
  return attemptOf(server, issue);
}

/** The work is done. If a poll sees the issue Done right after the turn, the attempt is recorded as canceled for that reason. */
async function succeeded(server: Served, issue: string): Promise<Attempt> {
  return eventually(`${issue} succeeded`, async () => {
    const newest = await attemptOf(server, issue);
    return outcomeOf(newest) === "succeeded" ? newest : null;
  });
}

function outcomeOf({ status, error }: Attempt): string {
  return status === "canceled" && error?.message === "issue is Done" ? "succeeded" : status;
}
