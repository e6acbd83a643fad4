import assert from "node:assert/strict";
import { test } from "node:test";
import {
  githubWebhook,
  readDelivery,
  signatureOf,
  verify,
} from "../../../../src/core/delivery/github/webhook.ts";
import { SymphonyError } from "../../../../src/core/model/errors.ts";

const secret = "It's a Secret to Everybody";
const repository = { id: 724000001, full_name: "acme/app" };

function post(body: string | Uint8Array, headers: Readonly<Record<string, string>> = {}) {
  const all: Readonly<Record<string, string>> = {
    "content-type": "application/json",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "x-github-event": "pull_request_review",
    ...headers,
  };
  return { body: Buffer.from(body), header: (name: string) => all[name] };
}

const review = JSON.stringify({ action: "submitted", repository, pull_request: { number: 7 } });

test("a signature is checked on the raw bytes", () => {
  // The example of GitHub's page "Validating webhook deliveries".
  const hello = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
  assert.equal(signatureOf("Hello, World!", secret), hello);
  assert.ok(verify(post("Hello, World!", { "x-hub-signature-256": hello }), secret));
  const bytes = Buffer.from([0x7b, 0xff, 0x7d]);
  assert.ok(verify(post(bytes, { "x-hub-signature-256": signatureOf(bytes, secret) }), secret));
  for (const given of [hello.slice(7), hello.toUpperCase(), "", "sha256=é"]) {
    assert.equal(verify(post("Hello, World!", { "x-hub-signature-256": given }), secret), null);
  }
  assert.equal(verify(post("Hello, World!"), secret), null);
  assert.equal(verify(post("Hello, World", { "x-hub-signature-256": hello }), secret), null);
});

test("JSON and form deliveries say the same", () => {
  const read = {
    id: "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    type: "pull_request_review",
    issueId: null,
    commentId: null,
    itemOf: null,
    action: "submitted",
    repository: "acme/app",
    repositoryId: "724000001",
    number: 7,
  };
  assert.deepEqual(readDelivery(post(review)), read);
  const form = new URLSearchParams({ payload: review }).toString();
  const type = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
  assert.deepEqual(readDelivery(post(form, type)), read);
});

test("comments, checks and statuses name their pull request as far as GitHub does", () => {
  const number = (payload: object) => {
    return readDelivery(post(JSON.stringify({ repository, ...payload }))).number;
  };
  assert.equal(number({ action: "created", issue: { number: 12 } }), 12);
  assert.equal(number({ check_run: { pull_requests: [{ number: 9 }] } }), 9);
  assert.equal(number({ workflow_run: { pull_requests: [{ number: 9 }, { number: 8 }] } }), null);
  assert.equal(number({ check_suite: { pull_requests: [] } }), null);
  assert.equal(number({ state: "success", sha: "a" }), null);
  const ping = readDelivery(post(JSON.stringify({ zen: "x" }), { "x-github-event": "ping" }));
  assert.deepEqual([ping.type, ping.action, ping.repository], ["ping", null, null]);
});

test("a sample is read as what it is about: an issue, a pull request or nothing", () => {
  const about = (subject: Parameters<typeof githubWebhook.sample>[0]) => {
    const { headers, body } = githubWebhook.sample(subject);
    return githubWebhook.read(post(JSON.stringify(body), headers));
  };
  const issue = about({ issueId: "724000001#7" });
  assert.deepEqual([issue.type, issue.issue], ["issues", { id: "724000001#7", commentId: null }]);
  const pull = about({ pullRequest: "https://github.com/acme/app/pull/12" });
  assert.deepEqual(pull.about, { repository: "acme/app", repositoryId: "1", number: 12 });
  assert.deepEqual([about(null).type, about(null).about], ["ping", null]);
});

test("what GitHub does not send is refused", () => {
  for (const request of [
    post("no JSON"),
    post("[1]"),
    post(JSON.stringify({ repository: "acme/app" })),
    post(review, { "x-github-delivery": "a b" }),
    post(review, { "x-github-event": "" }),
    post(review, { "content-type": "application/x-www-form-urlencoded" }),
  ]) {
    assert.throws(() => readDelivery(request), SymphonyError);
  }
});
