import assert from "node:assert/strict";
import { chmod, mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { findProgram } from "../../../src/core/process/find-program.ts";
import { loginEnvironment, loginFault, readLoginsAgain } from "../../../src/core/process/login.ts";
import { eventually } from "../../support/worlds/symphony.ts";

// Rows of the case file of agents are named "A21: …".

async function home() {
  const dir = await mkdtempDisposable(join(tmpdir(), "symphony-login-"));
  const env = (more: object = {}) => ({
    HOME: dir.path,
    SHELL: "/bin/bash",
    PATH: "/usr/bin:/bin",
    ...more,
  });
  const write = (name: string, text: string) => writeFile(join(dir.path, name), text);
  return { ...dir, env, write, [Symbol.asyncDispose]: () => dir.remove() };
}

describe("the environment of the user's shell", () => {
  test("A21: what a terminal of the user has: the profile and what only interactive shells read", async () => {
    await using h = await home();
    await h.write(
      ".profile",
      'export FROM_PROFILE=yes PATH="$HOME/.asdf/shims:$PATH"\n. ~/.bashrc\n',
    );
    const guard = "case $- in *i*) ;; *) return ;; esac\n";
    await h.write(
      ".bashrc",
      `${guard}echo noise\nexport PATH="$HOME/.nvm/versions/node/v24/bin:$PATH"\n`,
    );
    const found = await loginEnvironment(h.env());
    const dirs = found["PATH"]?.split(":") ?? [];
    assert.deepEqual(dirs.slice(0, 2), [
      join(h.path, ".nvm/versions/node/v24/bin"),
      join(h.path, ".asdf/shims"),
    ]);
    assert.equal(found["FROM_PROFILE"], "yes");
  });

  test("A21: what a terminal has whose profile does not read .bashrc, as version managers assume", {
    skip: process.platform === "darwin",
  }, async () => {
    for (const profile of [null, "export FROM_PROFILE=yes\n"]) {
      await using h = await home();
      if (profile !== null) await h.write(".bash_profile", profile);
      await h.write(".bashrc", 'export PATH="$HOME/.nvm/versions/node/v24/bin:$PATH"\n');
      const found = await loginEnvironment(h.env());
      assert.equal(found["PATH"]?.split(":")[0], join(h.path, ".nvm/versions/node/v24/bin"));
      assert.equal(found["FROM_PROFILE"], profile === null ? undefined : "yes");
    }
  });

  test("A21: the home's own directories and those of the server are searched too, after the shell's", async () => {
    await using h = await home();
    await mkdir(join(h.path, "bin"));
    await mkdir(join(h.path, ".local/bin"), { recursive: true });
    await h.write(".bash_profile", "export PATH=/own/bin:/usr/bin\n");
    const found = await loginEnvironment(h.env({ PATH: "/server/bin:/usr/bin" }));
    const dirs = found["PATH"]?.split(":") ?? [];
    assert.deepEqual(dirs, [
      "/own/bin",
      "/usr/bin",
      "/server/bin",
      join(h.path, ".local/bin"),
      join(h.path, "bin"),
    ]);
  });

  test("the server's own values stay, and no secret reaches the shell", async () => {
    await using h = await home();
    await h.write(".bash_profile", `export LANG=C SEEN="\${MY_SECRET:-nothing}"\n`);
    const found = await loginEnvironment(h.env({ LANG: "C.UTF-8", MY_SECRET: "canary" }));
    assert.equal(found["LANG"], "C.UTF-8");
    assert.equal(found["SEEN"], "nothing");
    assert.equal(found["MY_SECRET"], "canary");
  });

  test("it is read once for each environment, and again after a refresh", async () => {
    await using h = await home();
    await h.write(".bash_profile", 'echo x >> "$HOME/reads"\nexport PATH=/first:$PATH\n');
    const env = h.env();
    const [one, two] = await Promise.all([loginEnvironment(env), loginEnvironment(env)]);
    await h.write(".bash_profile", "export PATH=/second:$PATH\n");
    assert.equal(one, two);
    assert.equal(await loginEnvironment(one), one);
    assert.match((await loginEnvironment(env))["PATH"] ?? "", /^\/first:/);
    await readLoginsAgain();
    assert.match((await loginEnvironment(env))["PATH"] ?? "", /^\/second:/);
  });

  test("while it is read again, and where that fails, what was read before is used", async () => {
    await using h = await home();
    await h.write(".bash_profile", "export PATH=/first:$PATH\n");
    const env = h.env();
    const first = await loginEnvironment(env);
    const gate = join(h.path, "gate");
    await h.write(".bash_profile", `until [ -e "${gate}" ]; do sleep 0.02; done\nexit 3\n`);
    const reading = readLoginsAgain();
    assert.equal(await loginEnvironment(env), first);
    assert.equal(await Promise.race([reading, "not yet"]), "not yet");
    await h.write("gate", "");
    await reading;
    assert.equal(await loginEnvironment(env), first);
    assert.match(loginFault(env) ?? "", /bash ended before it showed its PATH$/);
  });

  test("a profile that breaks off leaves what the server has, until the shell answers", async () => {
    await using h = await home();
    await h.write(".bash_profile", "exit 3\n");
    const env = h.env();
    assert.equal((await loginEnvironment(env))["PATH"], "/usr/bin:/bin");
    assert.match(loginFault(env) ?? "", /ended before it showed its PATH/);
    await h.write(".bash_profile", "export PATH=/mended:$PATH\n");
    const path = async () => (await loginEnvironment(env))["PATH"] ?? "";
    await eventually("the shell is asked again", async () => (await path()).startsWith("/mended:"));
    assert.equal(loginFault(env), null);
  });

  test("a shell that only works without a terminal's settings is asked as bash -lc is", async () => {
    await using h = await home();
    await h.write(".bash_profile", "case $- in *i*) exit 0 ;; esac\nexport PATH=/plain:$PATH\n");
    assert.match((await loginEnvironment(h.env()))["PATH"] ?? "", /^\/plain:/);
  });
});

test("a program is found as a shell finds it: the first that may be executed", async () => {
  await using h = await home();
  const [a, b] = [join(h.path, "a"), join(h.path, "b")];
  await mkdir(join(a, "agent"), { recursive: true });
  await mkdir(b);
  await writeFile(join(b, "agent"), "#!/bin/sh\n");
  assert.equal(await findProgram("agent", `${a}:${b}`), null, "a directory and a plain file");
  await chmod(join(b, "agent"), 0o755);
  assert.equal(await findProgram("agent", `${a}::relative:${b}`), join(b, "agent"));
  assert.equal(await findProgram(join(b, "agent"), ""), join(b, "agent"));
  assert.equal(await findProgram("./agent", b), null);
});
