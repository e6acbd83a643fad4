// docs/tutorial.md, typed word for word in a shell, with the built-in agent and a scripted provider of models.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { modelServer } from "../support/fakes/model-server.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually } from "../support/worlds/symphony.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tutorial = readFileSync(join(root, "docs/tutorial.md"), "utf8");

const edits = [
  `printf 'echo "Hello, \${1:-world}!"\\n' > greet.sh`,
  // It is running until the reader has seen that.
  `until [ -e go ]; do sleep 0.1; done; rm go; printf '# The argument is a name.\\necho "Hello, \${1:-world}!"\\n' > greet.sh`,
];

test("the tutorial leads from a new repository to a merged branch, each command as it stands", async (t) => {
  await using provider = await modelServer(
    edits.flatMap((command) => [
      { calls: [{ name: "shell", args: { command } }] },
      { text: "greet.sh greets by name." },
    ]),
  );
  const dir = temporaryDir(t);
  await using reader = new Reader(dir, provider.url);
  for (const block of blocks()) {
    for (const line of block.trimEnd().split("\n")) {
      if (line === "symphony serve") await reader.serve(line);
      else await reader.type(line);
      if (line.includes("--for running")) reader.release();
    }
  }
  const clone = join(dir, "greeter");
  const greeting = await reader.type("sh greet.sh Ada");
  assert.equal(greeting, "Hello, Ada!\n");
  assert.match(readFileSync(join(clone, "greet.sh"), "utf8"), /^# The argument/);
  assert.match(JSON.stringify(provider.asked.at(-1)?.body), /A comment should say what it is/);
});

/** The blocks of commands in their order, without those that a comment before them takes out. */
function blocks(): readonly string[] {
  const found = [...tutorial.matchAll(/(<!-- not run[^\n]*-->\n)?```sh\n(.*?)```/gs)];
  const run = found.filter(([, mark]) => mark === undefined).map(([, , block = ""]) => block);
  assert.ok(run.length >= 8 && found.length === run.length + 1);
  return run;
}

class Reader implements AsyncDisposable {
  #dir: string;
  readonly #home: string;
  readonly #env: Readonly<Record<string, string>>;
  #server: ChildProcess | null = null;

  constructor(dir: string, url: string) {
    const bin = join(dir, "bin");
    this.#home = join(dir, "home");
    mkdirSync(bin);
    mkdirSync(this.#home);
    symlinkSync(process.execPath, join(bin, "node"));
    symlinkSync(join(root, "bin/symphony.js"), join(bin, "symphony"));
    this.#dir = dir;
    this.#env = {
      ...{ HOME: this.#home, PATH: `${bin}:/usr/local/bin:/usr/bin:/bin`, LANG: "C.UTF-8" },
      ...{ OPENAI_API_KEY: "sk-test-0123456789", OPENAI_BASE_URL: url },
      ...{ GIT_AUTHOR_NAME: "Ada", GIT_AUTHOR_EMAIL: "ada@example.org" },
      ...{ GIT_COMMITTER_NAME: "Ada", GIT_COMMITTER_EMAIL: "ada@example.org" },
      // The machine of a test may be busy, and its port 4000 taken.
      ...{ SYMPHONY_HOST__MIN_MEMORY: "0", SYMPHONY_HOST__MAX_LOAD: "0" },
      ...{ SYMPHONY_STORAGE__MIN_FREE: "0", SYMPHONY_SERVER__PORT: "0" },
      ...{ SYMPHONY_POLLING__INTERVAL_MS: "1000", SYMPHONY_DELIVERY__POLL_INTERVAL_MS: "1000" },
    };
  }

  /** Resolves with what it printed; one that fails ends the test. */
  async type(line: string): Promise<string> {
    const shell = ["-e", "-c", `${line}\npwd >&3\n`];
    const child = spawn("bash", shell, {
      ...{ cwd: this.#dir, env: this.#env, stdio: ["ignore", "pipe", "pipe", "pipe"] },
    });
    const [out, err, where] = await Promise.all(
      [child.stdout, child.stderr, child.stdio[3]].map((stream) => textOf(stream)),
    );
    if (child.exitCode === null) await once(child, "exit");
    assert.equal(child.exitCode, 0, `${line}\n${out}${err}\n${this.#log}`);
    this.#dir = where?.trim() ?? this.#dir;
    return out ?? "";
  }

  #log = "";

  /** In a second terminal. */
  async serve(line: string): Promise<void> {
    const child = spawn("bash", ["-c", `exec ${line}`], {
      ...{ cwd: this.#dir, env: this.#env, stdio: ["ignore", "ignore", "pipe"] },
    });
    this.#server = child;
    child.stderr.setEncoding("utf8").on("data", (part) => {
      this.#log += part;
    });
    await eventually("the server answers", async () => {
      assert.equal(child.exitCode, null, this.#log);
      return existsSync(join(this.#dir, ".symphony/runtime.json"));
    });
  }

  /** Lets the second turn of the agent edit. */
  release(): void {
    const [workspace] = globSync(".symphony/workspaces/*/LOCAL-1", { cwd: this.#home });
    assert.ok(workspace !== undefined);
    writeFileSync(join(this.#home, workspace, "go"), "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server === null || this.#server.exitCode !== null) return;
    this.#server.kill("SIGINT");
    await once(this.#server, "exit");
  }
}

async function textOf(stream: unknown): Promise<string> {
  assert.ok(stream instanceof Readable);
  return (await stream.setEncoding("utf8").toArray()).join("");
}
