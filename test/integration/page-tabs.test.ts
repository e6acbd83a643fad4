// D19 of the cases of the desk: one stream for all tabs of a browser, each event once, through servers that are killed.

import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import type { Step } from "../../src/demo/script.ts";
import { launchBrowser, openPage, pageProject } from "../support/worlds/page.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const chatter = Array.from({ length: 100 }, (_, at): readonly Step[] => [
  { do: "say", text: `word ${at}` },
  { do: "sleep", ms: 20 },
]).flat();
const turns = { "LOCAL-1": [[...chatter, { do: "hang" }] as const] };
const limitMs = 90_000;

const streams = async ({ url }: Served) => {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^symphony_sse_clients (\d+)/m.exec(text)?.[1]);
};

/** Each becomes an event. Ends when the server does. */
async function createIssues({ client }: Served): Promise<void> {
  try {
    for (let at = 0; at < 200; at++) await client.issues.create({ body: { title: `Issue ${at}` } });
  } catch {
    // The server was killed.
  }
}

const seqsOf = (page: Page) =>
  page.evaluate(
    "[...document.querySelectorAll('.timeline li')].map((li) => Number(li.dataset.seq))",
  );

describe("several tabs", () => {
  let browser: Browser;
  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  test("D19: three servers are killed in the middle of 500 events; each is seen once and in order, by one stream", async () => {
    await using place = await pageProject(turns);
    let server = await Served.start(place);
    try {
      const { url } = server;
      assert.equal((await symphony(place, "issue", "create", "--title", "Talks")).code, 0);
      await using first = await openPage(browser, `${url}/#/issue/LOCAL-1`);
      const { context } = first;
      const others = [await context.newPage(), await context.newPage()];
      for (const page of others) await page.goto(`${url}/#/issue/LOCAL-1`);
      const tabs = [first.page, ...others];
      // What the tabs say to each other: the whole series.
      const observer = await context.newPage();
      await observer.goto(`${url}/api/v1/runtime`);
      await observer.evaluate(`
        globalThis.seqs = [];
        new BroadcastChannel("symphony.stream").onmessage = ({ data }) => {
          if (data.type === "event") globalThis.seqs.push(data.event.seq);
        };
      `);
      const seen = async () => (await observer.evaluate("globalThis.seqs")) as number[];
      for (const page of tabs) await page.locator(".badge.live").waitFor();
      const draft = first.page.getByLabel("Guidance for the agent");
      await draft.fill("half a sen");
      assert.equal(await streams(server), 1);
      for (let kill = 0; kill < 3; kill++) {
        const already = (await seen()).length;
        const creating = createIssues(server);
        await eventually("100 events", async () => (await seen()).length >= already + 100, limitMs);
        await server.crash();
        await creating;
        for (const page of tabs) await page.locator(".badge.lost").waitFor();
        server = await Served.start(place, "--port", new URL(url).port);
        for (const page of tabs) await page.locator(".badge.live").waitFor();
        assert.equal(await streams(server), 1);
      }
      await createIssues(server);
      await eventually("500 events", async () => (await seen()).length >= 500, limitMs);
      const seqs = await seen();
      const from = seqs[0] ?? 0;
      assert.deepEqual(
        seqs,
        Array.from(seqs, (_, at) => from + at),
      );
      for (const page of tabs) {
        const shown = (await seqsOf(page)) as number[];
        assert.ok(shown.length > 10, `${shown.length} lines`);
        assert.deepEqual(
          shown,
          [...new Set(shown)].sort((a, b) => b - a),
        );
      }
      await draft.waitFor();
      assert.equal(await draft.inputValue(), "half a sen");
      // The tab that reads is closed: the next one reads.
      await first.page.close();
      const rest = (await seen()).length;
      await symphony(place, "issue", "create", "--title", "After");
      await eventually("the next tab reads", async () => (await seen()).length > rest, limitMs);
      await eventually("one stream", async () => (await streams(server)) === 1, limitMs);
      // Another data directory: its state in place of what is known.
      await server.stop();
      await rm(place.dataDir, { recursive: true, force: true });
      server = await Served.start(place, "--port", new URL(url).port);
      await symphony(place, "issue", "create", "--title", "Of the new directory");
      for (const page of others) await page.getByText("Of the new directory").first().waitFor();
    } finally {
      await server.stop();
    }
  });
});
