import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { symphonyFile } from "../support/makers/program.ts";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

const canary = "canary-behind-the-prompt";
const terminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
const noPython =
  spawnSync("python3", ["-c", "import pty, os; os.waitstatus_to_exitcode"]).status === 0
    ? false
    : "needs python3 for a terminal";

test("secrets rotate on a running server is audited, and the next start can open everything", async () => {
  await using project = await freshProject();
  const at = ["--data-dir", join(project.dir, ".symphony")];
  {
    await using server = await openReal(project.dir);
    await server.core.secrets.put("A", canary);
    const done = await symphony(["secrets", "rotate", "--json", ...at]);
    assert.equal(done.code, 0, done.stderr);
    const {
      key_id: now,
      previous_key_id: before,
      secrets,
      rotated_at: when,
    } = JSON.parse(done.stdout);
    assert.deepEqual([secrets, now === before, Number.isNaN(Date.parse(when))], [1, false, false]);
    const [entry] = server.core.history.auditPage({ limit: 1, offset: 0 }).entries;
    assert.deepEqual([entry?.action, entry?.actor, entry?.outcome], ["key.rotate", "cli", "ok"]);
    const next = await symphony(["secrets", "rotate", ...at]);
    assert.match(
      next.stderr,
      /1 secret is sealed with the new key [0-9a-f]{16}; the key [0-9a-f]{16}/,
    );
    assert.ok(next.stderr.includes(now));
    assert.equal(server.core.secrets.lookup("A"), canary);
    assert.equal((await server.ask("/api/v1/secrets-key/rotate")).status, 405);
  }
  await using again = await openReal(project.dir);
  assert.equal(again.core.secrets.lookup("A"), canary);
});

test("without a secret there is no key to rotate", async () => {
  await using project = await freshProject();
  const none = await symphony(["secrets", "rotate"], { cwd: project.dir });
  assert.equal(none.code, 3);
  assert.match(none.stderr, /no key yet/);
});

test("secrets rotate works without a server: with a key file, and from one environment key to another", async () => {
  await using project = await freshProject();
  const secrets = (args: readonly string[], env: Record<string, string> = {}, input = "") =>
    symphony(["secrets", ...args], { cwd: project.dir, env, input });
  const keys = { old: "a passphrase of the old days", next: "a passphrase of days to come" };
  const master = { SYMPHONY_MASTER_KEY: keys.old };
  assert.equal((await secrets(["add", "A"], master, canary)).code, 0);
  const unsaid = await secrets(["rotate"], master);
  assert.equal(unsaid.code, 6);
  assert.match(unsaid.stderr, /SYMPHONY_MASTER_KEY_NEXT/);
  const both = { ...master, SYMPHONY_MASTER_KEY_NEXT: keys.next };
  assert.equal((await secrets(["rotate"], both)).code, 0);
  assert.equal((await secrets(["list"], master)).code, 4);
  assert.equal((await secrets(["list"], { SYMPHONY_MASTER_KEY: keys.next })).stdout, "A\n");
  const log = await symphony(["audit", "verify", "--json"], { cwd: project.dir });
  assert.deepEqual([JSON.parse(log.stdout).ok, JSON.parse(log.stdout).entries], [true, 3]);
});

test("secrets reset needs a confirmation and no running server; afterwards a new key can be used", async () => {
  await using project = await freshProject();
  const dataDir = join(project.dir, ".symphony");
  const run = (args: readonly string[], input = "") =>
    symphony(["secrets", ...args], { cwd: project.dir, input });
  assert.equal((await run(["add", "A"], canary)).code, 0);
  {
    await using _server = await openReal(project.dir);
    assert.equal((await run(["reset", "--yes"])).code, 7);
  }
  rmSync(join(dataDir, "secrets.key"));
  const lost = await run(["list"]);
  assert.equal(lost.code, 4);
  assert.match(lost.stderr, /symphony secrets reset --yes/);
  const before = readdirSync(dataDir);
  assert.equal((await run(["reset"])).code, 6);
  assert.deepEqual(readdirSync(dataDir), before);
  const done = await run(["reset", "--yes", "--json"]);
  assert.equal(done.code, 0, done.stderr);
  assert.match(JSON.parse(done.stdout).moved[0], /^secrets\.json\.bak\.reset-/);
  assert.equal((await run(["list"])).stdout, "");
  assert.equal((await run(["add", "A"], canary)).code, 0);
  assert.match((await run(["reset", "--yes"])).stderr, /Moved aside/);
  assert.match((await run(["reset", "--yes"])).stderr, /There are no secrets/);
});

/** What a person sees on a terminal. */
async function typed(
  { prompt, answer, args }: { prompt: string; answer: string; args: readonly string[] },
  cwd: string,
) {
  const child = spawn(
    "python3",
    [terminal, prompt, answer, process.execPath, symphonyFile, ...args],
    {
      cwd,
      env: { PATH: process.env["PATH"], HOME: cwd, TERM: "xterm" },
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let shown = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    shown += chunk;
  });
  const [code] = await once(child, "close");
  return { code, shown };
}

test("secrets add asks on a terminal and does not echo the typed value", {
  skip: noPython,
}, async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const args = ["secrets", "add", "LINEAR_API_KEY"];
  const prompted = await typed({ prompt: "Value of", answer: canary, args }, project.dir);
  assert.equal(prompted.code, 0, prompted.shown);
  assert.match(prompted.shown, /Value of LINEAR_API_KEY/);
  assert.match(prompted.shown, /is stored/);
  assert.ok(!prompted.shown.includes(canary));
  for (let end = 3; end <= canary.length; end++)
    assert.ok(!prompted.shown.includes(canary.slice(0, end)));
  // One mark for each character would show the length of the value.
  assert.doesNotMatch(prompted.shown, /\*{2,}/);
  assert.equal(server.core.secrets.lookup("LINEAR_API_KEY"), canary);
});

test("with --no-input or --json a terminal gets no question, and the command fails", {
  skip: noPython,
}, async () => {
  await using project = await freshProject();
  for (const option of ["--no-input", "--json"]) {
    const args = ["secrets", "add", "A", option];
    const refused = await typed({ prompt: "Value of", answer: canary, args }, project.dir);
    assert.equal(refused.code, 6, refused.shown);
    assert.match(refused.shown, /pipe it in/);
  }
});
