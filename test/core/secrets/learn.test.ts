import assert from "node:assert/strict";
import { test } from "node:test";
import { learnEnvironment, learnTracker } from "../../../src/core/secrets/learn.ts";
import { createRedactor, redactDeep } from "../../../src/core/text/redact.ts";
import { config } from "../../support/makers/issue.ts";

test("values of variables named like secrets are redacted, ordinary words are not", () => {
  const { add, redact } = createRedactor();
  const env = {
    LINEAR_API_KEY: "canary-value-1",
    deploy_token: "canary-value-2",
    SESSION_SECRET: "canary-value-3",
    PASSWORD: "canary-value-4",
    DB_PASSWORD: "postgres",
    PIN_KEY: "12345678",
    SHORT_TOKEN: "abc-1",
    KEYBOARD: "canary-layout",
    TOKENS: "canary-tokens",
    NOTHING_KEY: undefined,
  };
  learnEnvironment(env, { add });
  for (const at of [1, 2, 3, 4]) assert.equal(redact(`x canary-value-${at}`), "x [redacted]");
  const plain = "postgres 12345678 abc-1 canary-layout canary-tokens";
  assert.equal(redact(plain), plain);
});

test("a tracker's credentials are redacted, literal or by variable name, at any depth", () => {
  const { add, redact } = createRedactor();
  const env: Readonly<Record<string, string>> = { A: "canary-named", SLUG: "my-project" };
  const provider = {
    api_key: "$A",
    webhook_secret: "canary-written",
    project_slug: "$SLUG",
    more: { client_password: "canary-nested", token: "$MISSING" },
  };
  learnTracker(config({ tracker: { provider } }).tracker, (name) => env[name], { add });
  const text = redact("canary-named canary-written canary-nested my-project");
  assert.equal(text, "[redacted] [redacted] [redacted] my-project");
});

test("tokens of known services are recognised by their format, and similar texts are not", () => {
  const { redact } = createRedactor();
  const jwt = `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.${"s".repeat(43)}`;
  const pem = `-----BEGIN RSA PRIVATE KEY-----\n${"QUJD".repeat(16)}\n-----END RSA PRIVATE KEY-----`;
  const shapes = [
    `sk-proj-${"a1_-".repeat(10)}`,
    `sk-${"A1".repeat(24)}`,
    `github_pat_${"a1".repeat(20)}`,
    `ghp_${"a1".repeat(18)}`,
    `lin_api_${"a1".repeat(20)}`,
    `lin_wh_${"a1".repeat(12)}`,
    `AKIA${"A1".repeat(8)}`,
    `xoxb-${"12-".repeat(10)}`,
    jwt,
    pem,
    JSON.stringify(pem).slice(1, -1),
  ];
  for (const shape of shapes) {
    assert.equal(redact(`(${shape})`), "([redacted])", shape);
    assert.equal(redact(shape.slice(0, 6)), shape.slice(0, 6));
  }
  const innocent =
    "task-proj-with-a-long-name-x sk-ate-boarding-all-day-long eyJ.eyJ.x lin_api_ AKIAx";
  assert.equal(redact(innocent), innocent);
});

test("THREAT-12: the formats are matched in one pass over hostile text", () => {
  const { redact } = createRedactor();
  const seeds = [
    "eyJaaaaaaaa.",
    "sk-proj-",
    "-----BEGIN PRIVATE KEY-----",
    "lin_api_",
    "ghp_a",
    "A",
  ];
  for (const seed of seeds) {
    const text = seed.repeat(100_000 / seed.length);
    assert.ok(redact(text).length <= text.length, seed);
  }
});

test("data is redacted at every depth, and its plain keys keep their names", () => {
  const { add, redact } = createRedactor();
  for (const value of ["running", "canary-secret"]) add(value);
  const data = { running: ["canary-secret", { "canary-secret 1": 1, deep: null, ok: true }] };
  assert.deepEqual(redactDeep(data, redact), {
    running: ["[redacted]", { "[redacted] 1": 1, deep: null, ok: true }],
  });
});
