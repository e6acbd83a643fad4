import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import type { SessionSpec } from "../../../src/core/agent/agent.ts";
import { confinementOf } from "../../../src/core/agent/confinement.ts";
import { isInside } from "../../../src/core/process/view.ts";

interface Asked {
  readonly home?: string;
  readonly readable?: readonly string[];
  readonly writable?: readonly string[];
  readonly lines?: readonly string[];
}

/** A machine with one home; paths are relative to its root. */
async function machine() {
  const root = await realpath(await mkdtemp(join(tmpdir(), "symphony-confinement-")));
  const workspace = join(root, "workspaces", "ENG-1");
  const logins = [".codex/auth.json", ".claude/.credentials.json", ".config/gh/hosts.yml"];
  for (const name of [...logins, ".ssh/id", "tools/tool", "notes"]) {
    await mkdir(dirname(join(root, "home", name)), { recursive: true });
    await writeFile(join(root, "home", name), "text\n");
  }
  await mkdir(workspace, { recursive: true });
  await mkdir(join(root, "data"));
  await writeFile(join(root, "data", "master.key"), "text\n");
  const logs: string[] = [];
  return {
    root,
    logs,
    async sees({ home = join(root, "home"), readable = [], writable = [], lines = [] }: Asked) {
      // Nothing else of a session is read.
      const spec = {
        workspace,
        onLog: (line: string) => logs.push(line),
      } as unknown as SessionSpec;
      const { homes, hidden, shown } = await confinementOf({
        ...{ spec, lines, path: "", dataDir: join(root, "data") },
        workspaceRoot: join(root, "workspaces"),
        env: { HOME: home },
        readable: { key: "command.readable_paths", paths: readable },
        writable: { key: "command.writable_paths", paths: writable },
      });
      const name = (path: string) => relative(root, path);
      return {
        homes: homes.map(name),
        hidden: hidden.map(name),
        // Toolchains of whoever runs the test are shown too.
        shown: shown
          .filter(({ to }) => isInside(to, root))
          .map(({ as, from, to }) => `${as} ${name(to)}${to === from ? "" : ` -> ${name(from)}`}`),
      };
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

test("without settings nothing is visible, the home is empty, and data and logins are hidden", async () => {
  await using m = await machine();
  const { homes, hidden, shown } = await m.sees({});
  assert.deepEqual(shown, []);
  assert.ok(homes.includes("home"));
  for (const path of ["data", "workspaces", "home/.ssh", "home/.codex/auth.json", "home/.netrc"]) {
    assert.ok(hidden.includes(path), path);
  }
});

test("a missing home is created, but not in a system directory or at the root", async () => {
  await using m = await machine();
  const made = async (home: string) =>
    (await m.sees({ home })).homes.map((dir) => join(m.root, dir));
  const none = join(m.root, "none");
  assert.ok((await made(none)).includes(none));
  for (const home of ["/usr/no-such-home", "/"])
    assert.ok(!(await made(home)).includes(home), home);
});

test("a writable path shows a tool's own directory with its login; a readable path or the whole home does not", async () => {
  await using m = await machine();
  const given = async (asked: Asked) => {
    const { hidden } = await m.sees(asked);
    const logins = ["home/.codex/auth.json", "home/.claude/.credentials.json", "home/.config/gh"];
    return [...logins, "home/.ssh"].filter((path) => !hidden.includes(path));
  };
  assert.deepEqual(await given({ writable: ["~/.codex"] }), ["home/.codex/auth.json"]);
  assert.deepEqual(await given({ writable: ["~/.claude"] }), ["home/.claude/.credentials.json"]);
  assert.deepEqual(await given({ readable: ["~/.codex"] }), []);
  assert.deepEqual(await given({ writable: ["~", "~/.config"] }), []);
});

test("paths in settings are visible where they are and where a link says they are; missing ones are skipped", async () => {
  await using m = await machine();
  await symlink(join(m.root, "home", "tools"), join(m.root, "alias"));
  const { shown } = await m.sees({
    readable: [join(m.root, "alias"), "~/none"],
    writable: ["~/.codex", join(m.root, "workspaces", "ENG-1", "in")],
  });
  assert.deepEqual(shown, [
    ...["readable home/tools", "writable home/.codex", "link alias -> home/tools"],
  ]);
  assert.deepEqual(m.logs, []);
});

test("no name makes data, other workspaces, processes or the whole machine visible", async () => {
  await using m = await machine();
  const names = ["/", "/proc", "/proc/1", "/dev/shm", "here"];
  const own = ["data", "data/master.key", "workspaces"].map((name) => join(m.root, name));
  await symlink(join(m.root, "data"), join(m.root, "home", "way"));
  const all = [...names, ...own, "~/way"];
  assert.deepEqual((await m.sees({ readable: all, writable: all })).shown, []);
  assert.deepEqual(m.logs, [
    `command.readable_paths: not a path to show in the sandbox: ${all.join(",")}`,
    `command.writable_paths: not a path to show in the sandbox: ${all.join(",")}`,
  ]);
});

test("programs that a line names are visible, wherever the line names them", async () => {
  await using m = await machine();
  const tool = "readable home/tools/tool";
  const at = join(m.root, "home", "tools", "tool");
  const lines = [
    `cd . && exec "${at}" -p`,
    "~/tools/tool",
    '"$HOME"/tools/tool',
    `bash -c '${at} x'`,
  ];
  for (const line of lines) assert.deepEqual((await m.sees({ lines: [line] })).shown, [tool], line);
  const login = join(m.root, "home", ".ssh", "id");
  assert.deepEqual((await m.sees({ lines: [`cat ${login} ${m.root}/data/master.key`] })).shown, []);
});

test("a user without an entry on this machine, as in a container, has the home of HOME alone", async () => {
  await using m = await machine();
  const module = new URL("../../../src/core/agent/confinement.ts", import.meta.url).href;
  const options = {
    ...{ spec: { workspace: join(m.root, "workspaces", "ENG-1") }, lines: [], path: "" },
    ...{ dataDir: join(m.root, "data"), workspaceRoot: join(m.root, "workspaces") },
    env: { HOME: join(m.root, "home") },
    readable: { key: "command.readable_paths", paths: [] },
    writable: { key: "command.writable_paths", paths: [] },
  };
  const script = `const { confinementOf } = await import(${JSON.stringify(module)});
    console.log(JSON.stringify((await confinementOf(${JSON.stringify(options)})).homes));`;
  const line = [
    "--user",
    "--map-user=12345",
    process.execPath,
    "--input-type=module",
    "-e",
    script,
  ];
  const { stdout } = await promisify(execFile)("unshare", line);
  assert.deepEqual(JSON.parse(stdout), [join(m.root, "home")]);
});
