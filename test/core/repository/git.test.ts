import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, describe, type TestContext, test } from "node:test";
import { liveProcesses } from "../../../src/core/process/table.ts";
import { cloneInto } from "../../../src/core/repository/clone.ts";
import { gitEnvironment, openProtectedGit } from "../../../src/core/repository/git.ts";
import { gitChanges, survey } from "../../../src/core/repository/survey.ts";
import { diffOf } from "../../../src/core/workspace/diff.ts";
import { workIn } from "../../../src/core/workspace/work.ts";
import { makeSample } from "../../../src/demo/sample.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { cloneWorld } from "../../support/worlds/clone-world.ts";

const real = process.env["PATH"] ?? "";
after(() => {
  process.env["PATH"] = real;
});

interface RecordedCall {
  readonly args: readonly string[];
  readonly env: ReadonlyMap<string, string>;
}

/** Puts a git first in PATH that records how it was started, and then runs the real git. */
function recordGit(t: TestContext) {
  const dir = realpathSync(temporaryDir(t));
  const calls = join(dir, "calls");
  mkdirSync(calls);
  const script = `#!/bin/sh
file=$(mktemp ${calls}/XXXXXX)
printf '%s\\0' "$@" > "$file.args"
env -0 > "$file.env"
PATH='${real}' exec git "$@"
`;
  const path = putFirst(dir, script);
  const read = (file: string) => readFileSync(file, "utf8").split("\0").slice(0, -1);
  return {
    path,
    calls(): RecordedCall[] {
      return globSync(`${calls}/*.args`).map((file) => ({
        args: read(file),
        env: new Map(
          read(file.replace(/args$/, "env")).map((entry) => {
            const at = entry.indexOf("=");
            return [entry.slice(0, at), entry.slice(at + 1)];
          }),
        ),
      }));
    },
  };
}

/** A program called git, first in PATH. */
function putFirst(dir: string, script: string): string {
  const bin = join(dir, "first");
  mkdirSync(bin);
  writeFileSync(join(bin, "git"), script);
  chmodSync(join(bin, "git"), 0o755);
  process.env["PATH"] = `${bin}:${real}`;
  return process.env["PATH"];
}

/** Variables of the user who starts the server: each would make git run a program, read other files, or show a secret. */
function hostile(mark: string): Record<string, string> {
  const run = `touch ${mark}; cat`;
  return {
    GIT_DIR: "/nowhere",
    GIT_WORK_TREE: "/nowhere",
    GIT_INDEX_FILE: "/nowhere",
    GIT_OBJECT_DIRECTORY: "/nowhere",
    GIT_EXEC_PATH: "/nowhere",
    GIT_TEMPLATE_DIR: "/nowhere",
    GIT_CONFIG_GLOBAL: join(mark, "config"),
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: "core.fsmonitor",
    GIT_CONFIG_VALUE_0: run,
    GIT_CONFIG_PARAMETERS: `'core.fsmonitor=${run}'`,
    GIT_EXTERNAL_DIFF: run,
    GIT_SSH: run,
    GIT_SSH_COMMAND: run,
    GIT_PROXY_COMMAND: run,
    GIT_ASKPASS: run,
    SSH_ASKPASS: run,
    GIT_EDITOR: run,
    GIT_PAGER: run,
    GIT_ALLOW_PROTOCOL: "ext",
    GIT_TRACE: mark,
    XDG_CONFIG_HOME: join(mark, "xdg"),
    LD_LIBRARY_PATH: "/nowhere",
    LINEAR_API_KEY: "canary",
  };
}

/** Variables that differ between calls, and those that a shell adds. */
const ofOneCall = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "SYMPHONY_RUN_ID"];
const ofRemote =
  /^(USER|LOGNAME|TMPDIR|SSH_AUTH_SOCK|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|GIT_SSL_CAINFO)$/i;
const ofShell = ["PWD", "OLDPWD", "SHLVL", "_"];

describe("the environment of git", () => {
  test("THREAT-15: every git process has the one environment, and nothing of the server's", async (t) => {
    const { order, bare, dir } = cloneWorld(t);
    const first = gitIn(bare)("rev-parse", "main~1");
    const last = gitIn(bare)("rev-parse", "main");
    const recorder = recordGit(t);
    const mark = join(dir, "mark");
    const saved = { ...process.env };
    Object.assign(process.env, hostile(mark));
    try {
      const made = order();
      await cloneInto({ ...made, env: process.env });
      const { path } = made;
      writeFileSync(join(path, "one.txt"), "changed\n");
      writeFileSync(join(path, "new.txt"), "new\n");
      assert.equal((await survey(path, first))?.ahead, 0);
      assert.deepEqual(await gitChanges(path, first, last), { commits: 1, changedFiles: 1 });
      assert.equal((await workIn(path)).length, 2);
      assert.equal((await diffOf(path, null)).files.length, 2);
      const sample = await makeSample(false, new AbortController().signal);
      await sample.remove();
    } finally {
      for (const name of Object.keys(process.env)) delete process.env[name];
      Object.assign(process.env, saved);
    }
    const calls = recorder.calls();
    const verbs = new Set(calls.map(({ args }) => args.find((word) => !word.startsWith("-"))));
    for (const verb of ["fetch", "checkout", "rev-list", "diff-tree", "status", "diff", "commit"]) {
      assert.ok(verbs.has(verb), verb);
    }
    for (const { args, env } of calls) {
      const reach = { path: recorder.path, home: env.get("HOME"), protocol: "none" } as const;
      const { GIT_ALLOW_PROTOCOL: _, ...expected } = gitEnvironment(reach);
      for (const [name, value] of Object.entries(expected)) {
        assert.equal(env.get(name), value, `${name} of git ${args.join(" ")}`);
      }
      const protocol = env.get("GIT_ALLOW_PROTOCOL");
      const isRemote = args.some((word) => /^(?:fetch|ls-remote)$|upload-pack/.test(word));
      if (isRemote) assert.equal(protocol, "file");
      else assert.match(protocol ?? "", env.has("GIT_DIR") ? /^none$/ : /^(?:none|file)$/, args[0]);
      assert.match(env.get("SYMPHONY_RUN_ID") ?? "", /(^|\/)git-[0-9a-f-]{36}(\/\d+)?$/);
      const known = new Set([...Object.keys(gitEnvironment(reach)), ...ofOneCall, ...ofShell]);
      const more = [...env.keys()].filter((name) => !known.has(name));
      const forRemote = protocol === "none" ? /^$/ : ofRemote;
      assert.deepEqual(
        more.filter((name) => !forRemote.test(name)),
        [],
      );
    }
    assert.equal(existsSync(mark), false);
  });

  test("THREAT-15: each setting that can name a program is set to none", () => {
    const env = gitEnvironment({ path: "/bin", home: "/nowhere", protocol: "none" });
    const written = Array.from({ length: Number(env["GIT_CONFIG_COUNT"]) }, (_, at) => [
      env[`GIT_CONFIG_KEY_${at}`],
      env[`GIT_CONFIG_VALUE_${at}`],
    ]);
    assert.partialDeepStrictEqual(Object.fromEntries(written), {
      "core.hooksPath": "/dev/null",
      "core.fsmonitor": "false",
      "core.attributesFile": "/dev/null",
      "credential.helper": "",
      "commit.gpgSign": "false",
      "log.showSignature": "false",
      "submodule.recurse": "false",
      "fetch.recurseSubmodules": "false",
      "gc.auto": "0",
      "maintenance.auto": "false",
    });
    assert.partialDeepStrictEqual(env, {
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_ATTR_NOSYSTEM: "1",
      GIT_SSH_COMMAND: "ssh -o BatchMode=yes",
      GIT_TERMINAL_PROMPT: "0",
      GIT_ALLOW_PROTOCOL: "none",
      GIT_NO_LAZY_FETCH: "1",
      GIT_NO_REPLACE_OBJECTS: "1",
      GIT_OPTIONAL_LOCKS: "0",
    });
  });

  test("THREAT-16: protected git reaches no remote, for any argument", async (t) => {
    const { bare, dir } = cloneWorld(t);
    await using git = await openProtectedGit(bare, { head: null, worktree: null });
    for (const address of [bare, `file://${bare}`, `ext::sh -c "touch ${dir}/mark"`]) {
      await assert.rejects(git.run(["ls-remote", "--", address]), {
        name: "GitFailure",
        message: /transport '\w+' not allowed/,
      });
    }
    assert.equal(existsSync(join(dir, "mark")), false);
  });
});

describe("how a git process ends", () => {
  test("FAULT-7: all processes that protected git left are gone with it, in its group or not", async (t) => {
    const dir = realpathSync(temporaryDir(t));
    putFirst(
      dir,
      `#!/bin/sh
sleep 300 & echo $! >> ${dir}/pids
setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $! >> ${dir}/pids
sleep 0.1
`,
    );
    {
      await using git = await openProtectedGit(null, { head: null, worktree: null });
      assert.equal(await git.run(["status"]), "");
    }
    process.env["PATH"] = real;
    const pids = readFileSync(join(dir, "pids"), "utf8").trim().split("\n").map(Number);
    assert.equal(pids.length, 2);
    assert.deepEqual(
      (await liveProcesses()).filter(({ pid }) => pids.includes(pid)),
      [],
    );
  });

  test("a failure gives its reason in one line: git's message, the timeout, the output limit, or a missing git", async (t) => {
    const dir = realpathSync(temporaryDir(t));
    await using git = await openProtectedGit(null, { head: null, worktree: null });
    const why = (message: RegExp) => ({ name: "GitFailure", message });
    await assert.rejects(git.run(["cat-file", "-p", "no-such"]), why(/^fatal: Not a valid object/));
    assert.equal(await git.run(["merge-base", "HEAD", "HEAD"], { mayExit: 128 }), "");
    await assert.rejects(git.run(["help", "-a"], { maxBytes: 100 }), why(/wrote too much output$/));
    const { text, cut } = await git.begin(["help", "-a"], { maxBytes: 100 });
    assert.deepEqual([text.length, cut], [100, true]);
    putFirst(dir, "#!/bin/sh\nsleep 300\n");
    await using slow = await openProtectedGit(null, { head: null, worktree: null });
    await assert.rejects(slow.run(["status"], { timeoutMs: 50 }), why(/took too long/));
    process.env["PATH"] = dir;
    const missing = await openProtectedGit(null, { head: null, worktree: null });
    process.env["PATH"] = real;
    await assert.rejects(missing.run(["status"]), why(/^git could not be started$/));
    await missing[Symbol.asyncDispose]();
  });
});
