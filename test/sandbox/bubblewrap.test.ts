import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import {
  appendFile,
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  realpath,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { probeSandbox, sandboxLine } from "../../src/core/process/sandbox.ts";
import { guardedNames, type Shown, type View } from "../../src/core/process/view.ts";
import { shellQuoted } from "../../src/core/text/text.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { coded } from "../support/makers/storage.ts";
import { cloneWorld } from "../support/worlds/clone-world.ts";

const hostile = ["", "plain-1", "a b", "it's", "$(touch x)", "`x`", '"', "\\", "a\nb", "-n", "*"];

test("any text becomes one argument of the shell", () => {
  const line = `printf '%s\\0' ${hostile.map(shellQuoted).join(" ")}`;
  const words = execFileSync("bash", ["-c", line], { encoding: "utf8" }).split("\0");
  assert.deepEqual(words.slice(0, -1), hostile);
});

interface Place extends AsyncDisposable {
  readonly root: string;
  readonly workspace: string;
  /** What a line prints on both streams. */
  said(line: string, view?: Partial<View>): Promise<string>;
}

async function place(name = "symphony-mounts-"): Promise<Place> {
  const root = await realpath(await mkdtemp(join(tmpdir(), name)));
  const workspace = join(root, "$(touch x)");
  await mkdir(workspace);
  return {
    root,
    workspace,
    async said(line, view = {}) {
      const confined = await sandboxLine(line, {
        ...{ level: "safe", workspace, cwd: workspace, homes: [], hidden: [] },
        ...{ shown: [], emptied: [], ...view },
      });
      return execFileSync("bash", ["-c", `${confined} 2>&1`], { encoding: "utf8", cwd: workspace });
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

/** Perl that makes a system call and prints "yes", or the error. */
const calls = (...args: readonly (number | string)[]) =>
  `perl -e 'print syscall(${args.join(", ")}) == -1 ? $!{ENOSYS} ? "no call" : $!{EAFNOSUPPORT} ? "no family" : "other" : "yes", "\n"'`;

const readable = (path: string): Shown => ({ from: path, to: path, as: "readable" });

describe("a line in the sandbox", () => {
  test("keeps quotes, in its paths and in its text", async () => {
    await using p = await place("symphony-it's a ");
    assert.equal(await p.said(`echo "it's $PWD"; touch x`), `it's ${p.workspace}\n`);
  });

  test("does not see hidden paths inside a shown path, at any depth; a hidden path that is shown itself is visible again", async () => {
    await using p = await place();
    const shelf = join(p.root, "shelf");
    const [secret, inner, file] = ["secret", "secret/inner", "login"].map((name) =>
      join(shelf, name),
    ) as [string, string, string];
    await mkdir(inner, { recursive: true });
    for (const path of [join(secret, "key"), join(inner, "book"), file, join(shelf, "open")]) {
      await writeFile(path, "text\n");
    }
    const hidden = [secret, file, join(shelf, "not-there")];
    const list = `cd '${shelf}' && find . -type f -size +0 | sort | tr '\\n' ' '`;
    const seen = async (shown: readonly Shown[]) => (await p.said(list, { hidden, shown })).trim();
    assert.equal(await seen([readable(shelf)]), "./open");
    assert.equal(await seen([readable(shelf), readable(inner)]), "./open ./secret/inner/book");
    assert.equal(await seen([readable(shelf), readable(file)]), "./login ./open");
    const covered = `touch '${secret}/new' || echo closed`;
    assert.match(await p.said(covered, { hidden, shown: [readable(shelf)] }), /closed/);
  });

  test("sees the workspace inside a hidden path, and cannot write to its emptied folders", async () => {
    await using p = await place();
    await mkdir(join(p.workspace, ".codex"));
    await writeFile(join(p.workspace, ".codex", "config.toml"), "text\n");
    const output = await p.said("ls -A .codex; touch .codex/new || echo closed; touch made && ls", {
      hidden: [p.root],
      shown: [readable(p.root)],
      emptied: [".codex", "not-there"],
    });
    assert.match(output, /^touch: .*\nclosed\nmade\n$/);
  });

  test("cannot write into the repository of a submodule, nor say how git looks into it", async (t) => {
    await using p = await place();
    const { dir, seed, clone } = cloneWorld(t);
    const lib = join(dir, "lib-seed");
    gitIn(dir)("clone", "-q", seed, lib);
    gitIn(dir)("clone", "-q", "--bare", seed, join(dir, "lib.git"));
    const modules =
      '[submodule "a \\"b"]\n\tpath = libs/lib\n\turl = ../lib.git\n\tignore = none\n';
    await writeFile(join(seed, ".gitmodules"), modules);
    const git = gitIn(seed);
    const link = `160000,${git("rev-parse", "HEAD")},libs/lib`;
    git("update-index", "--add", "--cacheinfo", link);
    git("add", ".gitmodules");
    git("commit", "-q", "-m", "submodule");
    git("push", "-q", "origin", "main");
    const { path: workspace } = await clone({ submodules: true });
    const canary = join(p.root, "ran");
    await writeFile(join(workspace, "run.sh"), `#!/bin/sh\ntouch '${canary}'\nexit 1\n`);
    await chmod(join(workspace, "run.sh"), 0o755);
    const evil = `[core]\\n\\tfsmonitor = ${workspace}/run.sh\\n`;
    const lines = [
      `printf '${evil}' >>libs/lib/.git/config && echo written`,
      "touch libs/lib/.git/hooks/pre-commit && echo written",
      "mv libs/lib/.git libs/lib/other && echo written",
      "echo x >>.gitmodules && echo written",
      "mv .gitmodules other && echo written",
      // Another repository in its place, by the names above it.
      "mv libs/lib aside && echo written",
      "mv libs aside && echo written",
      "echo more >>libs/lib/one.txt && echo worked",
    ];
    const said = await p.said(lines.join("; "), { workspace, cwd: workspace });
    assert.doesNotMatch(said, /written/);
    assert.match(said, /worked/);
    // At a level without a sandbox an agent can; then git looks into it only for what is added.
    await appendFile(join(workspace, "libs/lib/.git/config"), `[core]\n\tfsmonitor = ./run.sh\n`);
    await copyFile(join(workspace, "run.sh"), join(workspace, "libs/lib/run.sh"));
    const looks = [["status"], ["diff"], ["fetch", "--dry-run"]];
    for (const args of looks) gitIn(workspace)(...args);
    assert.equal(existsSync(canary), false);
    // It would have run.
    gitIn(join(workspace, "libs/lib"))("status");
    assert.equal(existsSync(canary), true);
  });

  test("cannot write to guarded names; a link with such a name stays as it is", async () => {
    await using p = await place();
    const [directory = "", link = "", file = ""] = guardedNames;
    await mkdir(join(p.workspace, directory));
    await symlink(p.root, join(p.workspace, link));
    await writeFile(join(p.workspace, file), "text\n");
    const line = `for name in ${directory} ${file}; do (echo x > $name/new || echo x > $name) 2> /dev/null && echo open; done; ls -A ${link}; echo x > ${link}/new; echo over`;
    assert.equal(await p.said(line), `${basename(p.workspace)}\nover\n`);
    assert.deepEqual(await readdir(p.root), [basename(p.workspace)]);
  });

  test("gets a home that is empty, writable and limited in size, and a devices' directory that is not writable", async () => {
    await using p = await place();
    const home = join(p.root, "home");
    await mkdir(home);
    await writeFile(join(home, "diary"), "text\n");
    const line = `ls -A '${home}'; touch '${home}/own' && ls '${home}'; touch /dev/x || echo closed; echo > /dev/null && df -kP '${home}' | tail -n 1`;
    const output = await p.said(line, { homes: [home], shown: [readable(p.root)] });
    assert.match(output, /^own\ntouch: .*\nclosed\ntmpfs +\d+ /);
    assert.ok(Number(output.match(/tmpfs +(\d+)/)?.[1]) <= 512 * 1024);
  });

  test("THREAT-1: has no key of the session in which the server was started, no socket to the host of a virtual machine, and no file that the server inherited", {
    skip: process.arch === "x64" ? false : "the numbers below are those of x64",
  }, async () => {
    await using p = await place();
    const held = join(p.root, "held");
    await writeFile(held, "text\n");
    // keyctl, add_key, io_uring_setup, AF_ALG, AF_VSOCK, AF_INET; what the first process can do, who attaches to it can.
    const lines = [
      ...[calls(250, 0, -3, 1), calls(248, 0, 0, 0, 0, -3), calls(425, 8, 0)],
      ...[calls(41, 38, 5, 0), calls(41, 40, 1, 0), calls(41, 2, 1, 0)],
      "grep Seccomp: /proc/1/status; readlink /proc/self/fd/77 || echo closed",
    ];
    const { workspace } = p;
    const line = await sandboxLine(lines.join("; "), {
      ...{ level: "networked", workspace, cwd: workspace, homes: [], hidden: [] },
      ...{ shown: [], emptied: [] },
    });
    const started = `exec 77< '${held}'; readlink /proc/self/fd/77; ${line}`;
    const said = execFileSync("bash", ["-c", started], { encoding: "utf8" });
    const expected = [
      ...[held, "no call", "no call", "no call", "no family", "no family", "yes"],
      ...["Seccomp:\t2", "closed", ""],
    ];
    assert.deepEqual(said.split("\n"), expected);
  });

  test("can follow a link when the link's target is shown", async () => {
    await using p = await place();
    const [tool, alias] = [join(p.root, "tool"), join(p.root, "a", "b", "alias")];
    await writeFile(tool, "text\n");
    const link: Shown = { from: tool, to: alias, as: "link" };
    assert.equal(await p.said(`cat '${alias}'`, { shown: [readable(tool), link] }), "text\n");
  });
});

describe("the probe", () => {
  test("passes at both levels, and fails without bubblewrap, also after it passed", async () => {
    await probeSandbox("safe", process.env);
    await probeSandbox("networked", process.env);
    const refused = coded(
      "agent_unavailable",
      /agent\.level safe .* bubblewrap does not work here/,
    );
    await assert.rejects(probeSandbox("safe", { PATH: "/nowhere" }), refused);
    await assert.rejects(probeSandbox("safe", { PATH: "/nowhere" }), refused);
  });
});
