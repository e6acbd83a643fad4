import assert from "node:assert/strict";
import { test } from "node:test";
import type { SymphonyError } from "../../../../src/core/model/errors.ts";
import { linearSettings } from "../../../../src/core/tracker/linear/settings.ts";
import { config } from "../../../support/makers/issue.ts";

type Environment = Readonly<Record<string, string>>;

function parse(
  provider: Readonly<Record<string, unknown>>,
  env: Environment = { LINEAR_API_KEY: "k" },
) {
  const { tracker } = config({ tracker: { kind: "linear", provider } });
  return linearSettings(tracker, (name) => env[name]);
}

const slug = { project_slug: "a79254768c8f" };
const app = { client_id: "app", client_secret: "$LINEAR_API_KEY" };

test("L-5: defaults and fallbacks to the environment", () => {
  const settings = parse(slug, { LINEAR_API_KEY: "lin_api_x", LINEAR_ASSIGNEE: "me" });
  assert.equal(settings.endpoint, "https://api.linear.app/graphql");
  assert.deepEqual(
    settings.scope.projects.map(({ name }) => name),
    ["a79254768c8f"],
  );
  assert.equal(settings.scope.assignee, "me");
  assert.equal(settings.authorization(), "lin_api_x");
  assert.deepEqual(settings.secretEnvNames, ["LINEAR_API_KEY", "LINEAR_WEBHOOK_SECRET"]);
});

const refused: readonly (readonly [
  string,
  Readonly<Record<string, unknown>>,
  string,
  Environment?,
])[] = [
  ["an app and a key", { ...slug, api_key: "$LINEAR_API_KEY", oauth: app }, "oauth"],
  ["an app that is no map", { ...slug, oauth: "app" }, "oauth"],
  ["an unknown key of an app", { ...slug, oauth: { ...app, token: "x" } }, "oauth.token"],
  ["an app without an id", { ...slug, oauth: { client_secret: "s" } }, "oauth.client_id"],
  ["no secret of an app", { ...slug, oauth: { client_id: "app" } }, "oauth.client_secret"],
  [
    "a refresh token in the file",
    { ...slug, oauth: { ...app, refresh_token: "lin_refresh_x" } },
    "oauth.refresh_token",
  ],
  [
    "a token endpoint in plain http",
    { ...slug, oauth: { ...app, token_url: "http://linear.test/oauth" } },
    "oauth.token_url",
  ],
  ["sessions of an unknown kind", { ...slug, sessions: true }, "sessions"],
  ["a numeric endpoint", { ...slug, endpoint: 7 }, "endpoint"],
  ["a blank endpoint", { ...slug, endpoint: " " }, "endpoint"],
  ["plain http", { ...slug, endpoint: "http://linear.test/graphql" }, "endpoint"],
  ["a loopback lookalike", { ...slug, endpoint: "http://127.0.0.1.evil.test" }, "endpoint"],
  ["a file", { ...slug, endpoint: "file:///etc/passwd" }, "endpoint"],
  ["a password in the endpoint", { ...slug, endpoint: "https://a:b@linear.test" }, "endpoint"],
  ["no key", slug, "api_key", {}],
  ["a numeric key", { ...slug, api_key: 7 }, "api_key"],
  ["a blank key", { ...slug, api_key: "" }, "api_key"],
  ["a key with a line break", { ...slug, api_key: "lin\n_api" }, "api_key"],
  ["no slug", {}, "project_slug"],
  ["a numeric slug", { project_slug: 123456789012 }, "project_slug"],
  ["a blank slug", { project_slug: " " }, "project_slug"],
  ["a numeric assignee", { ...slug, assignee: 7 }, "assignee"],
  ["a blank assignee", { ...slug, assignee: " " }, "assignee"],
];

for (const [what, provider, key, env] of refused) {
  test(`L-6, W-15: refuses ${what}, naming ${key}`, () => {
    const isMissing = key === "api_key" || key === "oauth.client_secret";
    const code = isMissing ? "missing_tracker_secret" : "invalid_tracker_config";
    const details = { path: `tracker.provider.${key}` };
    assert.throws(() => parse(provider, env), { name: "SymphonyError", code, details });
  });
}

for (const [what, provider, ...keys] of [
  ["everything", { endpoint: 7, api_key: 7, assignee: 7 }, "endpoint", "api_key", "project_slug"],
  ["the rest", { api_key: 7, assignee: 7 }, "api_key", "project_slug"],
  ["the scope", { project_slug: 7, team: 7, assignee: 7 }, "project_slug", "team"],
] as const) {
  test(`L-6, S21: of ${what}, each fault is named, in order`, () => {
    const paths = [...keys, "assignee"].map((key) => `tracker.provider.${key}`);
    assert.throws(
      () => parse(provider),
      ({ details: { path, problems } }: SymphonyError) => {
        assert.equal(path, paths[0]);
        assert.deepEqual(
          (problems as readonly { readonly path: string }[]).map((one) => one.path),
          paths,
        );
        return true;
      },
    );
  });
}

test("W-15, W-8: unknown keys are ignored and null counts as a missing value", () => {
  const settings = parse({
    ...slug,
    endpoint: null,
    api_key: null,
    assignee: null,
    future: { x: 1 },
  });
  assert.deepEqual(
    [settings.endpoint, settings.scope.assignee],
    ["https://api.linear.app/graphql", null],
  );
});

test("plain http is allowed for loopback hosts only", () => {
  for (const host of ["localhost", "127.0.0.1", "[::1]"]) {
    assert.equal(parse({ ...slug, endpoint: `http://${host}:4600/graphql` }).scope.assignee, null);
  }
});

test("W-16: $NAME is resolved at each use, env:NAME is a literal, and the name counts as a secret variable", () => {
  const env: Record<string, string> = { MY_KEY: "first" };
  const settings = parse({ ...slug, api_key: "$MY_KEY" }, env);
  env["MY_KEY"] = "second";
  assert.equal(settings.authorization(), "second");
  assert.deepEqual(settings.secretEnvNames, ["LINEAR_API_KEY", "MY_KEY", "LINEAR_WEBHOOK_SECRET"]);
  assert.equal(parse({ ...slug, api_key: "env:MY_KEY" }, env).authorization(), "env:MY_KEY");
});

test("W-17: an empty $NAME is missing, an unset one falls back, white space is missing", () => {
  const provider = { ...slug, api_key: "$MY_KEY" };
  const fallback = { LINEAR_API_KEY: "fallback" };
  assert.throws(() => parse(provider, { ...fallback, MY_KEY: "" }), {
    code: "missing_tracker_secret",
  });
  assert.throws(() => parse(provider, { ...fallback, MY_KEY: " " }), {
    code: "missing_tracker_secret",
  });
  assert.equal(parse(provider, fallback).authorization(), "fallback");
});

test('L-10: assignee "" means no filter although the environment names one', () => {
  const env = { LINEAR_API_KEY: "k", LINEAR_ASSIGNEE: "me" };
  assert.equal(parse({ ...slug, assignee: "" }, env).scope.assignee, null);
});

test("L-7: an API key is sent as it is, an OAuth token as a bearer token", () => {
  assert.equal(parse(slug, { LINEAR_API_KEY: "lin_api_x\n" }).authorization(), "lin_api_x");
  assert.equal(
    parse(slug, { LINEAR_API_KEY: "lin_oauth_x" }).authorization(),
    "Bearer lin_oauth_x",
  );
});

test("X-2: no message contains the key", () => {
  const error = (() => {
    try {
      return parse({ ...slug, api_key: "canary\u0000key" });
    } catch (thrown) {
      return thrown;
    }
  })();
  assert.ok(error instanceof Error);
  assert.ok(!`${error.stack} ${JSON.stringify(error)}`.includes("canary"));
});
