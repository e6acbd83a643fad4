import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

const canary = "canary-of-the-terminal";

test("secrets add reads stdin and never an argument; list shows names; remove suggests a similar name", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const secrets = (args: readonly string[], input?: string) =>
    symphony(["secrets", ...args, "--url", server.url], { ...(input && { input }) });
  const added = await secrets(["add", "LINEAR_API_KEY"], `${canary}\n`);
  assert.deepEqual([added.code, added.stdout], [0, ""]);
  assert.match(added.stderr, /names it as \$LINEAR_API_KEY/);
  assert.equal(server.core.secrets.lookup("LINEAR_API_KEY"), canary);
  const json = await secrets(["add", "B", "--json"], "value");
  assert.deepEqual(Object.keys(JSON.parse(json.stdout)), ["key", "updated_at"]);
  assert.equal((await secrets(["list"])).stdout, "B\nLINEAR_API_KEY\n");
  assert.deepEqual(JSON.parse((await secrets(["list", "--json"])).stdout), {
    keys: ["B", "LINEAR_API_KEY"],
  });
  const argument = await secrets(["add", "A", canary]);
  assert.equal(argument.code, 2);
  assert.ok(!argument.stderr.includes(canary));
  const misplaced = await secrets(["add", "lin-api-canary"], "x");
  assert.equal(misplaced.code, 2);
  assert.ok(!misplaced.stderr.includes("lin-api-canary"));
  assert.equal((await secrets(["add", "EMPTY"])).code, 2);
  const slip = await secrets(["remove", "LINEAR_API_KY"]);
  assert.equal(slip.code, 3);
  assert.match(slip.stderr, /did you mean LINEAR_API_KEY\?/);
  assert.equal((await secrets(["remove", "B"])).code, 0);
  assert.deepEqual(server.core.secrets.names(), ["LINEAR_API_KEY"]);
});

test("without a server the command uses the project's store, and a server started later reads it", async () => {
  await using project = await freshProject();
  const secrets = (args: readonly string[], input?: string) =>
    symphony(["secrets", ...args], { cwd: project.dir, ...(input && { input }) });
  const added = await secrets(["add", "A"], canary);
  assert.deepEqual([added.code, added.stdout], [0, ""]);
  assert.match(added.stderr, /No server runs here/);
  assert.equal((await secrets(["list"])).stdout, "A\n");
  assert.equal((await secrets(["remove", "B"])).code, 3);
  const dataDir = join(project.dir, ".symphony");
  for (const name of readdirSync(dataDir)) {
    assert.ok(!readFileSync(join(dataDir, name), "latin1").includes(canary), name);
  }
  {
    await using server = await openReal(project.dir);
    assert.equal(server.core.secrets.lookup("A"), canary);
  }
  await chmod(join(dataDir, "secrets.key"), 0o644);
  const refused = await secrets(["list"]);
  assert.equal(refused.code, 4);
  assert.match(refused.stderr, /can be read by other users/);
  const serve = await symphony(["serve", "--port", "0"], { cwd: project.dir });
  assert.equal(serve.code, 4);
});

test("a value that no header and no environment can carry is refused, with a server and without one, and nothing is stored", async () => {
  await using project = await freshProject();
  const add = (input: string, url: readonly string[] = []) =>
    symphony(["secrets", "add", "A", ...url], { cwd: project.dir, input });
  const faults = [
    [`${canary}\0x`, /NUL byte/],
    [`\uFEFF${canary}`, /byte order mark/],
    [canary.repeat(4_000), /over 65536 bytes/],
  ] as const;
  for (const [value, why] of faults) {
    const { code, stderr } = await add(value);
    assert.equal(code, 2);
    assert.match(stderr, why);
    assert.ok(!stderr.includes(canary));
  }
  await using server = await openReal(project.dir);
  for (const [value, why] of faults) {
    const { code, stderr } = await add(value, ["--url", server.url]);
    assert.equal(code, 2);
    assert.match(stderr, why);
    assert.ok(!stderr.includes(canary));
  }
  assert.deepEqual(server.core.secrets.names(), []);
});
