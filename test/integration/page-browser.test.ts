// The page at `/` in a real Chromium, against a real server whose agents are scripted. D23, D24 and D28 are rows of the cases of
// the desk.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Browser } from "playwright-core";
import type { Step } from "../../src/demo/script.ts";
import { lane, launchBrowser, openPage, pageProject } from "../support/worlds/page.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const evil = `<img src=x onerror="document.title='ran'"> "'& <b>bold</b> javascript:alert(1)`;

const done: readonly Step[] = [{ do: "tool", name: "issue_move", arguments: { state: "Done" } }];
const turns: Record<string, readonly (readonly Step[])[]> = {
  "LOCAL-1": [
    [
      { do: "ask", question: "Which colour?", options: ["Blue", "Green"] },
      { do: "say", text: evil },
      ...done,
    ],
  ],
  "LOCAL-2": [[{ do: "waitForSteer", ms: 120_000, writeTo: "told.txt" }, ...done]],
  "LOCAL-3": [[{ do: "hang" }]],
};
const twoQuestions = {
  "LOCAL-1": [
    [
      { do: "ask", question: "Which colour?", options: ["Blue", "Green"] },
      { do: "ask", question: "Which size?", options: ["Blue", "Large"] },
      { do: "hang" },
    ] satisfies Step[],
  ],
};

const project = (more: object = {}) => pageProject(turns, more);

describe("the page in a browser", () => {
  let browser: Browser;
  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  const open = (url: string) => openPage(browser, url);

  test("each action is carried out, and its result is seen without a reload", async () => {
    await using place = await project();
    await using server = await Served.start(place);
    await using shown = await open(server.url);
    const { page, complaints } = shown;
    for (const title of ["Choose", "Wait", evil]) {
      assert.equal((await symphony(place, "issue", "create", "--title", title)).code, 0);
    }
    // Answer: in the row itself, and only once although it is clicked twice.
    const answer = lane(page, "needs").getByRole("button", { name: "Blue" });
    await answer.waitFor();
    assert.match(await lane(page, "needs").innerText(), /Which colour\?/);
    await answer.dblclick();
    await lane(page, "done").getByText("LOCAL-1").waitFor();
    // Steer: the text reaches the agent.
    await page.getByRole("link", { name: "LOCAL-2", exact: true }).click();
    // Before its turn the server refuses guidance.
    await page.getByText("turn started").first().waitFor();
    await page.getByLabel("Guidance for the agent").fill("paint it blue");
    await page.getByRole("button", { name: "Steer" }).click();
    await page.getByText(/^(The agent has it|Accepted)/).waitFor();
    assert.equal(await page.getByLabel("Guidance for the agent").inputValue(), "");
    const told = join(place.root, "workspaces", "LOCAL-2", "told.txt");
    await eventually("the agent has it", async () =>
      existsSync(told) ? /paint it blue/.test(await readFile(told, "utf8")) : true,
    );
    await page.locator(".heading").getByText("completed").waitFor();
    // Abort: asked once more, then held; then moved back to the queue.
    await page.goto(`${server.url}/#/issue/LOCAL-3`);
    await page.getByText("turn started").first().waitFor();
    await page.getByRole("button", { name: "Abort" }).click();
    await page.getByRole("button", { name: "Stop LOCAL-3 now" }).click();
    await page.locator(".heading").getByText("held").waitFor();
    await page.getByLabel("Move to").selectOption("queued");
    await page.getByRole("button", { name: "Move" }).click();
    await page.getByText(/^Moved from held to queued/).waitFor();
    // Model: shown by the server afterwards.
    await page.getByLabel("Model").fill("another-model");
    await page.getByRole("button", { name: "Choose" }).click();
    await page.getByText(/^another-model from the next/).waitFor();
    const { overrides } = await server.client.issues.detail({ params: { id: "LOCAL-3" } });
    assert.equal(overrides.model, "another-model");
    // A refusal of the server stands next to its control.
    await page.getByLabel("Model").fill("bad\u0001name");
    await page.getByRole("button", { name: "Choose" }).click();
    await page.locator(".refused").waitFor();
    // D23: text of issues and agents is text.
    await page.goto(`${server.url}/#/issue/LOCAL-1`);
    await page.getByText("<b>bold</b>").first().waitFor();
    await page.goto(`${server.url}/#/?q=bold`);
    await page.getByText(evil.slice(0, 20)).first().waitFor();
    assert.equal(await page.locator("main img, main b:text-is('bold')").count(), 0);
    assert.notEqual(await page.title(), "ran");
    assert.deepEqual(
      complaints.filter((text) => !/status of (?:4\d\d)/.test(text)),
      [],
    );
  });

  test("D24: a second click, another tab and a lost reply answer no later question, send guidance once, and move nothing twice", async () => {
    await using place = await pageProject(twoQuestions);
    await using server = await Served.start(place);
    await server.client.issues.create({ body: { title: "Asks twice" } });
    await using shown = await open(server.url);
    const { page, context } = shown;
    const question = (text: string) => lane(page, "needs").getByText(text).waitFor();
    const blue = lane(page, "needs").getByRole("button", { name: "Blue" });
    await question("Which colour?");
    // The server has the answer, and its reply is lost.
    let sent = 0;
    await context.route("**/respond", async (route) => {
      sent++;
      if (sent === 1) await route.fetch();
      await (sent === 1 ? route.abort() : route.continue());
    });
    // What the page knows stays as it was: it believes that the first question is still asked.
    await page.route("**/state?*", (route) => route.abort());
    await blue.click();
    await lane(page, "needs")
      .getByText(/^The server did not answer/)
      .waitFor();
    const asked = async () =>
      (await server.client.issues.detail({ params: { id: "LOCAL-1" } })).needs?.prompt ?? "";
    await eventually("the next question", async () => (await asked()).includes("Which size?"));
    await blue.click();
    await lane(page, "needs")
      .getByText(/^LOCAL-1 no longer asks this/)
      .waitFor();
    assert.equal(sent, 2);
    assert.match(await asked(), /Which size\?/);
    await page.unroute("**/state?*");
    await question("Which size?");
    await blue.click();
    await lane(page, "needs")
      .getByText(/^Answered/)
      .or(lane(page, "running").first())
      .first()
      .waitFor();
    await page.goto(`${server.url}/#/issue/LOCAL-1`);
    // Guidance: the reply is lost, the text sent again is the same guidance, another text is another one.
    const keys: string[] = [];
    await context.route("**/steer", async (route) => {
      keys.push(route.request().headers()["idempotency-key"] ?? "");
      if (keys.length === 1) await route.fetch();
      await (keys.length <= 2 ? route.abort() : route.continue());
    });
    const text = page.getByLabel("Guidance for the agent");
    const steer = page.getByRole("button", { name: "Steer" });
    const lost = page.locator(".controls .refused", { hasText: "did not answer" });
    await text.fill("go left");
    await steer.click();
    await lost.waitFor();
    await steer.click();
    await eventually("it was sent again", async () => keys.length === 2);
    await lost.waitFor();
    await text.fill("go right");
    await steer.click();
    await page.getByText(/^(The agent has it|Accepted)/).waitFor();
    assert.equal(keys[0], keys[1]);
    assert.notEqual(keys[1], keys[2]);
    // A move must be chosen anew.
    await page.getByLabel("Move to").selectOption("held");
    const move = page.getByRole("button", { name: "Move" });
    await move.click();
    await page.getByText(/^Moved from \w+ to held/).waitFor();
    assert.equal(await move.isDisabled(), true);
  });

  test("it survives a restart of the server without a reload, and keeps the draft", async () => {
    await using place = await project();
    let server = await Served.start(place);
    try {
      const { port } = new URL(server.url);
      assert.equal((await symphony(place, "issue", "create", "--title", "A")).code, 0);
      assert.equal((await symphony(place, "issue", "create", "--title", "B")).code, 0);
      await using shown = await open(`${server.url}/#/issue/LOCAL-2`);
      const { page } = shown;
      await page.evaluate("globalThis.sameDocument = true");
      const draft = page.getByLabel("Guidance for the agent");
      await draft.fill("half a sen");
      await server.crash();
      await page.locator(".badge.lost").waitFor();
      server = await Served.start(place, "--port", port);
      await page.locator(".badge.live").waitFor();
      await draft.waitFor();
      assert.equal(await draft.inputValue(), "half a sen");
      assert.equal((await symphony(place, "issue", "create", "--title", "After")).code, 0);
      await page.getByRole("link", { name: "All issues" }).click();
      await page.getByRole("link", { name: "LOCAL-3", exact: true }).waitFor();
      assert.equal(await page.evaluate("globalThis.sameDocument"), true);
    } finally {
      await server.stop();
    }
  });

  test("D28: the token is asked for once, kept for the tab, and never in an address or in local storage", async () => {
    await using place = await project({ server: { auth: "token" } });
    const withToken = { ...place, env: { ...place.env, SYMPHONY_TOKEN: "token-of-this-test" } };
    await using server = await Served.start(withToken);
    await using shown = await open(server.url);
    const { page } = shown;
    const ask = page.getByLabel("Token");
    await ask.fill("a-wrong-one");
    await page.getByRole("button", { name: "Continue" }).click();
    await ask.waitFor();
    await ask.fill("token-of-this-test");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.locator(".badge.live").waitFor();
    await page.reload();
    await page.locator(".badge.live").waitFor();
    assert.ok(!page.url().includes("token-of-this-test"));
    assert.equal(await page.evaluate("localStorage.length + document.cookie.length"), 0);
    assert.ok(!server.log.includes("token-of-this-test"));
  });

  test("with 150 issues one event changes one row, and a search is in the address", async () => {
    await using place = await project({ agent: { max_concurrent_agents: 1, approvals: "ask" } });
    await using server = await Served.start(place);
    for (let at = 0; at < 150; at++) {
      await server.client.issues.create({ body: { title: `Issue ${at}` } });
    }
    await using shown = await open(server.url);
    const { page } = shown;
    await lane(page, "queued").getByText("49 not shown").waitFor();
    await page.evaluate(`
      globalThis.touched = new Set();
      new MutationObserver((changes) => {
        for (const { target } of changes) {
          const element = target.nodeType === 1 ? target : target.parentElement;
          const row = element?.closest("li");
          if (row) globalThis.touched.add(row.querySelector("a")?.textContent);
        }
      }).observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
    `);
    await server.client.issues.edit({ params: { id: "LOCAL-5" }, body: { title: "Renamed" } });
    await lane(page, "queued").getByText("Renamed").waitFor();
    const touched = (await page.evaluate("[...globalThis.touched]")) as string[];
    assert.ok(touched.includes("LOCAL-5"));
    const others = touched.filter((name) => name !== "LOCAL-5" && name !== "LOCAL-1");
    assert.deepEqual(others, []);
    await page.getByLabel("Search").fill("Issue 77");
    await page.getByRole("link", { name: "LOCAL-78", exact: true }).waitFor();
    assert.equal(await page.locator(".rows li").count(), 1);
    assert.match(page.url(), /#\/\?q=Issue%2077$/);
  });
});
