// Pull requests, checks and conflicts on the page, at a GitHub that checks its answers against their description.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser } from "playwright-core";
import type { Step } from "../../src/demo/script.ts";
import { deliveryWorld, round } from "../support/worlds/delivery-world.ts";
import { lane, launchBrowser, openPage } from "../support/worlds/page.ts";

const turns: readonly Step[] = round("one.txt", "changed by this one");

describe("deliveries on the page", () => {
  let browser: Browser;
  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  test("a row and its issue say which pull request waits for what, with checks, review and conflicts", async () => {
    await using world = await deliveryWorld({
      issues: { "LOCAL-1": [turns], "LOCAL-2": [round("one.txt", "changed otherwise")] },
      github: { ci: "manual" },
    });
    const { github } = world;
    await world.create();
    await world.serve();
    const number = (await world.offered(1)).delivery?.pull_request?.number;
    await using shown = await openPage(browser, world.server.url);
    const { page, complaints } = shown;
    const row = lane(page, "review").locator("li", { hasText: "LOCAL-1" });
    await row.getByRole("link", { name: `pull request #${number}` }).waitFor();
    await row.getByText("no review yet").waitFor();
    // What changes at the site is seen without a reload.
    await github.act({ do: "ci", conclusion: "success" });
    await row.getByText("checks passed").waitFor();
    await row.getByRole("link", { name: "LOCAL-1", exact: true }).click();
    const section = page.locator("#delivery");
    await section.getByText("checks passed").waitFor();
    await section.getByText(/^waits for a review/).waitFor();
    await page.locator(".gates").getByText("closed: not in review").waitFor();
    await section.getByRole("button", { name: "Deliver now" }).click();
    await section.locator(".done", { hasText: `pull request #${number}` }).waitFor();
    await github.act({ do: "review", as: "grace", event: "approve" });
    await section.getByText("review: approved").waitFor();
    // Another branch that changes the same lines.
    await world.create("Greet otherwise");
    const conflict = page.locator("#conflicts li", { hasText: "LOCAL-2" }).first();
    await conflict.getByText("git cannot merge the two").waitFor();
    assert.match(await conflict.innerText(), /one\.txt: conflict/);
    // On the board both say so, and lead to each other.
    await page.getByRole("link", { name: "All issues" }).click();
    const one = lane(page, "review").locator("li", { hasText: "git cannot merge it with LOCAL-2" });
    await one.getByText("symphony open LOCAL-1").waitFor();
    await one.getByRole("link", { name: "LOCAL-2" }).click();
    await page.locator("#conflicts li", { hasText: "LOCAL-1" }).first().waitFor();
    assert.deepEqual(complaints, []);
  });
});
