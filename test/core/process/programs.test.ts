import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { describe, test } from "node:test";
import { installedPrograms } from "../../../src/core/process/programs.ts";

interface Machine extends AsyncDisposable {
  readonly root: string;
  /** Files and links (` -> `) by their path on the machine. */
  has(...paths: readonly string[]): Promise<void>;
  /** The visible paths on the machine; a link with its target. */
  shown(path: readonly string[], files?: readonly string[]): Promise<readonly string[]>;
}

async function machine(): Promise<Machine> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "symphony-programs-")));
  await mkdir(join(root, "home"));
  return {
    root,
    async has(...paths) {
      for (const written of paths) {
        const [path = "", target] = written.split(" -> ");
        await mkdir(dirname(join(root, path)), { recursive: true });
        if (target === undefined) await writeFile(join(root, path), "text\n", { mode: 0o755 });
        else await symlink(target.startsWith("/") ? join(root, target) : target, join(root, path));
      }
    },
    async shown(path, files = []) {
      const at = (one: string) => join(root, one);
      const places = await installedPrograms({
        path: ["/usr/bin", ...path.map(at)].join(":"),
        files: files.map(at),
        homes: [at("home")],
        hidden: [at("home/.secret"), at("data"), at("home/tools/login")],
      });
      const name = (one: string) => relative(root, one);
      return places
        .map(({ as, from, to }) => (as === "link" ? `${name(to)} -> ${name(from)}` : name(to)))
        .sort();
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

describe("which installed programs are visible", () => {
  test("a directory of PATH and its installation are visible, but nothing else next to them", async () => {
    await using m = await machine();
    const nvm = "home/.nvm/versions/node/v24";
    await m.has(
      ...[`${nvm}/bin/node`, `${nvm}/lib/node_modules/agent/cli.js`, `${nvm}/share/man/x`],
      ...[`${nvm}/bin/agent -> ../lib/node_modules/agent/cli.js`, `${nvm}/.env`],
    );
    assert.deepEqual(await m.shown([`${nvm}/bin`]), [
      ...[`${nvm}/bin`, `${nvm}/lib`, `${nvm}/share`],
    ]);
  });

  test("targets of links in ~/.local/bin and the interpreters in their first lines are visible", async () => {
    await using m = await machine();
    const [bin, share] = ["home/.local/bin", "home/.local/share"];
    await m.has(
      ...[`${bin}/claude -> /${share}/claude/current`, `${share}/claude/versions/2.1`],
      `${share}/claude/current -> versions/2.1`,
      ...[`${bin}/aider -> ../share/uv/tools/aider/bin/aider`, `${share}/keyrings/login`],
      ...[`${share}/uv/tools/aider/lib/x.py`, `${share}/uv/tools/aider/pyvenv.cfg`],
      `${share}/uv/tools/aider/bin/python -> /${share}/uv/python/cpython/bin/python3`,
      ...[`${share}/uv/python/cpython/bin/python3`, `${share}/uv/python/cpython/lib/os.py`],
    );
    const aider = join(m.root, share, "uv/tools/aider/bin");
    await writeFile(join(aider, "aider"), `#!${aider}/python\nimport sys\n`, { mode: 0o755 });
    await m.has(`${bin}/notes -> /home/notes.txt`, "home/notes.txt");
    await chmod(join(m.root, "home/notes.txt"), 0o644);
    assert.deepEqual(await m.shown([bin]), [
      bin,
      `${share}/claude/current -> ${share}/claude/versions/2.1`,
      `${share}/claude/versions/2.1`,
      ...[`${share}/uv/python/cpython/bin`, `${share}/uv/python/cpython/lib`],
      ...["bin", "lib", "pyvenv.cfg"].map((part) => `${share}/uv/tools/aider/${part}`),
    ]);
  });

  test("the packages of a program that a line names are visible, with all that it may load", async () => {
    await using m = await machine();
    await m.has("srv/x/node_modules/a/node_modules/b/cli.js", "srv/x/node_modules/c/index.js");
    const files = ["srv/x/node_modules/a/node_modules/b/cli.js"];
    assert.deepEqual(await m.shown([], files), ["srv/x/node_modules"]);
  });

  test("of a single program only the file is visible, and of a link to it the link", async () => {
    await using m = await machine();
    await m.has("srv/agents/run.sh", "srv/agents/secrets.txt", "srv/current -> agents");
    await m.has("home/run -> /srv/agents/run.sh");
    assert.deepEqual(await m.shown([], ["home/run", "srv/agents", "srv/none"]), [
      ...["home/run -> srv/agents/run.sh", "srv/agents/run.sh"],
    ]);
    assert.deepEqual(await m.shown([], ["srv/current/run.sh"]), [
      ...["srv/agents/run.sh", "srv/current/run.sh -> srv/agents/run.sh"],
    ]);
  });

  test("homebrew's prefix is visible if its programs are links", async () => {
    await using m = await machine();
    await m.has("brew/Cellar/node/24/bin/node", "brew/bin/node -> ../Cellar/node/24/bin/node");
    await m.has("brew/opt/icu -> ../Cellar/icu/1", "brew/lib/x.so", "brew/var/db/data");
    assert.deepEqual(await m.shown(["brew/bin"]), [
      ...["brew/Cellar", "brew/bin", "brew/lib", "brew/opt"],
    ]);
  });

  test("the versions that shims of version managers run are visible", async () => {
    await using m = await machine();
    await m.has("home/.pyenv/shims/python", "home/.pyenv/versions/3.12/bin/python");
    await m.has("home/.pyenv/libexec/pyenv", "home/.pyenv/cache/x");
    assert.deepEqual(await m.shown(["home/.pyenv/shims"]), [
      ...["libexec", "shims", "versions"].map((part) => `home/.pyenv/${part}`),
    ]);
  });

  test("a home, a hidden path and a directory that contains one are never visible, also through links", async () => {
    await using m = await machine();
    await m.has("home/own", "home/lib/x", "home/.secret/bin/x", "data/bin/x", "data/token");
    await m.has("home/tools/login", "home/tools/x", "srv/bin/token -> /data/token");
    await m.has("srv/bin/login -> /home/tools/login", "srv/to -> /home", "home/bin/x");
    const path = ["home", "home/.secret/bin", "data/bin", "home/tools", "srv/to", "", "home/bin"];
    assert.deepEqual(await m.shown(path), [...["home/bin", "srv/to -> home"]]);
    assert.deepEqual(await m.shown([], ["home/own", "home/tools/x"]), ["home/own", "home/tools/x"]);
    assert.deepEqual(await m.shown([], ["srv/bin/token", "srv/bin/login", "data/token"]), [
      "srv/bin/login -> home/tools/login",
      "srv/bin/token -> data/token",
    ]);
  });

  test("circular links end, and a list that is too long is limited", async () => {
    await using m = await machine();
    await m.has("srv/a -> b", "srv/b -> a");
    assert.equal((await m.shown([], ["srv/a"])).length, 2);
    const many = Array.from({ length: 200 }, (_, index) => `srv/many/${index}/program`);
    await m.has(...many, "srv/own/program");
    await m.has(...many.map((path, index) => `srv/bin/${index} -> /${path}`));
    const shown = await m.shown(["srv/bin"], ["srv/own/program"]);
    assert.equal(shown.length, 151);
    assert.ok(shown.includes("srv/own/program"));
  });
});
