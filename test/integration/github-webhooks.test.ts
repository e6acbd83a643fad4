import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { readDelivery, verify } from "../../src/core/delivery/github/webhook.ts";
import type { SignedPost } from "../../src/core/tracker/tracker.ts";
import { githubBench } from "../support/fakes/schema-github.ts";

const secret = "a webhook secret";

async function receiver() {
  const posts: SignedPost[] = [];
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const { headers } = request;
    posts.push({ body, header: (name) => headers[name]?.toString() });
    response.writeHead(202).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    posts,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

test("deliveries of GitHub are signed, and read in both content types", async () => {
  for (const contentType of ["json", "form"]) {
    await using hook = await receiver();
    await using bench = await githubBench();
    const { github } = bench;
    await github.act({ do: "hook", url: hook.url, secret, content_type: contentType });
    const { number } = await bench.pull();
    await github.act({ do: "review", as: "grace", event: "request_changes", body: "No" });
    await github.act({ do: "comment", as: "grace", issue: number, body: "é" });
    await github.act({ do: "ci", job: "test", conclusion: "failure" });
    await github.act({ do: "commit-status", context: "ci/old", state: "failure" });
    await github.webhooks.settled();
    assert.ok(hook.posts.every((post) => verify(post, secret) !== null));
    assert.ok(hook.posts.every((post) => verify(post, "another") === null));
    const read = hook.posts.map(readDelivery);
    const numbers = (type: string) =>
      new Set(read.filter((one) => one.type === type).map((one) => one.number));
    assert.deepEqual(numbers("pull_request_review"), new Set([number]));
    assert.deepEqual(numbers("issue_comment"), new Set([number]));
    assert.deepEqual(numbers("check_run"), new Set([number]));
    assert.deepEqual(numbers("status"), new Set([null]));
    const about = read.filter(({ type }) => type !== "ping");
    assert.ok(about.every(({ repository }) => repository === "acme/app"));
    assert.equal(new Set(read.map(({ id }) => id)).size, read.length);
  }
});
