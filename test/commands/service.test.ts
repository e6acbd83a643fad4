// D7 and D8 are rows of the cases of the desk: what a service needs that a shell has.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { serviceText } from "../../src/commands/service-file.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, symphony } from "../support/worlds/symphony.ts";

const skip = spawnSync("python3", ["--version"]).status === 0 ? false : "needs python3";
const strange = `/opt/a b/"quoted"/&<tag>/100%/$HOME/back\\slash`;

function project(t: TestContext) {
  const root = realpathSync(temporaryDir(t));
  const home = join(root, "home");
  const bin = join(root, "bin");
  for (const dir of [home, bin, join(root, "my shop")]) mkdirSync(dir);
  const workflowPath = join(root, "my shop", "WORKFLOW.md");
  writeFileSync(
    workflowPath,
    `---\n{"tracker":{"kind":"local"},"server":{"port":0}}\n---\nDo it.\n`,
  );
  // Stand-ins of the managers, which write down how they were called.
  const standIn = (name: string, answer: string) =>
    writeFileSync(
      join(bin, name),
      `#!/bin/sh\necho "${name} $*" >> ${join(root, "calls")}\n${answer}\n`,
      {
        mode: 0o755,
      },
    );
  standIn("systemctl", "exit 0");
  standIn("loginctl", "echo Linger=no");
  const env = {
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
    PATH: `${bin}:${strange}:${process.env["PATH"]}`,
    CODEX_HOME: strange,
    NO_PROXY: "*",
    HTTPS_PROXY: "http://me:not-to-be-written@127.0.0.1:1",
  };
  const place = {
    workflowPath,
    dataDir: join(root, "my shop", ".symphony"),
    cwd: dirname(workflowPath),
    env,
  };
  const calls = () =>
    existsSync(join(root, "calls"))
      ? readFileSync(join(root, "calls"), "utf8").trim().split("\n")
      : [];
  return {
    place,
    root,
    bin,
    standIn,
    calls,
    run: (...args: string[]) => symphony({ cwd: place.cwd, env }, "service", ...args),
  };
}

/** A unit as systemd reads it: systemd.syntax(7) and systemd.service(5), for what a quoted word may hold. */
function readUnit(text: string) {
  const words = (value: string) =>
    [...value.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word = ""]) =>
      word.replaceAll(/\\(.)/g, "$1").replaceAll("%%", "%"),
    );
  const lines = text.split("\n").filter((line) => line.includes("=") && !line.startsWith("#"));
  const values = lines.map(
    (line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] as const,
  );
  const all = (name: string) => values.filter(([key]) => key === name).map(([, value]) => value);
  const environment = all("Environment").flatMap(words);
  return {
    argv: words(all("ExecStart")[0] ?? "").map((word) => word.replaceAll("$$", "$")),
    env: Object.fromEntries(
      environment.map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]),
    ) as Record<string, string>,
    one: (name: string) => all(name)[0],
  };
}

test("D7: the unit holds the PATH of the moment and the folder of the Node in use, and the server starts with nothing else", async (t) => {
  const { place, run, calls } = project(t);
  const installed = await run("install");
  assert.equal(installed.code, 0, installed.stderr);
  assert.match(installed.stdout, /is installed and started/);
  assert.match(installed.stdout, /loginctl enable-linger/);
  const file = /started: (.*)$/m.exec(installed.stdout)?.[1] ?? "";
  const unit = readUnit(readFileSync(file, "utf8"));
  const path = unit.env["PATH"]?.split(":") ?? [];
  assert.equal(path[0], dirname(process.execPath));
  assert.ok(unit.env["PATH"]?.includes(strange), unit.env["PATH"]);
  assert.deepEqual([unit.env["CODEX_HOME"], unit.env["NO_PROXY"]], [strange, "*"]);
  assert.match(installed.stdout, /Neither is HTTPS_PROXY, .*systemctl --user edit symphony-/);
  assert.ok(!readFileSync(file, "utf8").includes("not-to-be-written"));
  assert.equal(unit.argv[3], place.workflowPath);
  const name =
    file
      .split("/")
      .at(-1)
      ?.replace(/\.service$/, "") ?? "";
  assert.match(name, /^symphony-my-shop-[0-9a-f]{6}$/);
  assert.deepEqual(calls(), [
    "systemctl --user daemon-reload",
    `systemctl --user enable ${name}`,
    `systemctl --user restart ${name}`,
    `loginctl show-user ${process.env["USER"] ?? "root"} --property=Linger`,
  ]);
  const [program = "", ...args] = unit.argv;
  const child = spawn(program, args, {
    cwd: "/",
    env: unit.env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr.resume();
  await eventually("it serves", async () => existsSync(join(place.dataDir, "runtime.json")));
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "exit");
  assert.equal(child.exitCode, 0);
});

test("D7: the plist survives a round trip through a parser of its format", { skip }, async (t) => {
  const { run, place } = project(t);
  const { code, stdout, stderr } = await run("print", "--manager", "launchd");
  assert.equal(code, 0, stderr);
  const reader =
    "import plistlib, json, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
  const read = spawnSync("python3", ["-c", reader], { input: stdout });
  assert.equal(read.status, 0, String(read.stderr));
  const plist = JSON.parse(String(read.stdout));
  assert.ok(plist.EnvironmentVariables.PATH.includes(strange));
  assert.equal(plist.EnvironmentVariables.CODEX_HOME, strange);
  assert.equal(plist.ProgramArguments[3], place.workflowPath);
  // D8: launchd's own limits are 256 open files and 20 s.
  assert.ok(plist.SoftResourceLimits.NumberOfFiles > 10_000 && plist.ExitTimeOut >= 30);
});

test("D8: a unit waits longer than a drain, and ends its restarts when a lock or a port stays taken", () => {
  const facts = {
    workflowPath: "/a/WORKFLOW.md",
    dataDir: "/a/.symphony",
    node: "/n/node",
    program: "/p",
    home: "/h",
    path: "/bin",
    variables: {},
  };
  const unit = readUnit(serviceText("systemd", facts));
  assert.ok(Number(unit.one("TimeoutStopSec")) >= 30);
  assert.ok(Number(unit.one("StartLimitBurst")) <= 10);
  assert.ok(
    Number(unit.one("StartLimitBurst")) * Number(unit.one("RestartSec")) <
      Number(unit.one("StartLimitIntervalSec")),
  );
  assert.ok(Number(unit.one("LimitNOFILE")) > 10_000);
  assert.equal(unit.one("LimitCORE"), "0", "a core would hold the secrets");
  assert.throws(
    () => serviceText("systemd", { ...facts, path: "/a\nExecStartPre=/evil" }),
    /control character/,
  );
});

test("status says what is gone, uninstall undoes only its own, and a manager that refuses is no success", async (t) => {
  const { place, run, standIn, calls } = project(t);
  const none = await run("status");
  assert.deepEqual(
    [none.code, /is not installed\nnext: symphony service install/.test(none.stdout)],
    [1, true],
  );
  const file = /started: (.*)$/m.exec((await run("install")).stdout)?.[1] ?? "";
  assert.equal((await run("status")).code, 0);
  writeFileSync(file, readFileSync(file, "utf8").replace(process.execPath, "/gone/node"));
  const broken = await run("status");
  assert.equal(broken.code, 1);
  assert.match(broken.stdout, /^gone: \/gone\/node$/m);
  standIn("systemctl", "echo Failed to connect to bus >&2; exit 1");
  const refused = await run("install");
  assert.equal(refused.code, 1);
  assert.match(refused.stdout, /is written, but not started: .*Failed to connect to bus/);
  assert.match(
    refused.stdout,
    /^next: systemctl --user daemon-reload && systemctl --user enable /m,
  );
  standIn("systemctl", "exit 0");
  const removed = await run("uninstall");
  assert.equal(removed.code, 0, removed.stderr);
  assert.ok(!existsSync(file) && existsSync(place.workflowPath));
  assert.match(calls().at(-2) ?? "", /^systemctl --user disable --now symphony-my-shop-/);
  await run("install");
  renameSync(place.workflowPath, `${place.workflowPath}.away`);
  const lost = await run("status");
  assert.equal(lost.code, 1, lost.stderr);
  assert.match(lost.stdout, /^gone: .*WORKFLOW\.md\nnext: symphony service uninstall/m);
  assert.equal((await run("uninstall")).code, 0);
  assert.ok(!existsSync(file), "it is removed also without its workflow file");
  renameSync(`${place.workflowPath}.away`, place.workflowPath);
  writeFileSync(file, "[Service]\nExecStart=/mine\n");
  for (const what of ["install", "uninstall"]) {
    const foreign = await run(what);
    assert.notEqual(foreign.code, 0);
    assert.match(foreign.stderr, /was not made by symphony/);
  }
  assert.equal(readFileSync(file, "utf8"), "[Service]\nExecStart=/mine\n");
});
