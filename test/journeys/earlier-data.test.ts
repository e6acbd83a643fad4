import assert from "node:assert/strict";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventually, type Finished, Served, symphony } from "../support/worlds/symphony.ts";

const fixture = fileURLToPath(new URL("../fixtures/data/", import.meta.url));

/** A copy of the earlier directory, with a workflow that starts no further attempts. */
async function earlierData(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), "symphony-earlier-"));
  t.after(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
  const dataDir = join(root, ".symphony");
  await mkdir(dataDir, { mode: 0o700 });
  for (const name of await readdir(fixture)) {
    if (name === "README.md") continue;
    await cp(join(fixture, name), join(dataDir, name));
    await chmod(join(dataDir, name), 0o600);
  }
  const workflowPath = join(root, "WORKFLOW.md");
  const settings = [
    "tracker: { kind: local, provider: { prefix: DATA } }",
    `workspace: { root: ${join(root, "workspaces")} }`,
    "agent: { kind: command }",
    "command: { line: sleep 600, output: text }",
  ];
  await writeFile(workflowPath, `---\n${settings.join("\n")}\n---\nDo {{ issue.identifier }}\n`);
  return { cwd: root, dataDir, workflowPath, env: { HOME: root } };
}

const printed = ({ code, stdout, stderr }: Finished) => {
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
};

/** The number of the newest event; events are numbered without gaps. */
function lastSeqIn(file: string): number {
  const db = new DatabaseSync(file);
  const row = db.prepare("SELECT max(seq) AS last FROM events").get();
  db.close();
  return Number(row?.["last"]);
}

test("the data of an earlier release opens, and nothing is lost", async (t) => {
  const place = await earlierData(t);
  const last = lastSeqIn(join(place.dataDir, "history.db"));
  assert.ok(last > 40, String(last));
  const before = printed(await symphony(place, "audit", "verify", "--json"));
  await using server = await Served.start(place);
  const { client } = server;

  await eventually("the first poll is over", async () => {
    const { polling } = await client.system.state({});
    return polling.last_poll_at !== null;
  });
  const state = await client.system.state({});
  assert.deepEqual(state.held.map((row) => [row.issue_identifier, row.reason]).sort(), [
    ["DATA-4", "aborted: wrong branch"],
    ["DATA-6", "held by an operator"],
  ]);
  assert.deepEqual(
    state.failed.map((row) => [row.issue_identifier, row.reason]),
    [["DATA-3", "retries used up (agent.max_retries 1)"]],
  );
  const completed = state.completed.map((row) => [row.issue_identifier, row.tokens?.total_tokens]);
  assert.deepEqual(completed.sort(), [
    ["DATA-1", 1280],
    ["DATA-2", 0],
  ]);
  assert.equal(state.codex_totals.total_tokens >= 2_240, true);

  const statuses = async (id: string) =>
    (await client.issues.attempts({ params: { id } })).attempts.map(({ status }) => status);
  assert.deepEqual(await statuses("DATA-1"), ["succeeded"]);
  assert.deepEqual(await statuses("DATA-3"), ["failed", "failed"]);
  assert.deepEqual(await statuses("DATA-4"), ["canceled"]);
  assert.equal((await statuses("DATA-5")).at(-1), "failed");
  assert.equal((await statuses("DATA-7")).at(-1), "interrupted");

  const chosen = await client.issues.detail({ params: { id: "DATA-7" } });
  assert.equal(chosen.overrides.model, "some-model");
  assert.equal(chosen.overrides.template_id?.startsWith("tpl_"), true);
  const all = (await symphony(place, "events", "--since", "0", "--json")).stdout.trim().split("\n");
  const kept = all.map((line) => JSON.parse(line)).filter(({ seq }) => seq <= last);
  assert.equal(kept.length, last, "every event is there");
  assert.equal(kept[0].type, "server.started");
  assert.ok(
    (await server.events("DATA-1")).some(({ message }) => /greeting is there/.test(message)),
  );

  const { issues } = await client.issues.list({ query: { limit: 50 } });
  assert.deepEqual(
    issues.map(({ identifier }) => identifier).sort(),
    [1, 2, 3, 4, 5, 6, 7].map((n) => `DATA-${n}`),
  );
  const { config } = await client.config.show();
  assert.equal(JSON.stringify(config).includes('"max_retries":5'), true);
  const secrets = printed(await symphony(place, "secrets", "list", "--json"));
  assert.match(JSON.stringify(secrets), /EXAMPLE_TOKEN/);
  const templates = printed(await symphony(place, "templates", "list", "--json"));
  assert.match(JSON.stringify(templates), /"short"/);
  const audit = printed(await symphony(place, "audit", "verify", "--json"));
  assert.ok(audit.entries >= before.entries, JSON.stringify([before, audit]));
  assert.equal(await server.stop(), 0);
});

/** Every file's bytes by its path, except files that only describe the running process. */
async function bytesOf(dir: string): Promise<ReadonlyMap<string, string>> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith("lock"));
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  const bytes = await Promise.all(paths.map((path) => readFile(path, "base64")));
  return new Map(paths.map((path, at) => [path, bytes[at] ?? ""]));
}

/** The file as a later release would have written it. */
async function makeNewer(file: string): Promise<void> {
  if (file.endsWith(".db")) {
    const db = new DatabaseSync(file);
    const { user_version: version } = db.prepare("PRAGMA user_version").get() ?? {};
    db.exec(`PRAGMA user_version = ${Number(version) + 1_000}`);
    db.close();
    return;
  }
  const document = JSON.parse(await readFile(file, "utf8"));
  await writeFile(file, JSON.stringify({ ...document, version: document.version + 1_000 }));
}

for (const name of [
  ...["history.db", "issues.db", "issue-records.json", "overlay.json", "secrets.json"],
  "templates.json",
]) {
  test(`a later release's ${name} is refused, and no byte of the directory changes`, async (t) => {
    const place = await earlierData(t);
    await makeNewer(join(place.dataDir, name));
    const before = await bytesOf(place.dataDir);
    const args = ["serve", place.workflowPath, "--port", "0"];
    const refused = await symphony(place, ...args);
    assert.equal(refused.code, 1, refused.stderr);
    assert.ok(refused.stderr.includes(name), refused.stderr);
    assert.match(refused.stderr, /later|newer/);
    const after = await bytesOf(place.dataDir);
    assert.deepEqual([...after.keys()], [...before.keys()]);
    assert.deepEqual(after, before);
  });
}
