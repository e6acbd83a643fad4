// Every part that asks another machine, against one that answers without end.

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { createClient } from "../../src/client/client.ts";
import { askOpenai } from "../../src/core/agent/openai/models.ts";
import { openaiSection } from "../../src/core/agent/openai/settings.ts";
import { AnswerTooLarge, tailOf, wholeText } from "../../src/core/answers.ts";
import { systemClock } from "../../src/core/clock.ts";
import { githubForge } from "../../src/core/delivery/github/forge.ts";
import { githubOf } from "../../src/core/github/settings.ts";
import { outbound } from "../../src/core/outbound.ts";

import { FakeClock } from "../support/fakes/fake-clock.ts";
import { linearTracker } from "../support/fakes/linear-tracker.ts";
import { OpenaiBench } from "../support/worlds/openai-bench.ts";
import { eventually } from "../support/worlds/symphony.ts";

const mebibyte = 1024 * 1024;
/** What the sockets of both sides hold on its way. */
const onTheWay = 24 * mebibyte;

/** Answers every request without end, at the pace of its reader. */
async function endless(type: string, begin = "", piece = "x".repeat(65_536)) {
  const state = { sent: 0, open: 0 };
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    state.open++;
    request.resume();
    response.on("close", () => state.open--).on("error", () => {});
    response.writeHead(200, { "content-type": type });
    response.write(begin);
    const pour = () => {
      while (!response.destroyed && response.write(piece)) state.sent += piece.length;
      state.sent += piece.length;
    };
    response.on("drain", pour);
    pour();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    host: `127.0.0.1:${port}`,
    /** All connections were ended, and the reader took no more than its limit. */
    async stopped(limit: number): Promise<void> {
      await eventually("the connections have ended", async () => state.open === 0);
      assert.ok(state.sent >= limit, `${state.sent} bytes were sent`);
      assert.ok(state.sent < limit + onTheWay, `${state.sent} bytes were sent`);
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

const json = "application/json";

describe("an answer without end", () => {
  test("of a tracker is tracker_response with host and limit, and is not asked for again", async () => {
    await using site = await endless(json, '{"data":"');
    const fake = { url: `http://${site.host}/graphql`, project: "p", apiKey: "lin_api_1" };
    const { tracker } = linearTracker(fake, { timeoutMs: 60_000 });
    await assert.rejects(tracker.fetchIssuesByStates(["Todo"]), {
      code: "tracker_response",
      message: `the answer of ${site.host} is larger than 16 MiB`,
      hint: /tracker\.endpoint/,
    });
    await site.stopped(16 * mebibyte);
  });

  test("to the registration of a webhook is the same", async () => {
    await using site = await endless("text/html");
    const fake = { url: `http://${site.host}/graphql`, project: "p", apiKey: "lin_api_1" };
    const { tracker } = linearTracker(fake, { timeoutMs: 60_000 });
    const order = { url: "https://hooks.test/webhooks/linear", secret: null, secretIsFixed: false };
    await assert.rejects(async () => tracker.registerWebhook?.(order), {
      code: "tracker_response",
    });
    await site.stopped(16 * mebibyte);
  });

  test("of a site with pull requests is malformed", async () => {
    await using site = await endless(json, '{"name":"');
    const settings = githubOf({ base_url: `http://${site.host}/api/v3` }, () => "ghp_x");
    const forge = githubForge({
      settings,
      clock: systemClock,
      repository: { owner: "acme", name: "app" },
      timeoutMs: 60_000,
    });
    await assert.rejects(forge.look(), {
      category: "malformed",
      message: `the answer of ${site.host} is larger than 8 MiB`,
    });
    forge.close();
    await site.stopped(8 * mebibyte);
  });

  test("of a provider that is asked for its models is provider_error", async () => {
    await using site = await endless(json, '{"data":[');
    const written = { base_url: `http://${site.host}/v1`, api_key: "k-12345678" };
    const config = openaiSection.settings(openaiSection.schema.parse(written));
    const { signal } = new AbortController();
    const asked = askOpenai(config, { clock: new FakeClock(), signal, lookup: () => undefined });
    await assert.rejects(asked, {
      code: "provider_error",
      message: new RegExp(`the answer of ${site.host} is larger than 4 MiB$`),
    });
    await site.stopped(4 * mebibyte);
  });

  const events = "text/event-stream";
  const lines = `: ${"x".repeat(65_533)}\n`;
  for (const [what, type, begin, limit, piece] of [
    ["as a whole", json, '{"choices":"', 16, undefined],
    ["as a stream", events, "", 64, lines],
    ["as a stream of one line", events, ": ", 64, undefined],
  ] as const) {
    test(`of a model to a turn, ${what}, fails the turn and is not asked for again`, async () => {
      await using site = await endless(type, begin, piece);
      await using bench = await OpenaiBench.make({ base_url: `http://${site.host}/v1` });
      await using session = await bench.start({ level: "danger" });
      await assert.rejects(session.turn("Say it.", { model: "m-1" }), {
        code: "provider_error",
        message: `the answer of ${site.host} is larger than ${limit} MiB`,
      });
      await site.stopped(limit * mebibyte);
    });
  }

  test("of a server that is no symphony is said as that by the client", async () => {
    await using site = await endless(json, '{"x":"', "y".repeat(1_048_576));
    const client = createClient({ baseUrl: `http://${site.host}` });
    await assert.rejects(client.system.runtime(), {
      code: "server_unreachable",
      message: /answered more than 256 MiB/,
    });
    await site.stopped(256 * mebibyte);
  });

  test("of any other machine ends after 1 MiB, whoever reads it", async () => {
    await using site = await endless("text/plain");
    const response = await outbound(`http://${site.host}/`);
    await assert.rejects(response.text(), AnswerTooLarge);
    await site.stopped(mebibyte);
  });

  test("that is a log keeps the end of what may be read", async () => {
    await using site = await endless("text/plain");
    const response = await outbound(`http://${site.host}/`, {}, "log of a check");
    const tail = await tailOf(response.body, { kind: "log of a check", maxBytes: 1_000 });
    assert.equal(tail.toString(), "x".repeat(1_000));
    await site.stopped(64 * mebibyte);
  });
});

test("characters that are split between two pieces are read whole", async () => {
  async function* pieces() {
    yield Buffer.from([0xe2, 0x82]);
    yield Buffer.from([0xac]);
  }
  const text = await wholeText(pieces(), { host: "h", kind: "other" });
  assert.equal(text, "€");
});
