// Attempts on hosts, with a real server and an ssh that runs its commands on this machine in another home.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { SshWorld } from "../../support/worlds/ssh-world.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

const beta = "me@beta:2222";
let world: SshWorld;
before(async () => {
  world = await SshWorld.open({
    ...{ hosts: [" alpha ", beta, "", "alpha"], max: 1 },
    agent: `commit() { git -c user.name=A -c user.email=a@example.com commit -qm "$1"; }
if [ -e "$shared/again" ]; then
  echo "$HOST_NAME" >> tries; git add tries; commit try
  [ "$(grep -c . tries)" = 3 ]; exit
fi
if [ -e "$shared/links" ]; then
  git init -q sub && cd sub && echo "* filter=x" > .gitattributes && echo 1 > f && git add -A && commit sub
  cd .. && git add sub 2>&1 && commit link
  git -C sub config filter.x.clean "touch '$shared/escaped'; cat"; echo 22 > sub/f; exit
fi
echo "$HOST_NAME $PWD $HOME" >> "$shared/started"
cat > "$shared/prompt"; env > "$shared/env"
until [ -e "$shared/go" ]; do sleep 0.1; done
echo two >> one; echo new > new; git add one; git commit -qm two; echo done`,
    sections: `agent: { kind: command, level: danger, max_turns: 1, max_retry_backoff_ms: 1000 }
command: { line: the-agent, output: text }
notify: [{ when: [budget], to: webhook, url: $HOOK_URL }]
hooks:
  timeout_ms: 20000
  after_create: |
    echo "after_create $HOST_NAME $PWD" >> ~/../../shared/hooks
    [ -e ~/../../shared/broken ] && exit 3
    git init -q -b main && git config user.email a@example.com && git config user.name A
    echo one > one && git add -A && git commit -q -m one
  before_run: echo "before_run $HOST_NAME $SYMPHONY_ISSUE_IDENTIFIER" >> ~/../../shared/hooks
  after_run: echo "after_run $HOST_NAME $SYMPHONY_OUTCOME" >> ~/../../shared/hooks
  before_remove: echo "before_remove $HOST_NAME" >> ~/../../shared/hooks`,
    env: { HOOK_URL: "https://hooks.example.com/ours" },
    profile: "export HOOK_URL=from-the-profile",
  });
  await world.serve();
});
after(() => world[Symbol.asyncDispose]());

const ended = (call: readonly string[]) => call.at(-1) ?? "";

test("Z-5, Z-7, Z-9, X-6: an agent runs on its host in a workspace there, and text of its issue is in no command line", async () => {
  await world.isReady("alpha");
  await world.isReady(beta);
  await world.issue("One $(touch pwned) it's");
  await eventually("the agent has started", async () => world.shared("env").length > 0);
  const home = world.home("alpha");
  assert.deepEqual(world.shared("started"), [`alpha ${home}/spaces/LOCAL-1 ${home}`]);
  assert.deepEqual(world.shared("prompt"), ["Work on One $(touch pwned) it's"]);
  const env = world.shared("env");
  assert.ok(env.includes("SYMPHONY_ISSUE_TITLE=One $(touch pwned) it's"), env.join("\n"));
  assert.ok(env.includes(`SYMPHONY_WORKSPACE=${home}/spaces/LOCAL-1`));
  assert.deepEqual(
    env.filter((one) => one.startsWith("HOOK_URL") || one.includes("TOKEN")),
    [],
  );
  assert.equal(
    world.calls.flat().some((word) => word.includes("pwned")),
    false,
  );
  assert.ok(world.calls.every((call) => ended(call).startsWith("bash -lc '")));
});

test("Z-10: state, workers and the running issue name its host and its workspace there", async () => {
  const { running } = await world.client.system.state();
  const path = `${world.home("alpha")}/spaces/LOCAL-1`;
  assert.deepEqual(
    running.map((row) => [row.worker_host, row.workspace_path]),
    [["alpha", path]],
  );
  const { workspace } = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.deepEqual([workspace.host, workspace.path], ["alpha", path]);
  const list = await symphony(world.place, "workers", "list");
  assert.match(list.stdout, /alpha .*1 of 1 .*ready/);
  assert.match(list.stdout, /me@beta:2222 .*0 of 1 .*ready/);
});

test("Z-2, Z-3: the next issue goes to the other host; with both full one waits, is not tried here, and explain says why", async () => {
  await world.issue("Two");
  await eventually("the second agent has started", async () => world.shared("started")[1]);
  assert.match(world.shared("started")[1] ?? "", /^me@beta .*me_beta\/spaces\/LOCAL-2 /);
  await world.issue("Three");
  await eventually("it is said", async () => {
    const told = await symphony(world.place, "explain", "LOCAL-3");
    return /alpha is full \(1\); me@beta:2222 is full \(1\); opens by: a worker that takes it and has a free place/.test(
      told.stdout,
    );
  });
  const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-3" } });
  assert.deepEqual(attempts, []);
});

test("Z-2: what an agent commits and leaves comes back into the workspace here; a host that is free takes the issue that waits", async () => {
  world.go();
  const attempt = await world.ended("LOCAL-1");
  assert.equal(attempt.status, "succeeded", world.server?.log);
  assert.equal(attempt.worker_host, "alpha");
  assert.equal(attempt.git?.commits, 1);
  const path = attempt.workspace?.path ?? "";
  assert.equal(readFileSync(`${path}/one`, "utf8"), "one\ntwo\n");
  assert.equal(readFileSync(`${path}/new`, "utf8"), "new\n");
  const { recent_events: events } = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
  // Without what the profile of the host writes.
  assert.deepEqual(
    events.filter(({ event }) => event === "agent.message").map(({ message }) => message),
    ["done"],
  );
  const third = await world.ended("LOCAL-3");
  assert.deepEqual([third.status, third.number], ["succeeded", 1]);
});

test("Z-8: hooks, and the removal of a workspace whose work was kept, run on the host that has it", async () => {
  const hooks = world.shared("hooks");
  const home = world.home("alpha");
  assert.ok(hooks.includes(`after_create alpha ${home}/spaces/LOCAL-1`), hooks.join("\n"));
  assert.ok(hooks.includes("before_run alpha LOCAL-1"));
  assert.ok(hooks.includes("after_run alpha completed"));
  assert.ok(existsSync(`${home}/spaces/LOCAL-1`));
  const closed = await symphony(world.place, "issue", "close", "LOCAL-1");
  assert.equal(closed.code, 0, closed.stderr);
  await eventually("it is gone there", async () => !existsSync(`${home}/spaces/LOCAL-1`));
  assert.ok(world.shared("hooks").includes("before_remove alpha"));
  const kept = readdirSync(`${world.place.dataDir}/kept`);
  assert.ok(
    kept.some((name) => name.startsWith("LOCAL-1-")),
    kept.join(),
  );
});

test("Z-8, R-5: a workspace whose after_create failed is removed on its host, and made anew", async () => {
  await writeFile(`${world.dir}/shared/broken`, "");
  await world.issue("Four");
  const first = await world.ended("LOCAL-4");
  assert.equal(first.error?.code, "hook_failed");
  const home = world.home(first.worker_host ?? "");
  assert.equal(readdirSync(`${home}/spaces`).includes("LOCAL-4"), false);
  await rm(`${world.dir}/shared/broken`);
  const last = await eventually("a later attempt succeeds", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-4" } });
    return attempts.find(({ status }) => status === "succeeded");
  });
  assert.notEqual(last.worker_host, first.worker_host);
});

test("Z-4, Z-7: a host whose preparation fails ends the attempt there, no other host is asked; the next attempt goes to another", async () => {
  await writeFile(`${world.home("alpha")}/exit`, "75\nno space for you\n");
  const before = world.calls.length;
  await world.issue("Five");
  const first = await world.ended("LOCAL-5");
  const calls = world.calls.slice(before);
  assert.equal(first.worker_host, "alpha", world.server?.log);
  assert.equal(first.error?.code, "workspace_prepare_failed");
  assert.match(first.error?.message ?? "", /alpha: .*status 75.*no space for you/);
  // Its retry is due a second later.
  const about = calls.filter((call) => ended(call).includes("LOCAL-5"));
  assert.deepEqual([...new Set(about.map((call) => call.at(-2)))], ["alpha"]);
  const next = await eventually("the next one ends well", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-5" } });
    return attempts.find(({ status }) => status === "succeeded");
  });
  assert.deepEqual([next.worker_host, next.number], [beta, 2]);
});

test("Z-2: an issue that goes back to its first host keeps what it made on the second", async () => {
  await rm(`${world.home("alpha")}/exit`);
  await writeFile(`${world.dir}/shared/again`, "");
  await world.isReady("alpha");
  await world.issue("Six");
  const { status, workspace } = await world.ended("LOCAL-6", 3);
  await rm(`${world.dir}/shared/again`);
  assert.equal(status, "succeeded", world.server?.log);
  const [one, two, ...rest] = readFileSync(`${workspace?.path}/tries`, "utf8").trim().split("\n");
  assert.notEqual(one, two);
  assert.deepEqual(rest, [one]);
});

test("Z-9: a repository inside, as a commit names it, is not asked on the host with its own settings", async () => {
  await writeFile(`${world.dir}/shared/links`, "");
  await world.issue("Seven");
  const attempt = await world.ended("LOCAL-7");
  await rm(`${world.dir}/shared/links`);
  const home = world.home(attempt.worker_host ?? "");
  assert.ok(existsSync(`${home}/spaces/LOCAL-7/sub/f`), world.server?.log);
  assert.equal(existsSync(`${world.dir}/shared/escaped`), false);
});
