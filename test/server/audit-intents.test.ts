import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { openHistory } from "../../src/core/store/history.ts";
import type { AuditEntry } from "../../src/core/store/store.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { freshProject, openReal } from "../support/worlds/real-server.ts";

const post = (body: unknown = {}) => ({ method: "POST", body });

test("INV-25: a request is on disk before it is carried out, and its entry before the answer", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const { history } = server.core;
  const steps: string[] = [];
  const { auditIntent, audit } = history;
  history.auditIntent = (intent) => {
    steps.push(`intent ${intent.action}`);
    return auditIntent(intent);
  };
  history.audit = (entry, intent) => {
    steps.push(`entry ${entry.action} ${entry.target}`);
    return audit(entry, intent);
  };
  const local = server.core.localIssues();
  assert.ok(local);
  const { create } = local;
  local.create = (issue) => {
    steps.push("done");
    return create.call(local, issue);
  };
  const made = await server.ask("/api/v1/issues", post({ title: "An issue" }));
  assert.equal(made.status, 201, made.text);
  const { identifier } = made.json();
  assert.deepEqual(steps, ["intent issues.create", "done", `entry issues.create ${identifier}`]);
  assert.equal(history.endAuditIntents(0), 0);
});

test("a crash between a change and its entry is reported at the next start", async () => {
  await using project = await freshProject();
  {
    await using server = await openReal(project.dir);
    // As after a crash: the entry was never written.
    server.core.history.audit = () => true;
    const made = await server.ask("/api/v1/issues", post({ title: "An issue" }));
    assert.equal(made.status, 201);
  }
  await using again = await openReal(project.dir);
  const entries = again.core.history.auditPage({ limit: 9, offset: 0 }).entries;
  const [entry] = entries.filter(({ action }) => action === "issues.create");
  assert.deepEqual([entry?.outcome, entry?.detail["title"]], ["interrupted", "An issue"]);
  assert.match(String(entry?.detail["intended_at"]), /^\d{4}-/);
  assert.ok(again.logged.join("").includes("a crash interrupted requests"));
});

test("X-2, THREAT-3: no entry and no intent holds a secret that was in the request", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir);
  const { history } = server.core;
  const canary = "canary-6d1f08ab47";
  assert.equal((await server.ask("/api/v1/secrets/A_KEY", post({ value: canary }))).status, 201);
  const intents: unknown[] = [];
  const { auditIntent } = history;
  history.auditIntent = (intent) => {
    intents.push(intent);
    return auditIntent(intent);
  };
  const made = await server.ask("/api/v1/issues", post({ title: `Log in with ${canary}` }));
  assert.equal(made.status, 201, made.text);
  const { entries } = history.auditPage({ limit: 9, offset: 0 });
  const [entry] = entries.filter(({ action }) => action === "issues.create");
  assert.equal(entry?.detail["title"], "Log in with [redacted]");
  assert.doesNotMatch(JSON.stringify([intents, entries]), /canary/);
});

const child = `
  const { openHistory } = await import(process.argv[1]);
  const history = openHistory(process.argv[2]);
  const entry = { at: 1, actor: "api", action: "a", target: null, detail: {} };
  const first = history.auditIntent(entry);
  history.auditIntent({ ...entry, action: "b" });
  history.audit({ ...entry, outcome: "ok" }, first);
  process.kill(process.pid, "SIGKILL");
`;

test("after kill -9 an intent without its entry is reported once, one with its entry never", async (t) => {
  const file = join(temporaryDir(t), "history.db");
  const source = join(import.meta.dirname, "../../src/core/store/history.ts");
  const run = spawn(process.execPath, ["--input-type=module", "-e", child, source, file]);
  assert.deepEqual(await once(run, "exit"), [null, "SIGKILL"]);
  const history = openHistory(file);
  t.after(() => history.close());
  assert.equal(history.endAuditIntents(2), 1);
  assert.equal(history.endAuditIntents(3), 0);
  const named = ({ action, outcome }: AuditEntry) => `${action} ${outcome}`;
  const { entries } = history.auditPage({ limit: 9, offset: 0 });
  assert.deepEqual(entries.map(named), ["b interrupted", "a ok"]);
});
