import assert from "node:assert/strict";
import { test } from "node:test";
import { checkConfig } from "../../../src/core/config/check.ts";
import { findingText } from "../../../src/core/config/finding.ts";
import { configSchema } from "../../../src/core/config/json-schema.ts";
import { checkOverlay } from "../../../src/core/config/overlay.ts";
import { resolveConfig, toConfig } from "../../../src/core/config/resolve.ts";
import { fileChecks } from "../../../src/core/file-checks.ts";
import { kinds, sections } from "../../../src/core/kinds.ts";
import { loadTracker } from "../../../src/core/tracker/kinds.ts";

async function found(lines: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const lookup = (name: string) => env[name];
  const checks = fileChecks({
    env: { PATH: process.env["PATH"], ...env },
    lookup,
    redactor: { add() {} },
    checkTracker: async (next) => (await loadTracker(kinds.trackers, next)).check(next, lookup),
  });
  const text = ["---", "tracker: { kind: local }", "notify:", ...lines, "---", "Work"].join("\n");
  const deps = { sections, workflowPath: "/srv/WORKFLOW.md", flags: {}, checks, env };
  const { findings, effective } = await checkConfig(Buffer.from(text), deps);
  return {
    rules: effective.config.notify,
    findings,
    told: findings.map(
      ({ severity, place, path, message }) =>
        `${severity === "error" ? "!" : "?"} ${place?.line} ${path} | ${message}`,
    ),
  };
}

test("rules have names, also those that were not given one", async () => {
  const env = { A: "https://a.example/hook", B: "https://b.example/hook" };
  const { rules, told } = await found(
    [
      "  - { when: [needs, failed, needs], to: slack, url: $A }",
      "  - { name: slack-2, when: [done], to: slack, url: $B }",
      "  - { when: [held], to: slack, url: $B, detail: full, batch_ms: 0 }",
      "  - { when: [budget], to: command, command: [./notify.sh, now] }",
    ],
    env,
  );
  assert.deepEqual(told, []);
  assert.deepEqual(
    rules.map(({ name }) => name),
    ["slack", "slack-2", "slack-3", "command"],
  );
  assert.deepEqual(rules[0]?.when, ["needs", "failed"]);
  assert.deepEqual([rules[0]?.urlSecret, rules[2]?.batchMs], ["A", 0]);
});

test("faults are found with their place, and a wrong key with the one that was probably meant", async () => {
  const { told } = await found([
    "  - { when: [needs], to: slak, url: $A }",
    "  - when: [need]",
    "    to: desktop",
    "  - { when: [done], to: webhook }",
    "  - { when: [done], to: desktop, url: $A }",
    "  - { when: [done], to: desktop, quiet_hors: {} }",
  ]);
  assert.deepEqual(told, [
    "! 4 notify.0.to | notify.0.to must be slack, discord, webhook, desktop or command, not slak; did you mean slack?",
    "! 5 notify.1.when.0 | notify.1.when.0 must be needs, failed, held, done, delivered, budget or stopped, not need; did you mean needs?",
    "! 7 notify.2.url | notify.2.url is required with to: webhook",
    "! 8 notify.3.url | notify.3.url has no meaning with to: desktop",
    "? 9 notify.4.quiet_hors | notify.4.quiet_hors is not a known key and is ignored; did you mean notify.4.quiet_hours?",
  ]);
  const { told: names } = await found([
    "  - { when: [done], to: desktop, name: one }",
    "  - { when: [done], to: desktop, name: one }",
  ]);
  assert.deepEqual(names, [
    "! 5 notify.1.name | notify.1.name must be unique: another rule is named one",
  ]);
});

test("an address in the file itself is refused, and not repeated", async () => {
  const address = "https://hooks.slack.com/services/T0/B0/canary0123456789";
  const { findings } = await found([`  - { when: [done], to: slack, url: "${address}" }`]);
  const [fault] = findings;
  assert.match(fault?.message ?? "", /must name a secret or a variable, as in \$SLACK_WEBHOOK_URL/);
  assert.ok(!JSON.stringify(findings.map((one) => [one, findingText(one)])).includes("canary"));
  assert.throws(
    () =>
      resolveConfig(
        {
          workflow: {},
          env: {},
          flags: {},
          overlay: { notify: [{ when: ["done"], to: "slack", url: address }] },
        },
        sections,
      ),
    (error: Error) => !error.message.includes("canary") && error.message.includes("notify.0.url"),
  );
});

test("a secret that is not set, or holds no address that may be used, is a warning with the command that mends it", async () => {
  const rules = [
    "  - { when: [done], to: slack, url: $UNSET }",
    "  - { when: [done], to: webhook, url: $PLAIN, secret: $NO_SECRET }",
    "  - { when: [done], to: webhook, url: $LOCAL }",
  ];
  const env = { PLAIN: "http://10.0.0.7/hook", LOCAL: "http://127.0.0.1:9/hook" };
  const { told, findings } = await found(rules, env);
  assert.deepEqual(told, [
    "? 4 notify.0.url | notify.0.url: UNSET is not set, so its notices wait",
    "? 5 notify.1.url | notify.1.url: PLAIN must be an https address: http is for receivers on this machine alone, so its notices wait",
    "? 5 notify.1.secret | notify.1.secret: NO_SECRET is not set, so its notices wait",
  ]);
  assert.equal(findings[0]?.next, "symphony secrets add UNSET");
});

test("an overlay replaces the whole list, and variables do not reach into it", () => {
  const rule = { when: ["done"], to: "desktop" };
  const overlay = { notify: [{ when: ["failed"], to: "desktop" }] };
  checkOverlay(overlay, sections);
  assert.throws(
    () => checkOverlay({ notify: [{ ...rule, quiet: 1 }] }, sections),
    /notify\.0\.quiet/,
  );
  const sources = { workflow: { tracker: { kind: "local" }, notify: [rule] }, flags: {} };
  const env = { SYMPHONY_NOTIFY__0__TO: "slack" };
  const { written, origins, warnings } = resolveConfig({ ...sources, env, overlay }, sections);
  const config = toConfig(written, "/w", sections);
  assert.deepEqual(
    config.notify.map(({ when }) => when),
    [["failed"]],
  );
  assert.equal(origins["notify"], "overlay");
  assert.match(warnings.join(), /SYMPHONY_NOTIFY__0 is not a known key/);
});

test("the JSON Schema says what each key of a rule means", () => {
  const schema = configSchema(sections) as {
    properties: {
      notify: {
        description: string;
        items: { properties: Record<string, { description?: string }> };
      };
    };
  };
  const { description, items } = schema.properties.notify;
  assert.match(description, /reported where/);
  for (const [key, { description: meaning }] of Object.entries(items.properties)) {
    assert.ok(meaning, `notify.${key} has no meaning`);
  }
});

test("server.public_url is a plain address", () => {
  const of = (public_url: string) => ({
    workflow: { tracker: { kind: "local" }, server: { public_url } },
    env: {},
    flags: {},
  });
  assert.doesNotThrow(() => resolveConfig(of("https://symphony.example.com/desk"), sections));
  for (const wrong of ["ftp://x", "https://u:p@x.example", "https://x.example/?a=1", "x.example"]) {
    assert.throws(() => resolveConfig(of(wrong), sections), /server\.public_url must be an http/);
  }
});
