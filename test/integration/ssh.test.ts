// Hosts behind a real sshd on the loopback interface, with keys, a home and a configuration of their own.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePort } from "../support/worlds/fleet.ts";
import { SshWorld } from "../support/worlds/ssh-world.ts";
import { eventually, isAlive, symphony } from "../support/worlds/symphony.ts";

let world: SshWorld;
let sshd: ChildProcess;
let config = "";

before(async () => {
  world = await SshWorld.open({
    ...{ hosts: ["alpha", "stranger", "nowhere"], isReal: true },
    agent: `echo "$$ $PWD $HOME" >> "$shared/started"; cat > "$shared/prompt"; env > "$shared/env"
(setsid sleep 600 & echo $! >> "$shared/children")
until [ -e "$shared/go" ]; do sleep 0.1; done
echo two >> one; git commit -qam two; echo done`,
  });
  const port = await freePort();
  const at = (name: string) => join(world.dir, name);
  for (const name of ["host", "user"])
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", at(`${name}-key`)]);
  const { username } = userInfo();
  await writeFile(at("banner"), "Authorized use only\n");
  await writeFile(
    at("sshd_config"),
    `Port ${port}
ListenAddress 127.0.0.1
HostKey ${at("host-key")}
AuthorizedKeysFile ${at("user-key.pub")}
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PermitUserRC no
PasswordAuthentication no
Banner ${at("banner")}
SetEnv HOME=${world.home("alpha")}
`,
  );
  if (userInfo().uid === 0) await mkdir("/run/sshd", { recursive: true });
  sshd = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", at("sshd_config")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  sshd.stderr?.on("data", (chunk: Buffer) => {
    said += chunk;
  });
  await eventually(`sshd listens: ${said}`, async () => said.includes("Server listening"));
  const key = (await readFile(at("host-key.pub"), "utf8")).trim();
  await writeFile(at("known"), `[127.0.0.1]:${port} ${key}\n`);
  await writeFile(at("none"), "");
  config = at("ssh_config");
  // What a user may have set: each of it would hang a call, or take its place.
  await writeFile(
    config,
    `Host alpha
  UserKnownHostsFile ${at("known")}
Host stranger
  UserKnownHostsFile ${at("none")}
Host nowhere
  Port ${await freePort()}
Host *
  HostName 127.0.0.1
  Port ${port}
  User ${username}
  IdentityFile ${at("user-key")}
  IdentitiesOnly yes
  GlobalKnownHostsFile none
  ControlMaster auto
  ControlPath ${at("master")}
  ControlPersist yes
  RemoteCommand sleep 600
  RequestTTY force
`,
  );
  world.place.env["SYMPHONY_SSH_CONFIG"] = config;
  await world.serve();
});
after(async () => {
  await world[Symbol.asyncDispose]();
  sshd.kill();
});

test("fleet 24: hosts are reached past a configuration that shares connections and runs commands; what is wrong with one is told by name", async () => {
  // The socket of a master that is stopped: who connects to it waits for ever.
  const master = spawn("ssh", ["-F", config, "-N", "-o", "RemoteCommand=none", "alpha"]);
  await eventually("the master has its socket", async () => existsSync(join(world.dir, "master")));
  master.kill("SIGSTOP");
  try {
    const began = Date.now();
    const told = await symphony(world.place, "doctor", "--json");
    assert.ok(Date.now() - began < 60_000);
    const { checks } = JSON.parse(told.stdout) as { checks: { name: string; message: string }[] };
    const message = checks.find(({ name }) => name === "ssh")?.message ?? told.stderr;
    assert.match(message, /stranger: its host key is not known here/);
    assert.match(message, /nowhere: .*Connection refused/);
    assert.doesNotMatch(message, /alpha/);
    await world.isReady("alpha");
    const list = await symphony(world.place, "workers", "list");
    assert.match(list.stdout, /stranger .*its host key is not known here/);
  } finally {
    master.kill("SIGKILL");
  }
});

test("fleet 30: the agent runs on the host in its home, and its work comes back", async () => {
  await world.issue("One");
  await eventually("the agent has started", async () => world.shared("env").length > 0);
  const home = world.home("alpha");
  assert.match(world.shared("started")[0] ?? "", new RegExp(` ${home}/spaces/LOCAL-1 ${home}$`));
  assert.equal(
    world.shared("env").some((one) => /TOKEN|SSH_AUTH_SOCK/.test(one)),
    false,
  );
  world.go();
  const attempt = await world.ended("LOCAL-1");
  assert.equal(attempt.status, "succeeded", world.server?.log);
  assert.equal(readFileSync(`${attempt.workspace?.path}/one`, "utf8"), "one\ntwo\n");
  const [child = ""] = world.shared("children");
  await eventually("what it left behind has ended", async () => !isAlive(Number(child)));
});

test("a server that is killed leaves an agent on the host; the next one ends it before that host gets anything, and brings its work back", async () => {
  world.stop();
  await world.issue("Two");
  const [, line = ""] = await eventually("the second agent has started", async () => {
    const all = world.shared("started");
    return all.length > 1 ? all : null;
  });
  const [pid = ""] = line.split(" ");
  await writeFile(`${world.home("alpha")}/spaces/LOCAL-2/half`, "half\n");
  await world.server?.crash();
  assert.ok(isAlive(Number(pid)));
  await world.serve();
  await world.isReady("alpha");
  assert.equal(isAlive(Number(pid)), false);
  world.go();
  const done = await eventually("it is done", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-2" } });
    return attempts.find(({ status }) => status === "succeeded");
  });
  assert.equal(readFileSync(`${done.workspace?.path}/half`, "utf8"), "half\n");
  assert.equal(readFileSync(`${done.workspace?.path}/one`, "utf8"), "one\ntwo\n");
});

test("a host that goes away in mid-attempt is lost by name; nothing starts elsewhere while its agent may run, and its work is not lost", async () => {
  world.stop();
  await world.issue("Three");
  await eventually("the agent has started", async () =>
    world.shared("started").some((one) => one.includes("LOCAL-3")),
  );
  await writeFile(`${world.home("alpha")}/spaces/LOCAL-3/half`, "half\n");
  // Also the processes of the connections.
  const children = execFileSync("pgrep", ["-P", String(sshd.pid)], { encoding: "utf8" });
  sshd.kill("SIGKILL");
  await once(sshd, "exit");
  for (const pid of children.trim().split("\n")) process.kill(Number(pid), "SIGKILL");
  const first = await world.ended("LOCAL-3");
  assert.equal(first.error?.code, "worker_lost", world.server?.log);
  const explained = await eventually("it is said", async () => {
    const told = await symphony(world.place, "explain", "LOCAL-3");
    return /alpha takes nothing: .*Connection refused/.test(told.stdout) ? told.stdout : null;
  });
  assert.match(explained, /stranger takes nothing/);
  sshd = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", join(world.dir, "sshd_config")], {
    stdio: "ignore",
  });
  world.go();
  const done = await eventually(
    "it is done",
    async () => {
      const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-3" } });
      return attempts.find(({ status }) => status === "succeeded");
    },
    120_000,
  );
  assert.equal(readFileSync(`${done.workspace?.path}/half`, "utf8"), "half\n");
});
