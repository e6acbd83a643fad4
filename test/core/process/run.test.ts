import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, realpathSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import {
  type CommandOptions,
  CommandSeries,
  Output,
  runCommand,
} from "../../../src/core/process/run.ts";
import { isOfRun, liveProcesses } from "../../../src/core/process/table.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const path = process.env["PATH"] ?? "";

function order(t: TestContext, line: string, more: Partial<CommandOptions> = {}): CommandOptions {
  return {
    argv: ["bash", "-c", line],
    cwd: realpathSync(temporaryDir(t)),
    env: { PATH: path, SYMPHONY_RUN_ID: `test/${process.pid}` },
    timeoutMs: 60_000,
    outputBytes: 10_000,
    ...more,
  };
}

/** Waits for the file that a script writes while it runs, and returns the pids in it. */
async function pidsIn(file: string): Promise<number[]> {
  for (;;) {
    const text = await readFile(file, "utf8").catch(() => "");
    if (text.endsWith("\n")) return text.trim().split(/\s+/).map(Number);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** The pids that are alive; a zombie that was not reaped does not count. */
async function alive(pids: readonly number[]): Promise<number[]> {
  const live = new Set((await liveProcesses()).map(({ pid }) => pid));
  return pids.filter((pid) => live.has(pid));
}

/** One child in the group, one in a session of its own, one there without the pipes; all their pids in `pids`. */
const tree = `sleep 300 & a=$!
setsid sleep 300 & b=$!
setsid sleep 300 </dev/null >/dev/null 2>&1 & c=$!
sleep 0.1
echo $a $b $c > pids`;

/** A single program and one in a series: the two ways to start one. */
async function eachWay(work: (series: CommandSeries | null) => Promise<void>): Promise<void> {
  await work(null);
  await using series = await CommandSeries.begin("test");
  await work(series);
}

describe("a program that runs to its end", () => {
  test("its environment is the given one and a cookie of its own, and its stdin is empty", async (t) => {
    process.env["CANARY"] = "inherited";
    await eachWay(async (series) => {
      const env = { PATH: path, GIVEN: "1", UNSET: undefined, SYMPHONY_RUN_ID: "sha/att" };
      const call = order(t, "cat; env -0", { env, name: "probe", ...(series && { series }) });
      const { output, exitCode } = await runCommand(call);
      const seen = Object.fromEntries(output.split("\0").map((entry) => entry.split("=")));
      assert.equal(exitCode, 0);
      assert.deepEqual(
        Object.keys(seen).filter((name) => !["", "PWD", "SHLVL", "_", "OLDPWD"].includes(name)),
        Object.keys(seen).filter((name) => ["PATH", "GIVEN", "SYMPHONY_RUN_ID"].includes(name)),
      );
      const cookie =
        series === null ? /^sha\/att\/probe-[0-9a-f-]{36}$/ : /^test-[0-9a-f-]{36}\/1$/;
      assert.match(seen["SYMPHONY_RUN_ID"] ?? "", cookie);
    });
  });

  test("status, signal and both streams are returned, merged in order or separately", async (t) => {
    await eachWay(async (series) => {
      const more = series ? { series } : {};
      const both = await runCommand(order(t, "echo a; echo b >&2; exit 17", more));
      assert.deepEqual([both.exitCode, both.output, both.errors], [17, "a\nb\n", ""]);
      const apart = order(t, "echo a; echo b >&2; kill -9 $$", { errorBytes: 100, ...more });
      const { exitCode, signal, output, errors, stoppedFor } = await runCommand(apart);
      assert.deepEqual([exitCode, signal, output, errors], [null, "SIGKILL", "a\n", "b\n"]);
      assert.equal(stoppedFor, null);
    });
  });

  test("it reads its input as bytes; a program that reads none of it is not disturbed", async (t) => {
    const input = Buffer.from("a\xffb", "latin1");
    await eachWay(async (series) => {
      const more = { input, encoding: "latin1", ...(series && { series }) } as const;
      const argv = ["cat"];
      assert.equal((await runCommand(order(t, "", { argv, ...more }))).output, "a\xffb");
      const large = { ...more, input: Buffer.alloc(1_000_000) };
      assert.equal((await runCommand(order(t, "exec <&-; exit 3", large))).exitCode, 3);
    });
  });

  test("a program that cannot be started gives the reason, for every kind of failure", async (t) => {
    await eachWay(async (series) => {
      const more = series ? { series } : {};
      const reasons = [
        { argv: ["no-such-program"] },
        { cwd: "/nowhere/at/all" },
        { argv: ["echo", "a\0b"] },
        { argv: ["echo", "x".repeat(3_000_000)] },
      ];
      for (const reason of reasons) {
        const end = await runCommand(order(t, "true", { ...reason, ...more }));
        assert.deepEqual([end.exitCode, end.stoppedFor], [null, null]);
        assert.ok(end.failure instanceof Error);
        assert.match(end.output, /^the command could not be started: \S/);
      }
    });
  });
});

describe("the end of a program", () => {
  test("FAULT-7: processes that it leaves behind end with it, in its group or not", async (t) => {
    const left = order(t, tree);
    assert.equal((await runCommand(left)).exitCode, 0);
    assert.deepEqual(await alive(await pidsIn(join(left.cwd, "pids"))), []);
  });

  test("FAULT-7: in a series the group ends with the call, and other processes end with the series", async (t) => {
    const cwd = realpathSync(temporaryDir(t));
    const series = await CommandSeries.begin("test");
    assert.equal(
      (await runCommand(order(t, "sleep 300 & echo $! > one", { cwd, series }))).exitCode,
      0,
    );
    assert.deepEqual(await alive(await pidsIn(join(cwd, "one"))), []);
    const away = "setsid sleep 300 </dev/null >/dev/null 2>&1 & sleep 0.1; echo $! > pids";
    await runCommand(order(t, away, { cwd, series }));
    const pids = await pidsIn(join(cwd, "pids"));
    assert.deepEqual(await alive(pids), pids);
    await series[Symbol.asyncDispose]();
    assert.deepEqual(await alive(pids), []);
  });

  test("FAULT-7: the time limit and an abort end the whole tree", async (t) => {
    await eachWay(async (series) => {
      const clock = new FakeClock();
      const abort = new AbortController();
      const more = { clock, signal: abort.signal, ...(series && { series }) };
      const late = order(t, `${tree}; wait`, { ...more, timeoutMs: 5_000 });
      const timed = runCommand(late);
      const first = await pidsIn(join(late.cwd, "pids"));
      clock.advance(4_999);
      assert.deepEqual(await alive(first), first);
      clock.advance(1);
      assert.deepEqual([(await timed).exitCode, (await timed).stoppedFor], [null, "time"]);
      assert.deepEqual(await alive(first), []);
      const unwanted = order(t, `${tree}; wait`, more);
      const aborted = runCommand(unwanted);
      const second = await pidsIn(join(unwanted.cwd, "pids"));
      abort.abort();
      assert.equal((await aborted).stoppedFor, "interrupt");
      assert.deepEqual(await alive(second), []);
      const never = order(t, "touch started", more);
      assert.equal((await runCommand(never)).stoppedFor, "interrupt");
      assert.equal(existsSync(join(never.cwd, "started")), false);
    });
  });

  test("other processes with a cookie of the same run or series are not killed", async (t) => {
    const { env } = order(t, "");
    const neighbour = spawn("sleep", ["300"], { env, stdio: "ignore" });
    await once(neighbour, "spawn");
    await runCommand(order(t, "true"));
    assert.deepEqual(await alive([neighbour.pid ?? 0]), [neighbour.pid]);
    neighbour.kill("SIGKILL");
    await using series = await CommandSeries.begin("test");
    const both = order(t, "sleep 1; echo done", { series });
    const [slow, ended] = await Promise.all([
      runCommand(both),
      runCommand(order(t, "sleep 300", { series, timeoutMs: 50 })),
    ]);
    assert.deepEqual([slow.output, slow.stoppedFor, ended.stoppedFor], ["done\n", null, "time"]);
  });

  test("it ends with the process that started it", async (t) => {
    const cwd = realpathSync(temporaryDir(t));
    const source = new URL("../../../src/core/process/run.ts", import.meta.url).href;
    const text = `import { runCommand } from ${JSON.stringify(source)};
      import { existsSync } from "node:fs";
      void runCommand({ argv: ["bash", "-c", "echo $$ > pids; sleep 300"], cwd: ".",
        env: process.env, timeoutMs: 60_000, outputBytes: 10 });
      setInterval(() => existsSync("pids") && process.exit(0), 10);`;
    await writeFile(join(cwd, "parent.ts"), text);
    await once(spawn(process.execPath, ["parent.ts"], { cwd, stdio: "inherit" }), "exit");
    const pids = await pidsIn(join(cwd, "pids"));
    while ((await alive(pids)).length > 0) await new Promise((done) => setTimeout(done, 10));
  });

  test("output over its limit ends the program, and the beginning is kept", async (t) => {
    await eachWay(async (series) => {
      const bound = { outputBytes: 10, keep: "beginning", overflow: "end" } as const;
      const more = { ...bound, errorBytes: 5, ...(series && { series }) };
      const end = await runCommand(order(t, "printf 123456789é0; sleep 300", more));
      assert.deepEqual([end.output, end.stoppedFor], ["123456789", "output"]);
      const quick = await runCommand(order(t, "printf 12345678901", more));
      assert.deepEqual([quick.output, quick.stoppedFor], ["1234567890", "output"]);
      const exact = await runCommand(order(t, "printf 1234567890", more));
      assert.deepEqual([exact.output, exact.stoppedFor], ["1234567890", null]);
      const loud = await runCommand(order(t, "printf 12345678901 >&2; sleep 300", more));
      assert.equal(loud.stoppedFor, "output");
      assert.equal(loud.errors, "[6 bytes left out] 78901");
    });
  });
});

describe("which part of an output is kept", () => {
  const kept = (text: string, ...[maxBytes, keep]: ConstructorParameters<typeof Output>) => {
    const texts = [1, 7, 1_000, 100_000].map((size) => {
      const output = new Output(maxBytes, keep);
      const all = Buffer.from(text);
      for (let at = 0; at < all.length; at += size) output.push(all.subarray(at, at + size));
      return output.text();
    });
    assert.equal(new Set(texts).size, 1, "however it comes");
    return texts[0];
  };
  const long = `${"a".repeat(50_000)}END`;

  test("of long output the beginning, the end, or both are kept", () => {
    assert.equal(kept(long, 20, "ends"), `aaaaaaaaaa\n[... 49983 bytes left out ...]\naaaaaaaEND`);
    assert.equal(kept(long, 5, "end"), "[49998 bytes left out] aaEND");
    assert.equal(kept(long, 5, "beginning"), "aaaaa");
    for (const keep of ["ends", "end", "beginning"] as const) {
      assert.equal(kept("äöü ßßß", 20, keep), "äöü ßßß");
    }
  });

  test("truncation never splits a character", () => {
    assert.equal(kept("€€€€", 6, "end"), "[6 bytes left out] €€");
    for (const bytes of [7, 8]) {
      assert.equal(kept("€€€€", bytes, "end"), `[${12 - bytes} bytes left out] €€`);
      assert.equal(kept("€€€€", bytes, "beginning"), "€€");
      assert.equal(kept("😀😀😀", bytes - 2, "beginning"), "😀");
    }
  });

  test("in output that is not text each byte is a character", () => {
    const output = new Output(2, "beginning");
    output.push(Buffer.from([0xe2, 0x82, 0xac]));
    assert.equal(output.text("latin1"), "\xe2\x82");
    assert.equal(output.total, 3);
  });
});

test("a program belongs to a run by the whole cookie or by its leading parts", () => {
  for (const found of ["a/b", "a/b/hook-1", "a/b/hook-1/git-2"]) assert.ok(isOfRun(found, "a/b"));
  for (const found of ["a/bc", "a", "x/a/b", null]) assert.ok(!isOfRun(found, "a/b"));
});
