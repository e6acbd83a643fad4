// D17 of the cases of the desk: the page left open over night, in a real Chromium.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import type { Step } from "../../src/demo/script.ts";
import { lane, launchBrowser, openPage, pageProject } from "../support/worlds/page.ts";
import { Flood } from "../support/worlds/page-flood.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

const steps: readonly Step[] = [{ do: "say", text: "a line of the timeline" }, { do: "hang" }];
const [first, all] = [2_000, 200_000];
const mb = 1024 * 1024;
const limitMs = 240_000;

/** Heap and nodes after everything that can be collected has been. */
async function sizeOf(page: Page) {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  const { nodes } = await session.send("Memory.getDOMCounters");
  await session.detach();
  return { heap: usedSize, nodes };
}

function residentBytes(pid: number | undefined): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}

describe("the page over night", () => {
  let browser: Browser;
  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  test("D17: after 200,000 events heap, nodes and the server are as after 2,000, also for a hidden tab", async (t) => {
    await using place = await pageProject({ "LOCAL-1": [steps] });
    await using server = await Served.start(place);
    await server.client.issues.create({ body: { title: "Talks all night" } });
    const told = await eventually("the agent talks", async () =>
      (await server.events("LOCAL-1")).findLast(({ message }) => message.includes("timeline")),
    );
    await using flood = await Flood.before(server.url);
    await using shown = await openPage(browser, `${flood.url}/#/issue/LOCAL-1`);
    const { page, context, complaints } = shown;
    await page.locator(".timeline li").first().waitFor();
    await eventually("the stream", async () => flood.isFollowed);
    const hidden = await context.newPage();
    await hidden.addInitScript("Object.defineProperty(document, 'hidden', { get: () => true })");
    await hidden.goto(flood.url);
    await lane(hidden, "running").waitFor();
    // The last event of all is received by both tabs: the channel between them keeps the order.
    const received = (seq: number) =>
      page.locator(`.timeline li[data-seq="${seq}"]`).waitFor({ timeout: limitMs });
    await hidden.evaluate(`
      globalThis.last = 0;
      new BroadcastChannel("symphony.stream").onmessage = ({ data }) => {
        if (data.type === "event") globalThis.last = data.event.seq;
      };
    `);
    const both = async (seq: number) => {
      await received(seq);
      await hidden.waitForFunction(`globalThis.last === ${seq}`, null, { timeout: limitMs });
    };
    await both(await flood.send(first, told));
    const sizes = async () => [await sizeOf(page), await sizeOf(hidden)] as const;
    const early = await sizes();
    const earlyServer = residentBytes(server.child.pid);
    const requests = flood.requests;
    await both(await flood.send(all - first, told));
    const late = await sizes();
    for (const [at, { heap, nodes }] of late.entries()) {
      const { heap: before = 0, nodes: known = 0 } = early[at] ?? {};
      assert.ok(heap - before < 20 * mb, `tab ${at}: ${before} to ${heap} bytes of heap`);
      assert.ok(nodes - known < 5_000, `tab ${at}: ${known} to ${nodes} nodes`);
    }
    assert.ok((await page.locator(".timeline li").count()) <= 500);
    const asked = flood.requests - requests;
    assert.ok(asked <= (all - first) / 50, `${asked} requests`);
    const grown = residentBytes(server.child.pid) - earlyServer;
    assert.ok(grown < 100 * mb, `the server has grown by ${grown} bytes`);
    // Its workspace has nothing to compare, which is a 409.
    assert.deepEqual(
      complaints.filter((text) => !/status of 409/.test(text)),
      [],
    );
    t.diagnostic(JSON.stringify({ early, late, asked, grown }));
  });
});
