import assert from "node:assert/strict";
import { test } from "node:test";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { startSymphony, symphony } from "../support/worlds/run-symphony.ts";

const lines = (text: string) => text.trimEnd().split("\n");

test("events prints the stored events and exits; --since takes a number or a duration", async () => {
  await using api = await startApiDouble();
  const old = new Date(Date.now() - 3_600_000).toISOString();
  const recent = new Date(Date.now() - 1_000).toISOString();
  for (let count = 0; count < 8; count += 1) api.publish({ at: old });
  for (let count = 0; count < 3; count += 1) api.publish({ at: recent, type: "turn.completed" });
  const seqs = async (...args: string[]) => {
    const { stdout } = await symphony(["events", "--json", "--url", api.url, ...args]);
    return stdout === "" ? [] : lines(stdout).map((line) => JSON.parse(line).seq);
  };
  assert.deepEqual(await seqs(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  assert.deepEqual(await seqs("--since", "6"), [7, 8, 9, 10, 11]);
  assert.deepEqual(await seqs("--since", "10m"), [9, 10, 11]);
  assert.deepEqual(
    await seqs("--since", "2h", "--type", "agent.message"),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
  assert.deepEqual(await seqs("--issue", "ENG-2"), []);
  assert.deepEqual(await seqs("--since", "11"), []);
});

test("events --follow survives a lost connection, reports a gap, and exits with 130", async () => {
  await using api = await startApiDouble();
  api.oldestSeq = 5;
  api.publish({});
  const args = ["events", "--follow", "--json", "--since", "0", "--url", api.url];
  const running = startSymphony(args);
  await running.until('"seq":5');
  api.dropStreams();
  api.publish({ message: "second" });
  await api.streams(1);
  api.publish({ message: "third" });
  const seen = await running.until("third");
  running.child.kill("SIGINT");
  const { code } = await running.ended;
  assert.equal(code, 130);
  const types = lines(seen).map((line) => JSON.parse(line));
  assert.deepEqual(types[0], { type: "gap", oldest_seq: 5 });
  assert.deepEqual(
    types.slice(1).map(({ seq }) => seq),
    [5, 6, 7],
  );
});

test("events without --json prints one line for each event", async () => {
  await using api = await startApiDouble();
  api.publish({ type: "attempt.started", message: "attempt 1\nstarted" });
  const { stdout } = await symphony(["events", "--url", api.url]);
  assert.match(stdout, /^\d\d:\d\d:\d\d {2}ENG-1 {2}attempt\.started {2}attempt 1 started\n$/);
});

test("wait exits as soon as the issue has the status", async () => {
  await using api = await startApiDouble();
  const running = startSymphony(["wait", "ENG-1", "--for", "completed", "--url", api.url]);
  await api.streams(1);
  api.status = "completed";
  api.publish({ type: "issue.completed" });
  const { code, stdout, stderr } = await running.ended;
  assert.deepEqual([code, stdout, stderr], [0, "", "ENG-1 is completed\n"]);
});

test("attempt --follow prints events until the attempt has ended", async () => {
  await using api = await startApiDouble();
  api.publish({ message: "before" });
  const running = startSymphony(["attempt", "att_1", "--follow", "--json", "--url", api.url]);
  await api.streams(1);
  api.publish({ message: "somebody else's", attempt_id: "att_2" });
  api.publish({ message: "during" });
  api.status = "completed";
  api.publish({ type: "attempt.ended", message: "ended" });
  const { code, stdout } = await running.ended;
  const messages = lines(stdout).map((line) => JSON.parse(line).message);
  assert.deepEqual([code, messages], [0, ["before", "during", "ended"]]);
});

test("state --watch prints a snapshot for each change when stdout is no terminal", async () => {
  await using api = await startApiDouble();
  const running = startSymphony(["state", "--watch", "--url", api.url]);
  await api.streams(1);
  api.title = "Renamed";
  api.publish({});
  const seen = await running.until("Renamed");
  running.child.kill("SIGINT");
  assert.equal((await running.ended).code, 130);
  const titles = lines(seen).map((line) => JSON.parse(line).running[0].title);
  assert.deepEqual(titles, ["Fix the login page", "Renamed"]);
});

test("a reader that closes the pipe early is no failure", async () => {
  await using api = await startApiDouble();
  const running = startSymphony(["events", "--follow", "--since", "0", "--url", api.url]);
  running.child.stdout?.destroy();
  await api.streams(1);
  api.publish({});
  const { code, stderr } = await running.ended;
  assert.deepEqual([code, stderr], [0, ""]);
});

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  test(`S27: ${signal} ends each follower with 130`, async () => {
    await using api = await startApiDouble();
    const followers = [
      ["events", "--follow"],
      ["state", "--watch"],
      ["wait", "ENG-1", "--for", "completed"],
    ];
    for (const args of followers) {
      const running = startSymphony([...args, "--url", api.url]);
      await api.streams(1);
      running.child.kill(signal);
      const { code, stderr } = await running.ended;
      assert.deepEqual([code, stderr], [130, ""], args.join(" "));
      api.dropStreams();
    }
  });
}
