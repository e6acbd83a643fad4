import assert from "node:assert/strict";
import dns from "node:dns/promises";
import { syncBuiltinESMExports } from "node:module";
import { type TestContext, test } from "node:test";
import {
  isInner,
  linearEndpoint,
  linearSettings,
  requireReachable,
} from "../../../../src/core/tracker/linear/settings.ts";
import { startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";
import { config } from "../../../support/makers/issue.ts";
import { freshProject, openReal } from "../../../support/worlds/real-server.ts";

const inner = [
  ...["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"],
  ...["100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"],
  ...[
    "::",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
  ],
];
const outer = ["8.8.8.8", "172.32.0.1", "192.0.2.1", "2606:4700::1", "127.0.0.1", "::1", "name"];

test("THREAT-9: private, link-local and metadata addresses are distinguished from others", () => {
  for (const address of inner) assert.ok(isInner(address), address);
  for (const address of outer) assert.ok(!isInner(address), address);
});

const silent = { keep: async () => {}, learn() {}, failed() {} };
const provider = (endpoint: string) => ({ endpoint, project_slug: "p" });

test("THREAT-9: an endpoint in an internal network is refused in every notation", () => {
  const hosts = [
    ...["169.254.169.254", "10.0.0.1", "[fd00::1]", "[::ffff:a9fe:a9fe]", "0x0a.0.0.1"],
    ...["2852039166", "0251.0376.0251.0376", "10.1", "0", "[::]"],
  ];
  for (const host of hosts) {
    for (const endpoint of [`https://${host}/graphql`, `http://${host}`, ` https://${host} `]) {
      const { tracker } = config({ tracker: { kind: "linear", provider: provider(endpoint) } });
      assert.throws(() => linearSettings(tracker, () => "key"), {
        code: "invalid_tracker_config",
      });
    }
  }
  for (const endpoint of [
    "file:///etc/passwd",
    "gopher://x",
    "ftp://x",
    "data:,x",
    "//x",
    "https:",
  ]) {
    const { tracker } = config({ tracker: { kind: "linear", provider: provider(endpoint) } });
    assert.throws(() => linearSettings(tracker, () => "key"), { code: "invalid_tracker_config" });
  }
});

test("THREAT-9: an overlay cannot move the endpoint there either, and the current one stays", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir, {
    env: { LINEAR_API_KEY: "lin-key-0123456789" },
  });
  for (const evil of ["http://169.254.169.254/", "https://10.0.0.1/", "file:///etc/passwd"]) {
    const body = { tracker: { kind: "linear", provider: provider(evil) } };
    const answer = await server.ask("/api/v1/config/overlay", { method: "PUT", body });
    assert.equal(answer.status, 422, answer.text);
    assert.equal(answer.json().error.code, "invalid_tracker_config");
  }
  assert.deepEqual((await server.ask("/api/v1/config/overlay")).json(), {});
  assert.equal(server.core.config.current.config.tracker.kind, "local");
});

test("THREAT-9: a name that resolves to an internal address gets no request, even if it has other addresses", async () => {
  const lead = (...addresses: string[]) =>
    requireReachable("https://linear.test/", async () => addresses);
  for (const address of inner) {
    await assert.rejects(lead(address), { code: "tracker_request" });
    await assert.rejects(lead("8.8.8.8", address), { code: "tracker_request" });
  }
  for (const address of outer) await lead(address);
  await requireReachable("https://linear.test/", () => Promise.reject(new Error("ENOTFOUND")));
  const never = () => assert.fail("Linear's own name is not looked up");
  await requireReachable(linearEndpoint, never);
  await requireReachable("http://127.0.0.1:1/graphql", never);
});

/** Every name leads into an internal network. */
function namesLeadInside(t: TestContext): void {
  const { mock } = t.mock.method(dns, "lookup", async () => [{ address: "10.0.0.1", family: 4 }]);
  syncBuiltinESMExports();
  t.after(() => {
    mock.restore();
    syncBuiltinESMExports();
  });
}

test("THREAT-9: each request, and each one for a token of an app, looks where its name leads at that moment", async (t) => {
  await using fake = await startFakeLinear({ issues: [] });
  namesLeadInside(t);
  const oauth = { client_id: "app", client_secret: "s", token_url: "https://tokens.test/token" };
  const refusal = { code: "tracker_request", message: /resolves to an address of a private/ };
  for (const provider of [{ endpoint: "https://linear.test/graphql" }, { oauth }]) {
    const { tracker } = linearTracker(fake, { provider, keeper: silent });
    await assert.rejects(tracker.fetchIssuesByStates(["Todo"]), refusal);
  }
  assert.deepEqual(fake.requests, []);
});
