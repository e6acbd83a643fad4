import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  callHost,
  destinationOf,
  quoted,
  sshArgv,
  sshFault,
} from "../../../src/core/ssh/command-line.ts";
import { requireRemote } from "../../../src/core/ssh/hosts.ts";

test("Z-6: a port is split off a name and an address in brackets, and off nothing else", () => {
  const table: readonly (readonly [string, string, string | null])[] = [
    ["build-1", "build-1", null],
    ["host:2222", "host", "2222"],
    ["user@host:2222", "user@host", "2222"],
    ["root@[::1]:2200", "root@[::1]", "2200"],
    ["[::1]", "[::1]", null],
    ["::1:2200", "::1:2200", null],
    ["me@::1", "me@::1", null],
    ["host:", "host:", null],
    ["host:http", "host:http", null],
  ];
  for (const [host, destination, port] of table) {
    assert.deepEqual(destinationOf(host), { destination, port }, host);
  }
});

test("Z-5: the command line of ssh has its configuration file, port, destination and one word for a login bash", () => {
  const argv = sshArgv("me@host:2222", "echo it's", { SYMPHONY_SSH_CONFIG: "/etc/s" });
  assert.deepEqual(argv.slice(0, 3), ["ssh", "-F", "/etc/s"]);
  const word = `bash -lc 'echo it'\\''s'`;
  assert.deepEqual(argv.slice(-5), ["-T", "-p", "2222", "me@host", word]);
  const plain = sshArgv("host", "true", {});
  assert.equal(plain.includes("-F"), false);
  assert.deepEqual(plain.slice(-3), ["-T", "host", "bash -lc 'true'"]);
  assert.equal(quoted("a b"), "'a b'");
  const text = `it's \\ "$HOME" \\\\ \\' \\n`;
  for (const shell of ["sh", "bash", "zsh", "fish"]) {
    const { error, stdout } = spawnSync(shell, ["-c", `printf %s ${quoted(text)}`]);
    if (error === undefined) assert.equal(stdout.toString(), text, shell);
  }
});

test("fleet 24: no call shares a connection, asks a question, or forwards anything, whatever the user's own configuration says", () => {
  const argv = sshArgv("host", "true", {});
  const set = argv.filter((_, at) => argv[at - 1] === "-o");
  for (const one of ["BatchMode=yes", "ControlMaster=no", "ControlPath=none", "RemoteCommand=none"])
    assert.ok(set.includes(one), one);
  for (const one of ["ForwardAgent=no", "ClearAllForwardings=yes", "ConnectTimeout=10"])
    assert.ok(set.includes(one), one);
});

test("Z-5: without the program ssh a call is refused as ssh_not_found", async () => {
  const home = await mkdtemp(join(tmpdir(), "symphony-ssh-"));
  try {
    const env = { HOME: home, PATH: home, SHELL: "/nonexistent" };
    const call = { script: "say 1", args: [], timeoutMs: 1_000 };
    await assert.rejects(callHost("host", call, env), { code: "ssh_not_found" });
  } finally {
    await rm(home, { recursive: true });
  }
});

test("Z-9: a path of a host that is blank, relative, the root, or holds a newline, CR or NUL is refused", () => {
  const refused = ["", " ", "work", "/", "/a/", "/a\nb", "/a\rb", "/a\0b", "~/a"];
  for (const path of refused)
    assert.throws(() => requireRemote("host", path), { code: "workspace_prepare_failed" }, path);
  assert.equal(requireRemote("host", "/home/a b/it's"), "/home/a b/it's");
});

test("fleet 24: what ssh itself failed with is named, and what a program on the host failed with is not taken for it", () => {
  const of = (errors: string, status = 255) => sshFault("h", { status, errors })?.message ?? null;
  assert.match(of("Host key verification failed.") ?? "", /host key is not known here/);
  assert.match(
    of("REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.") ?? "",
    /is another one than before/,
  );
  assert.match(of("me@h: Permission denied (publickey).") ?? "", /refuses the login/);
  assert.match(of("bash: command not found", 127) ?? "", /has no bash/);
  assert.equal(
    of("ssh: connect to host h port 22: Connection refused"),
    "h: ssh: connect to host h port 22: Connection refused",
  );
  assert.equal(of("boom", 1), null);
});
