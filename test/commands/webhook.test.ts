import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { makeDataDir } from "../../src/core/store/lock.ts";
import { openLocalIssues } from "../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../src/core/tracker/local/settings.ts";
import { config } from "../support/makers/issue.ts";
import { Served, symphony } from "../support/worlds/symphony.ts";

const secret = "lin_wh_canary_0123456789";

/** A project whose one issue is in a state that is not active. */
async function project(provider: string, env: Readonly<Record<string, string>>) {
  const root = await mkdtemp(join(tmpdir(), "symphony-webhook-"));
  const dataDir = join(root, ".symphony");
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(
    workflowPath,
    `---\ntracker: { kind: local, provider: ${provider}, active_states: [In Progress] }\npolling: { interval_ms: 600000 }\n---\nDo it\n`,
  );
  await makeDataDir(dataDir);
  const local = openLocalIssues(dataDir, localOptions(config().tracker), systemClock);
  local.create({ title: "One", state: "Todo" });
  local.close();
  return {
    root,
    dataDir,
    workflowPath,
    cwd: root,
    env: { HOME: root, ...env },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 5 }),
  };
}

test("webhook test signs with the secret that the workflow names, and the server accepts it", async () => {
  await using place = await project("{ webhook_secret: $MY_HOOK }", { MY_HOOK: secret });
  await using server = await Served.start(place);
  const plain = await symphony(place, "webhook", "test");
  assert.equal(plain.code, 0, plain.stderr);
  assert.match(plain.stderr, /accepted the delivery/);
  const json = await symphony(place, "webhook", "test", "--json");
  assert.deepEqual(JSON.parse(json.stdout), { accepted: true, duplicate: false });
  const events = await symphony(place, "events", "--type", "webhook.received", "--json");
  assert.equal(events.stdout.trim().split("\n").length, 2, events.stdout);
  const features = await server.client.system.runtime();
  assert.equal(features.features["webhooks"], true);
  const shown = [plain, json, events].map(({ stdout, stderr }) => stdout + stderr);
  assert.doesNotMatch(shown.join("") + server.log, /canary/);
});

test("a secret that is stored while the server runs is used at once, and webhook test finds it", async () => {
  await using place = await project("{ webhook_secret: $MY_HOOK }", {});
  await using server = await Served.start(place);
  assert.equal((await symphony(place, "webhook", "test")).code, 1);
  await server.client.secrets.put({ params: { key: "MY_HOOK" }, body: { value: secret } });
  const taken = await symphony(place, "webhook", "test", "--json");
  assert.equal(taken.code, 0, taken.stderr);
  const { features } = await server.client.system.runtime();
  assert.equal(features["webhooks"], true);
  const before = await readFile(join(place.dataDir, "secrets.json"), "utf8");
  await rm(join(place.dataDir, "secrets.key"));
  const keyless = await symphony(place, "webhook", "test");
  assert.equal(keyless.code, 1);
  assert.match(keyless.stderr, /could not be read[^\n]*secrets\.key/);
  assert.match(keyless.stderr, /SYMPHONY_MASTER_KEY/);
  const other = { ...place, env: { ...place.env, MY_HOOK: secret } };
  const own = await symphony(other, "webhook", "test");
  assert.equal(own.code, 0, own.stderr);
  assert.match(own.stderr, /could not be read here/);
  assert.equal(await readFile(join(place.dataDir, "secrets.json"), "utf8"), before);
  assert.ok(!existsSync(join(place.dataDir, "secrets.key")), "reading makes no key");
  const shown = [taken, keyless, own].map(({ stdout, stderr }) => stdout + stderr);
  assert.doesNotMatch(shown.join("") + server.log, /canary/);
});

test("webhook test with another secret is refused, as a delivery by Linear would be", async () => {
  await using place = await project("{}", { LINEAR_WEBHOOK_SECRET: secret });
  await using _server = await Served.start(place);
  const other = { ...place, env: { ...place.env, LINEAR_WEBHOOK_SECRET: "another" } };
  const refused = await symphony(other, "webhook", "test");
  assert.equal(refused.code, 4, refused.stderr);
  assert.match(refused.stderr, /wrong signature/);
  const missing = await symphony(place, "webhook", "test", "LOCAL-9");
  assert.equal(missing.code, 3, missing.stderr);
});

test("webhook test without a secret says which variable to set, and never accepts the secret as an argument", async () => {
  await using place = await project("{}", {});
  await using _server = await Served.start(place);
  const refused = await symphony(place, "webhook", "test", "--json");
  assert.equal(refused.code, 1);
  assert.equal(refused.stdout, "");
  const { error } = JSON.parse(refused.stderr);
  assert.equal(error.code, "webhook_not_configured");
  // The local tracker sends none, so it is not Linear's secret that is missing.
  assert.match(error.message, /the local tracker sends no webhooks/);
  assert.match(error.hint, /--from github/);
  const linear = await symphony(place, "webhook", "test", "--from", "linear");
  assert.match(linear.stderr, /LINEAR_WEBHOOK_SECRET/);
  const help = await symphony(place, "webhook", "test", "--help");
  assert.match(help.stdout, /symphony webhook test ENG-123/);
  assert.doesNotMatch(help.stdout, /--secret/);
});

test("webhook test --from github signs a sample as GitHub does", async () => {
  const hook = "gh_hook_canary_0123456789";
  await using place = await project("{}", { GITHUB_WEBHOOK_SECRET: hook });
  await using server = await Served.start(place);
  const plain = await symphony(place, "webhook", "test", "--from", "github", "--json");
  assert.equal(plain.code, 0, plain.stderr);
  assert.deepEqual(JSON.parse(plain.stdout), { accepted: true, duplicate: false });
  const none = await symphony(place, "webhook", "test", "LOCAL-1", "--from", "github");
  assert.equal(none.code, 7);
  assert.match(none.stderr, /LOCAL-1 has no pull request/);
  const bare = { ...place, env: { HOME: place.root } };
  const missing = await symphony(bare, "webhook", "test", "--from", "github");
  assert.match(
    missing.stderr,
    /GITHUB_WEBHOOK_SECRET, or the variable that delivery\.github\.webhook_secret names/,
  );
  assert.doesNotMatch(plain.stdout + plain.stderr + server.log, /canary/);
});
