// The launcher in bin. "D1" is the row of the desk's cases about an old Node.

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { sameWithinMs } from "../../src/commands/stop.ts";
import { emptyDir } from "../support/worlds/run-symphony.ts";

const onTerminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
const noTerminal =
  spawnSync("python3", ["-c", "import pty, os; os.waitstatus_to_exitcode"]).status === 0
    ? false
    : "needs python3 for a terminal";

const oldNode = `
  Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.1.0" } });
`;
/** Prints its Node and its arguments and exits with 7; with "wait" it waits for SIGTERM first. */
const program = (who: string) => `
  export async function main(argv) {
    const terminated = new Promise((resolve) => process.once("SIGTERM", resolve));
    console.log("${who}", ...argv);
    if (argv[0] !== "wait") return 7;
    const alive = setInterval(() => {}, 1000);
    await terminated;
    clearInterval(alive);
    return 7;
  }
`;

function layout(files: Readonly<Record<string, string>>) {
  const dir = emptyDir();
  const all = { "package.json": `{"type": "module"}`, "old-node.cjs": oldNode, ...files };
  for (const [name, content] of Object.entries(all)) {
    mkdirSync(dirname(join(dir.path, name)), { recursive: true });
    writeFileSync(join(dir.path, name), content);
  }
  mkdirSync(join(dir.path, "bin"));
  copyFileSync("bin/symphony.js", join(dir.path, "bin", "symphony.js"));
  return dir;
}

function start(dir: string, args: readonly string[], flags: readonly string[] = []): ChildProcess {
  return spawn(process.execPath, [...flags, join(dir, "bin", "symphony.js"), ...args], {
    env: { ...process.env, XDG_CACHE_HOME: join(dir, "cache") },
    stdio: ["ignore", "pipe", "pipe"],
    // A separate process group without a terminal, as under a service manager.
    detached: true,
  });
}

async function ended(child: ChildProcess) {
  assert.ok(child.stdout && child.stderr);
  const outputs = [text(child.stdout), text(child.stderr)] as const;
  const [code] = await once(child, "close");
  return { code, stdout: await outputs[0], stderr: await outputs[1] };
}

const checkout = { "src/commands/main.ts": program("source") };
const build = { "dist/commands/main.js": program("build") };

test("sources are preferred to an old build in the checkout; a package without sources runs its build", async () => {
  using both = layout({ ...checkout, ...build });
  assert.deepEqual(await ended(start(both.path, ["a b", "--c"])), {
    code: 7,
    stdout: "source a b --c\n",
    stderr: "",
  });
  using installed = layout(build);
  assert.equal((await ended(start(installed.path, []))).stdout, "build\n");
});

/** Installs a newer Node in the checkout; returns the flags that make the current one look old. */
function underOldNode(dir: string): readonly string[] {
  mkdirSync(join(dir, "node_modules/node/bin"), { recursive: true });
  symlinkSync(process.execPath, join(dir, "node_modules/node/bin/node"));
  return ["--require", join(dir, "old-node.cjs")];
}

test("under an old Node the launcher runs the program with the Node of the checkout, with the same exit code", async () => {
  using dir = layout(checkout);
  const old = underOldNode(dir.path);
  const { code, stdout, stderr } = await ended(start(dir.path, ["state", "--json"], old));
  assert.deepEqual([code, stdout, stderr], [7, "source state --json\n", ""]);
  const waiting = start(dir.path, ["wait"], old);
  const end = ended(waiting);
  await once(waiting.stdout ?? waiting, "data");
  waiting.kill("SIGTERM");
  assert.equal((await end).code, 7);
});

test("D1: under an old Node without another one: found, needed and the one command, also without install scripts", async () => {
  const said = /^symphony: needs Node\.js 24\.15 or later, and this is 20\.1\.0\n {2}next: (.*)\n$/;
  for (const [files, command] of [
    [checkout, /^npm ci --prefix '.*[^/]'$/],
    [build, /^npm install --prefix '.*\/cache\/symphony' node@24$/],
    // What `npm ci --ignore-scripts` leaves: the package without its program.
    [{ ...checkout, "node_modules/node/package.json": "{}" }, /^npm ci --prefix /],
  ] as const) {
    using dir = layout(files);
    const old = ["--require", join(dir.path, "old-node.cjs")];
    const { code, stdout, stderr } = await ended(start(dir.path, ["state"], old));
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, said);
    assert.match(said.exec(stderr)?.[1] ?? "", command);
  }
});

test("D1: the Node that the one command fetches is used by an installed package", async () => {
  using dir = layout(build);
  const fetched = join(dir.path, "cache/symphony/node_modules/node/bin");
  mkdirSync(fetched, { recursive: true });
  symlinkSync(process.execPath, join(fetched, "node"));
  const old = ["--require", join(dir.path, "old-node.cjs")];
  const { code, stdout } = await ended(start(dir.path, ["state"], old));
  assert.deepEqual([code, stdout], [7, "build state\n"]);
});

test("D1: the file in bin has no syntax that Node 12 does not know", () => {
  const text = readFileSync("bin/symphony.js", "utf8");
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*|"[^"\n]*"/g, "");
  // Optional chaining, ??, logical assignment, separators of digits, private names, static imports, await outside of functions.
  const newer = /\?\.(?!\d)|\?\?|&&=|\|\|=|\d_\d|#\w+|^import\b|^await\b|^for await\b/m;
  assert.doesNotMatch(code, newer);
});

test("D1: a package that was not built says so, and what makes a complete one", async () => {
  using dir = layout({});
  const { code, stderr } = await ended(start(dir.path, []));
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^symphony: this copy of it was not built\n {2}next: npm pack in a checkout/,
  );
});

test("D1: npm pack builds, whatever is there", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8"));
  assert.match(scripts.prepack, /\bnpm run (?:--silent )?build$/);
});

/** Stops at the first signal and checks whether a second one arrives; exits with 7 after the first has arrived in all `ways`. */
const stopping = `
  import { aborted, stopSignal } from "${pathToFileURL("src/commands/stop.ts")}";
  export async function main(argv) {
    const alive = setInterval(() => {}, 1000);
    const ways = new Set(argv.filter((way) => way !== "stay"));
    const came = Promise.withResolvers();
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) {
      process.on(name, (_, number) => {
        ways.delete(number === 0 ? "passed" : "direct");
        if (ways.size === 0) came.resolve();
      });
    }
    const stopped = aborted(stopSignal());
    console.log("ready", process.pid);
    await Promise.all([stopped, came.promise]);
    console.log("stopped once");
    if (argv.includes("stay")) await new Promise(() => {});
    clearInterval(alive);
    return 7;
  }
`;

describe("under an old Node, signals", () => {
  function stoppable(...args: readonly string[]) {
    const dir = layout({ "src/commands/main.ts": stopping });
    const child = start(dir.path, args, underOldNode(dir.path));
    const end = ended(child);
    const { pid } = child;
    // Group 0 or 1 would mean other processes too.
    assert.ok(pid !== undefined && pid > 1, "the launcher has started");
    return {
      child,
      end,
      pid,
      /** The next line of output. */
      async said(): Promise<string> {
        const [chunk] = await once(child.stdout ?? child, "data");
        return String(chunk);
      },
      [Symbol.dispose]() {
        // Ending the launcher is enough: the program then stops by itself. The pid is ours only while the launcher is known to run.
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
        dir[Symbol.dispose]();
      },
    };
  }

  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    test(`${signal} to the whole group counts once`, async () => {
      using program = stoppable("direct", "passed");
      await program.said();
      process.kill(-program.pid, signal);
      const { code, stdout } = await program.end;
      assert.deepEqual([code, stdout.split("\n").at(-2)], [7, "stopped once"]);
    });

    test(`${signal} to the launcher alone is passed on`, async () => {
      using program = stoppable("passed");
      await program.said();
      process.kill(program.pid, signal);
      assert.equal((await program.end).code, 7);
    });
  }

  test("SIGTERM to the program alone stops it", async () => {
    using program = stoppable("direct");
    const [, pid] = (await program.said()).split(" ");
    process.kill(Number(pid), "SIGTERM");
    assert.equal((await program.end).code, 7);
  });

  test("a signal to the program and then to its group, as `timeout` sends it, counts once", async () => {
    using program = stoppable("direct", "passed");
    const [, pid] = (await program.said()).split(" ");
    process.kill(Number(pid), "SIGTERM");
    process.kill(-program.pid, "SIGTERM");
    const { code, stdout } = await program.end;
    assert.deepEqual([code, stdout.split("\n").at(-2)], [7, "stopped once"]);
  });

  test("a second signal ends the program at once", async () => {
    using program = stoppable("direct", "passed", "stay");
    await program.said();
    process.kill(-program.pid, "SIGINT");
    await program.said();
    await delay(sameWithinMs + 50);
    process.kill(-program.pid, "SIGINT");
    assert.equal((await program.end).code, 130);
  });

  test("Ctrl-C on a terminal counts once", { skip: noTerminal }, async () => {
    using dir = layout({ "src/commands/main.ts": stopping });
    const flags = underOldNode(dir.path);
    const command = [process.execPath, ...flags, join(dir.path, "bin", "symphony.js")];
    const args = [onTerminal, "ready", "\x03", ...command, "direct", "passed"];
    const { code, stdout } = await ended(
      spawn("python3", args, { stdio: ["ignore", "pipe", "pipe"] }),
    );
    assert.equal(code, 7);
    assert.match(stdout, /stopped once/);
  });

  test("a launcher that is killed stops the program", async () => {
    using program = stoppable("passed");
    await program.said();
    process.kill(program.pid, "SIGKILL");
    // The output ends only after the program has also exited.
    const { stdout } = await program.end;
    assert.match(stdout, /stopped once/);
  });

  test("a program without handlers is ended by the launcher's signal, and so is the launcher", async () => {
    using dir = layout({
      "src/commands/main.ts": `export const main = () => {
        console.log("ready");
        return new Promise(() => setInterval(() => {}, 1000));
      };`,
    });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      rmSync(join(dir.path, "node_modules"), { recursive: true, force: true });
      const child = start(dir.path, [], underOldNode(dir.path));
      await once(child.stdout ?? child, "data");
      child.kill(signal);
      const [code, by] = await once(child, "exit");
      assert.deepEqual([code, by], [null, signal]);
    }
  });
});
