// How many files a command and a start of the server load, in a checkout: each costs time, whatever the machine does.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryDir } from "../support/makers/storage.ts";

const bin = fileURLToPath(new URL("../../bin/symphony.js", import.meta.url));
/** Loaded before everything else. A thread counts for itself, and says nothing. */
const counter = `import { registerHooks } from "node:module";
  import { writeSync } from "node:fs";
  import { isMainThread } from "node:worker_threads";
  let files = 0;
  const packages = new Set();
  registerHooks({ load(url, context, next) {
    files += Number(url.startsWith("file:"));
    packages.add(/.*node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1]);
    return next(url, context);
  } });
  const tell = () => writeSync(2, "loaded " + files + " files, of " + [...packages].sort().join(" ") + "\\n");
  if (isMainThread) process.on("exit", tell);`;
const preload = `--import=data:text/javascript,${encodeURIComponent(counter)}`;

interface Ran {
  readonly files: number;
  /** The third-party packages among them. */
  readonly packages: readonly string[];
  readonly said: string;
}

/** Ends the program with SIGTERM once it says `until`. */
async function loadedBy(args: readonly string[], dir: string, until?: string): Promise<Ran> {
  const child = spawn(process.execPath, [preload, bin, ...args], {
    cwd: dir,
    env: { PATH: process.env["PATH"], HOME: dir },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const lines: string[] = [];
  createInterface(child.stderr).on("line", (line) => {
    lines.push(line);
    if (until !== undefined && line.includes(until)) child.kill("SIGTERM");
  });
  await once(child, "close");
  const said = lines.join("\n");
  const [, files, packages = ""] = /^loaded (\d+) files, of (.*)$/m.exec(said) ?? [];
  return { files: Number(files), packages: packages.split(" "), said };
}

test("commands of a client load few files", async (t) => {
  const dir = temporaryDir(t);
  const nowhere = ["--url", "http://127.0.0.1:9"];
  for (const { args, most } of [
    { args: ["--version"], most: 18 },
    { args: ["--help"], most: 19 },
    { args: ["state", "--json", ...nowhere], most: 19 },
    { args: ["issue", "list", "--json", ...nowhere], most: 24 },
  ]) {
    const { files, said } = await loadedBy(args, dir);
    assert.ok(files > 0 && files <= most, `${args.join(" ")}: ${files} files\n${said}`);
  }
});

test("a server loads neither an agent's nor a tracker's library before it needs it", async (t) => {
  const dir = temporaryDir(t);
  const settings = "tracker: { kind: local }\nhost: { min_memory: 0, max_load: 0 }";
  writeFileSync(
    join(dir, "WORKFLOW.md"),
    `---\n${settings}\ncodex: { command: sleep 600 }\n---\nWork\n`,
  );
  const { files, packages, said } = await loadedBy(["serve", "--port", "0"], dir, "server.started");
  assert.ok(files > 0 && files <= 1_000, `${files} files\n${said}`);
  const lazy =
    /^(openai|ws|bullmq|ioredis|pg|pg-[^/]*|eventsource|ora|chalk|koa2-swagger-ui|swagger.*|@(linear|octokit|modelcontextprotocol|agentclientprotocol|inquirer)\/.*)$/;
  assert.deepEqual(
    packages.filter((name) => lazy.test(name)),
    [],
  );
});
