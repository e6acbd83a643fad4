import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { SymphonyError } from "../../../../src/core/model/errors.ts";
import { openSecrets } from "../../../../src/core/secrets/secrets.ts";
import { createRedactor } from "../../../../src/core/text/redact.ts";
import { LinearTokens } from "../../../../src/core/tracker/linear/oauth.ts";
import type { CredentialKeeper } from "../../../../src/core/tracker/tracker.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { driven, linearTracker } from "../../../support/fakes/linear-tracker.ts";
import { startTokenEndpoint } from "../../../support/fakes/token-endpoint.ts";
import { issue } from "../../../support/makers/issue.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";
import { eventually } from "../../../support/worlds/symphony.ts";

const hourMs = 3_600_000;

async function refused(promise: Promise<unknown> | undefined): Promise<SymphonyError> {
  const error = await promise?.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SymphonyError, String(error));
  return error;
}

/** A Linear that accepts only the newest token of an app, and the sealed secrets of a data directory. */
async function arrange(t: TestContext, oauth: Readonly<Record<string, unknown>> = {}) {
  const linear = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const tokens = await startTokenEndpoint((access) => linear.accept(`Bearer ${access}`));
  const dir = temporaryDir(t);
  const redactor = createRedactor();
  const failures: string[] = [];
  const secrets = await openSecrets({ dir, env: {}, clock: new FakeClock(), redactor });
  await secrets.put("LINEAR_CLIENT_SECRET", "app-secret");
  await secrets.put("LINEAR_REFRESH_TOKEN", "refresh-0");
  const keeper: CredentialKeeper = {
    keep: async (name, value) => void (await secrets.put(name, value)),
    learn: (value) => redactor.add(value),
    failed: (message) => void failures.push(message),
  };
  const provider = {
    oauth: {
      ...{ client_id: "app", client_secret: "$LINEAR_CLIENT_SECRET", token_url: tokens.url },
      refresh_token: "$LINEAR_REFRESH_TOKEN",
      ...oauth,
    },
  };
  /** A server that has just started; `kept`: whether it may keep what is replaced. */
  const start = (over: CredentialKeeper | undefined = keeper) =>
    linearTracker(linear, {
      provider,
      lookup: (name) => secrets.lookup(name),
      keeper: over,
    });
  const close = async () => {
    await linear.close();
    await tokens[Symbol.asyncDispose]();
  };
  return {
    linear,
    tokens,
    secrets,
    redactor,
    failures,
    keeper,
    dir,
    start,
    [Symbol.asyncDispose]: close,
  };
}

test("an app's refresh token is replaced on disk, sealed, before the token that came with it is used; a restart asks for none", async (t) => {
  await using it = await arrange(t);
  const saved: string[] = [];
  const keeper = {
    ...it.keeper,
    async keep(name: string, value: string) {
      await it.keeper.keep(name, value);
      saved.push(`${name} after ${it.linear.requests.length} requests`);
    },
  };
  const { tracker, clock } = it.start(keeper);
  const found = await tracker.fetchIssuesByStates(["Todo"]);
  assert.equal(found.length, 1);
  assert.deepEqual(saved, [
    "LINEAR_REFRESH_TOKEN after 0 requests",
    "LINEAR_REFRESH_TOKEN_ACCESS after 0 requests",
  ]);
  assert.equal(it.secrets.lookup("LINEAR_REFRESH_TOKEN"), it.tokens.refresh);
  const text = await readFile(join(it.dir, "secrets.json"), "utf8");
  for (const secret of [it.tokens.refresh, it.tokens.access, "app-secret"]) {
    assert.ok(!text.includes(secret), "nothing is readable on disk");
    assert.doesNotMatch(it.redactor.redact(`x ${secret} y`), new RegExp(secret));
  }
  const again = it.start().tracker;
  assert.equal((await again.fetchIssuesByStates(["Todo"])).length, 1);
  assert.equal(it.tokens.asked.length, 1, "the token of before is still good");
  const kept = it.secrets.lookup("LINEAR_REFRESH_TOKEN_ACCESS") ?? "";
  assert.match(kept, /"of":"[0-9a-f]{64}"/, "it is of this app and this refresh token");
  clock.advance(24 * hourMs);
  await tracker.fetchIssuesByIds(["x"]);
  await tracker.fetchIssuesByStates(["Todo"]);
  assert.deepEqual(
    it.tokens.asked.map((form) => form["refresh_token"]),
    ["refresh-0", "refresh-1"],
  );
});

test("a token that Linear does not accept any more is renewed once, for a read, a write and the agent's tool; then the app is refused", async (t) => {
  await using it = await arrange(t);
  const { tracker, clock } = it.start();
  await tracker.fetchIssuesByStates(["Todo"]);
  clock.advance(2 * 60_000);
  it.linear.accept("Bearer revoked");
  const tools = tracker.bindTools(issue("ENG-1"));
  const { success, output } = await tools.call("linear_graphql", "query { viewer { id } }");
  assert.equal(success, true, output);
  assert.equal(it.tokens.asked.length, 2);
  // The endpoint gives tokens, and Linear takes none: no request for a token with each poll.
  const asked = () => it.tokens.asked.length;
  it.linear.accept("Bearer never");
  const error = await refused(tracker.fetchIssuesByStates(["Todo"]));
  assert.equal(error.code, "tracker_status");
  assert.match(`${error.message} ${error.hint}`, /the app's token.*client_id.*installed/);
  await refused(tracker.fetchIssuesByStates(["Todo"]));
  assert.equal(asked(), 2);
});

test("a request that is refused while another one saves the new token is sent again with it", async (t) => {
  await using it = await arrange(t);
  const saving = Promise.withResolvers<void>();
  let isSaving = false;
  const keeper = {
    ...it.keeper,
    async keep(name: string, value: string) {
      if (it.tokens.asked.length === 2) isSaving = true;
      if (isSaving) await saving.promise;
      await it.keeper.keep(name, value);
    },
  };
  const clock = new FakeClock();
  const settings = {
    ...{ clientId: "app", clientSecret: () => "app-secret", tokenUrl: it.tokens.url },
    ...{ scope: "read,write", refreshName: "LINEAR_REFRESH_TOKEN" },
  };
  const lookup = (name: string) => it.secrets.lookup(name);
  const app = new LinearTokens(settings, { clock, lookup, keeper });
  const old = await app.authorization();
  clock.advance(2 * 60_000);
  assert.equal(app.recover(old), true);
  const first = app.authorization();
  await eventually("the new token is being saved", async () => isSaving);
  assert.equal(app.recover(old), true);
  const second = app.authorization();
  saving.resolve();
  assert.deepEqual([await first, await second], Array(2).fill(`Bearer ${it.tokens.access}`));
  assert.equal(it.tokens.asked.length, 2);
});

test("a disk that refuses the new refresh token does not stop the work: it is saved with a later request", async (t) => {
  await using it = await arrange(t);
  let isFull = true;
  const keeper = {
    ...it.keeper,
    async keep(name: string, value: string) {
      if (isFull) throw new Error("no space left on device");
      await it.keeper.keep(name, value);
    },
  };
  const { tracker, clock } = it.start(keeper);
  assert.equal((await tracker.fetchIssuesByStates(["Todo"])).length, 1);
  assert.match(it.failures[0] ?? "", /^Linear's new tokens are not saved: no space left/);
  assert.equal(it.secrets.lookup("LINEAR_REFRESH_TOKEN"), "refresh-0");
  // The only copy is in memory, and it is the one that is used.
  clock.advance(24 * hourMs);
  assert.equal((await tracker.fetchIssuesByStates(["Todo"])).length, 1);
  isFull = false;
  clock.advance(5 * 60_000);
  await tracker.fetchIssuesByStates(["Todo"]);
  assert.equal(it.secrets.lookup("LINEAR_REFRESH_TOKEN"), it.tokens.refresh);
});

test("two trackers of one server use a refresh token one after the other", async (t) => {
  await using it = await arrange(t);
  const [first, second] = [it.start(), it.start()];
  await first.tracker.fetchIssuesByStates(["Todo"]);
  first.clock.advance(24 * hourMs);
  second.clock.advance(24 * hourMs);
  await first.tracker.fetchIssuesByStates(["Todo"]);
  await second.tracker.fetchIssuesByStates(["Todo"]);
  assert.equal(it.secrets.lookup("LINEAR_REFRESH_TOKEN"), it.tokens.refresh);
});

test("another process than the server uses the token that is there, and never the refresh token", async (t) => {
  await using it = await arrange(t);
  const doctor = () =>
    linearTracker(it.linear, {
      provider: {
        oauth: {
          ...{ client_id: "app", client_secret: "$LINEAR_CLIENT_SECRET" },
          ...{ token_url: it.tokens.url, refresh_token: "$LINEAR_REFRESH_TOKEN" },
        },
      },
      lookup: (name) => it.secrets.lookup(name),
    }).tracker;
  const error = await refused(doctor().fetchIssuesByStates(["Todo"]));
  assert.equal(error.code, "missing_tracker_secret");
  assert.match(error.hint ?? "", /symphony serve renews it/);
  assert.equal(error.details["renewedBy"], "symphony serve");
  assert.equal(it.tokens.asked.length, 0);
  await it.start().tracker.fetchIssuesByStates(["Todo"]);
  assert.equal((await doctor().fetchIssuesByStates(["Todo"])).length, 1);
});

test("without a refresh token the app gets tokens for itself, with the scopes of an agent", async (t) => {
  await using it = await arrange(t, { refresh_token: null });
  await it.start().tracker.fetchIssuesByStates(["Todo"]);
  assert.deepEqual(it.tokens.asked, [
    {
      ...{ grant_type: "client_credentials", client_id: "app", client_secret: "app-secret" },
      scope: "read,write,app:assignable,app:mentionable",
    },
  ]);
});

test("what the token endpoint refuses is said with its name and what to do, and nothing else of its answer", async (t) => {
  await using it = await arrange(t);
  await it.secrets.put("LINEAR_REFRESH_TOKEN", "used before");
  const spent = await refused(it.start().tracker.fetchIssuesByStates(["Todo"]));
  assert.equal(spent.message, "Linear gave the app no token (HTTP 400: invalid_grant)");
  assert.match(spent.hint ?? "", /authorize the app again/);
  it.tokens.failures.push(503, 503, 503);
  await it.secrets.put("LINEAR_REFRESH_TOKEN", "refresh-0");
  const { tracker, clock } = it.start();
  const away = await refused(driven(clock, tracker.fetchIssuesByStates(["Todo"])));
  assert.equal(away.message, "Linear gave the app no token (HTTP 503: server_error)");
  assert.equal((await tracker.fetchIssuesByStates(["Todo"])).length, 1, "it is asked again");
});
