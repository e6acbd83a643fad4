// Hosts that are not as a host should be: what is wrong is said by name, and what can be worked with is.

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { after, before, test } from "node:test";
import { SshWorld } from "../../support/worlds/ssh-world.ts";
import { eventually, symphony } from "../../support/worlds/symphony.ts";

const hasFish = spawnSync("fish", ["-c", "true"]).status === 0;
const odd = hasFish ? "fish" : "plain";
let world: SshWorld;
let forgotten: ChildProcess;
before(async () => {
  world = await SshWorld.open({
    hosts: [odd, "old"],
    agent: `printf 'a\\\\b' > odd; git add odd; git commit -qm odd
was="$shared/was-full-$SYMPHONY_ISSUE_TITLE"
[ "$SYMPHONY_ISSUE_TITLE" != One ] && ! [ -e "$was" ] && touch "$shared/full" "$was"; :`,
  });
  const git = (host: string, line: string) =>
    writeFileSync(`${world.home(host)}/bin/git`, `#!/bin/bash\n${line}\nexec /usr/bin/git "$@"\n`, {
      mode: 0o755,
    });
  git("old", `[ "$1" = --version ] && { echo "git version 2.25.1"; exit; }`);
  const full = `${world.dir}/shared/full`;
  git(
    odd,
    `case " $* " in *" add -A . "*) [ -e ${full} ] && { echo "fatal: No space left on device" >&2; exit 128; };; esac`,
  );
  appendFileSync(`${world.home(odd)}/.profile`, "set -eu\nIFS=x\n");
  if (hasFish) writeFileSync(`${world.home(odd)}/shell`, "fish");
  for (const name of ["first", "second"]) mkdirSync(`${world.home(odd)}/${name}`);
  symlinkSync("first", `${world.home(odd)}/spaces`);
  // An agent of a server whose data directory was made anew.
  forgotten = spawn("sleep", ["600"], {
    env: { ...process.env, SYMPHONY_RUN_ID: "ssh-00112233aabbccdd-att_1." },
    stdio: "ignore",
  });
  await world.serve();
});
const succeeded = (id: string) =>
  eventually(`an attempt of ${id} succeeds`, async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id } });
    return attempts.find(({ status }) => status === "succeeded");
  });
after(async () => {
  forgotten.kill("SIGKILL");
  await world[Symbol.asyncDispose]();
});

test("a host whose git is too old is named with what is needed, since no work would come back", async () => {
  await world.isReady(odd);
  const list = await symphony(world.place, "workers", "list");
  assert.match(list.stdout, /old .*its git version 2\.25\.1 is too old: 2\.29 or later is needed/);
});

test("an agent that another server has on a host is left alone, and named by the log", () => {
  const line = /agents of another server run on a host: they are left alone.*00112233aabbccdd/;
  assert.match(world.server?.log ?? "", line);
  assert.equal(forgotten.exitCode ?? forgotten.signalCode, null);
});

test("a login shell that is fish, and a profile with set -eu and an IFS of its own, change nothing of a hook, an agent and its work", async () => {
  await world.issue("One");
  const attempt = await world.ended("LOCAL-1");
  assert.equal(attempt?.status, "succeeded", world.server?.log);
  assert.equal(readFileSync(`${attempt?.workspace?.path}/odd`, "utf8"), "a\\b");
});

test("work that cannot be read on a full disk is no success: it stays there, the error says why, and the next attempt brings it back", async () => {
  await world.issue("Two");
  const attempt = await world.ended("LOCAL-2");
  assert.equal(attempt?.status, "failed", world.server?.log);
  assert.match(attempt?.error?.message ?? "", /has not come back.*No space left on device/);
  rmSync(`${world.dir}/shared/full`);
  const done = await succeeded("LOCAL-2");
  assert.equal(readFileSync(`${done.workspace?.path}/odd`, "utf8"), "a\\b");
});

test("work that had not come back from a root that is another directory now comes back, and what is left there is removed", async () => {
  await world.issue("Three");
  assert.equal((await world.ended("LOCAL-3"))?.status, "failed");
  const home = world.home(odd);
  writeFileSync(`${home}/first/LOCAL-3/only-there`, "work\n");
  rmSync(`${home}/spaces`);
  symlinkSync("second", `${home}/spaces`);
  rmSync(`${world.dir}/shared/full`);
  const done = await succeeded("LOCAL-3");
  for (const place of [done.workspace?.path, `${home}/second/LOCAL-3`])
    assert.equal(readFileSync(`${place}/only-there`, "utf8"), "work\n");
  appendFileSync(world.place.workflowPath, "Again\n");
  await eventually("it is gone there", async () => !existsSync(`${home}/first/LOCAL-3`));
});
