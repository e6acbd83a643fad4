import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { emptyDir } from "../support/run-symphony.ts";

const oldNode = `
  Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.1.0" } });
`;
/** Says who runs it with which arguments, and ends with 7; "wait" lets it wait for SIGTERM first. */
const program = (who: string) => `
  export async function main(argv) {
    const told = new Promise((resolve) => process.once("SIGTERM", resolve));
    console.log("${who}", ...argv);
    if (argv[0] !== "wait") return 7;
    const alive = setInterval(() => {}, 1000);
    await told;
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

test("sources win over a build left in the checkout; a package without sources runs its build", async () => {
  using both = layout({ ...checkout, ...build });
  assert.deepEqual(await ended(start(both.path, ["a b", "--c"])), {
    code: 7,
    stdout: "source a b --c\n",
    stderr: "",
  });
  using installed = layout(build);
  assert.equal((await ended(start(installed.path, []))).stdout, "build\n");
});

test("under an old Node it runs itself with the one in the checkout, and ends alike", async () => {
  using dir = layout(checkout);
  mkdirSync(join(dir.path, "node_modules/node/bin"), { recursive: true });
  symlinkSync(process.execPath, join(dir.path, "node_modules/node/bin/node"));
  const old = ["--require", join(dir.path, "old-node.cjs")];
  const { code, stdout, stderr } = await ended(start(dir.path, ["state", "--json"], old));
  assert.deepEqual([code, stdout, stderr], [7, "source state --json\n", ""]);
  const waiting = start(dir.path, ["wait"], old);
  const end = ended(waiting);
  await once(waiting.stdout ?? waiting, "data");
  waiting.kill("SIGTERM");
  assert.equal((await end).code, 7);
});

test("under an old Node without another one it says what it needs, in one line", async () => {
  using dir = layout(checkout);
  const old = ["--require", join(dir.path, "old-node.cjs")];
  const { code, stdout, stderr } = await ended(start(dir.path, [], old));
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(stderr, /^symphony: needs Node\.js 24\.15 or later, and this is 20\.1\.0\..*\n$/);
});
