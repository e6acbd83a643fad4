// What the real codex's commands read of a developer's home; the other kinds are in test/sandbox/planted-logins.test.ts.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { canNest } from "../../src/core/process/sandbox.ts";
import { plantedHome, readingLine } from "../support/makers/planted-logins.ts";
import { output, safeBench, shell } from "../support/worlds/safe-bench.ts";

/** A developer's home with a codex that works in it. */
async function planted(config: Parameters<typeof safeBench>[1] = {}) {
  const t = await safeBench([], config);
  const apart = await mkdtemp(join(process.cwd(), ".neighbour-"));
  const { logins, toolchains } = await plantedHome(t.userHome, apart);
  return {
    ...{ t, apart, logins, toolchains },
    async said(line: string, spec: Parameters<typeof output>[1] = {}): Promise<string> {
      await t.openai.setScript(shell(line));
      return output(t, spec);
    },
    async [Symbol.asyncDispose]() {
      await rm(apart, { recursive: true, force: true });
      await t[Symbol.asyncDispose]();
    },
  };
}

describe("the logins of a developer's home, for codex", () => {
  test("THREAT-1: are not readable at level safe or networked, and toolchains are", async () => {
    await using p = await planted();
    const levels = ["safe", "networked"] as const;
    for (const level of levels) {
      const runId = `${p.t.bench.runId}_${level}`;
      const said = await p.said(readingLine([...p.logins, ...p.toolchains]), { level, runId });
      const read = said.split("\n").filter((line) => line.startsWith("READ "));
      assert.deepEqual(
        read.map((line) => line.slice("READ ".length)),
        p.toolchains,
      );
      assert.match(said, /^looked$/m);
    }
  });

  test("THREAT-1: stay unreadable although agent.readable names the home and another project", async () => {
    await using p = await planted();
    const ofProject = /neighbour\/\.env|\/\.npmrc$|notes\.txt$|far\/\.env/;
    const known = p.logins.filter((file) => !ofProject.test(file));
    const note = join(p.t.userHome, "notes.txt");
    const said = await p.said(readingLine([...known, note]), {
      readable: [p.t.userHome, p.apart],
    });
    assert.deepEqual(said.trim().split("\n"), [`READ ${note}`, "looked"]);
  });

  test("a file that agent.readable names is readable, and nothing next to it", async () => {
    await using p = await planted();
    const [named, next] = ["notes.txt", "neighbour/.env"].map((name) => join(p.t.userHome, name));
    assert.ok(named && next);
    const said = await p.said(readingLine([named, next]), { readable: ["~/notes.txt"] });
    assert.deepEqual(said.trim().split("\n"), [`READ ${named}`, "looked"]);
  });
});

test("THREAT-1: with its own sandbox off, ours around codex hides logins, other projects and the data directory", {
  skip: (await canNest(process.env)) === null && "sandboxes do not nest here",
}, async () => {
  await using p = await planted({ threadSandbox: "danger-full-access" });
  const project = join(p.apart, ".symphony");
  const secrets = Object.entries(p.t.secrets).flatMap(([name, file]) =>
    name === "login" ? [] : file,
  );
  const hidden = [...p.logins, ...secrets, join(project, "master.key")];
  await mkdir(project);
  await writeFile(join(project, "master.key"), "canary");
  const said = await p.said(readingLine([...hidden, ...p.toolchains]));
  const read = said.split("\n").filter((line) => line.startsWith("READ "));
  assert.deepEqual(
    read.map((line) => line.slice("READ ".length)),
    p.toolchains,
  );
});

test("the toolchains of this machine work at level safe: node, npm with its cache, git, python, cargo", async () => {
  await using p = await planted();
  const { userHome } = p.t;
  const pack = join(p.apart, "pack");
  await mkdir(pack);
  await writeFile(join(pack, "package.json"), '{"name":"kept-pack","version":"1.2.3"}\n');
  const npm = (...args: string[]) => execFileSync("npm", args, { cwd: pack, encoding: "utf8" });
  const [file = ""] = npm("pack", "--silent").trim().split("\n");
  await rm(join(userHome, ".npm"), { recursive: true });
  npm("cache", "add", join(pack, file), "--cache", join(userHome, ".npm"));
  const real = userInfo().homedir;
  const has = (name: string) =>
    (process.env["PATH"] ?? "").split(":").some((dir) => existsSync(join(dir, name)));
  const programs = ["node", "npm", "git", "python3", "cargo"].filter(has);
  const lines = programs.map(
    (name) => `HOME='${real}' ${name} --version >/dev/null && echo "works ${name}"`,
  );
  lines.push(`npm cache ls | grep -q kept-pack && echo "works cache"`);
  lines.push(`node -e 'console.log(\`works \${require("node:os").tmpdir() && "script"}\`)'`);
  lines.push('cat <(echo "works substitution")');
  // Where codex's sandbox has no /proc of its own, its commands see their outer sandbox's: names, and nothing of other processes.
  lines.push(
    `for at in /proc/[0-9]*; do tr '\\0' ' ' < $at/cmdline | grep -q 'codex[" ]*app-[s]erver' && cat $at/environ $at/maps && echo "READ $at"; done 2>/dev/null`,
    "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo WROTE",
  );
  lines.push(`git init -q sub && git -C sub status >/dev/null && echo "works repository"`);
  const said = await p.said(lines.join("\n"));
  const wanted = [...programs, "cache", "script", "substitution", "repository"].map(
    (name) => `works ${name}`,
  );
  assert.deepEqual(said.trim().split("\n"), wanted);
});
