// Each view of the page in light and dark. D15, D16 and D25 are rows of the cases of the desk.
// SYMPHONY_PICTURES=docs writes the pictures of the documentation.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { lane, launchBrowser, openPage } from "../support/worlds/page.ts";
import { desk } from "../support/worlds/page-desk.ts";
import { eventually } from "../support/worlds/symphony.ts";

const axe = readFileSync("node_modules/axe-core/axe.min.js", "utf8");
const views = [
  { name: "page", hash: "#/", ready: "#lane-needs" },
  { name: "page-issue", hash: "#/issue/LOCAL-2", ready: "#diff pre" },
  { name: "page-overview", hash: "#/overview", ready: "#overview .counts" },
] as const;
const themes = ["light", "dark"] as const;

/** What axe finds: contrast of every text among it. */
async function violations(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe);
  const found = (await page.evaluate(`
    axe.run(document).then(({ violations }) => violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => [id, html.slice(0, 200), failureSummary].join(" "))))
  `)) as string[];
  return found;
}

const written = new URL("../../docs/pictures.json", import.meta.url);
const outlines: Record<string, readonly string[]> = JSON.parse(readFileSync(written, "utf8"));

/** D30: a picture whose view has other headings, controls and columns by now is out of date. */
async function picture(page: Page, name: string): Promise<void> {
  const dir = process.env["SYMPHONY_PICTURES"];
  const fixed = "h1, h2, h3, th, label, summary, button:not(dialog *), header a, footer a";
  const texts = await page.locator(fixed).allInnerTexts();
  const plain = texts.map((text) => text.replaceAll(/\d+/g, "0").replaceAll(/\s+/g, " ").trim());
  const outline = [...new Set(plain)].filter((text) => text !== "").sort();
  if (!dir) {
    const kept = outlines[name];
    if (kept !== undefined) assert.deepEqual(outline, kept, `docs/${name}.png is out of date`);
    return;
  }
  await page.screenshot({ path: join(dir, `${name}.png`), fullPage: name !== "page-phone" });
  // Of the dark ones the documentation shows the first.
  if (name.endsWith("-dark") && name !== "page-dark") return;
  outlines[name] = outline;
  writeFileSync(written, `${JSON.stringify(outlines, null, 2)}\n`);
}

describe("the views of the page", () => {
  let browser: Browser;
  let made: Awaited<ReturnType<typeof desk>>;
  before(async () => {
    browser = await launchBrowser();
    made = await desk();
  });
  after(async () => {
    await browser.close();
    await made[Symbol.asyncDispose]();
  });

  for (const colorScheme of themes) {
    test(`D15: axe finds nothing in any view, its contrast of 4.5 included: ${colorScheme}`, async () => {
      const { url } = made.server;
      const viewport = { width: 1_180, height: 820 };
      await using shown = await openPage(browser, url, { colorScheme, viewport });
      const { page } = shown;
      for (const { name, hash, ready } of views) {
        await page.goto(`${url}/${hash}`);
        await page.locator(ready).first().waitFor();
        await page.locator(".badge.live").waitFor();
        await picture(page, colorScheme === "dark" ? `${name}-dark` : name);
        assert.deepEqual(await violations(page), [], name);
      }
      await page.keyboard.press("?");
      await page.getByRole("dialog").waitFor();
      assert.deepEqual(await violations(page), [], "help");
    });
  }

  test("a diff has colours by syntax, also under the strict policy, and a renamed file says both names", async () => {
    await using shown = await openPage(browser, `${made.server.url}/#/issue/LOCAL-2`);
    const { page, complaints } = shown;
    const diff = page.locator("#diff");
    await diff.locator(".add .word", { hasText: "class" }).waitFor();
    await diff.locator(".add .remark", { hasText: "Counts requests of one caller" }).waitFor();
    await diff.locator("summary", { hasText: "NOTES.md → HISTORY.md renamed, +0 −0" }).waitFor();
    const colour = (look: string) =>
      page.evaluate(`getComputedStyle(document.querySelector("#diff .add ${look}")).color`);
    assert.notEqual(await colour(".word"), await colour(""));
    assert.deepEqual(complaints, []);
  });

  test("D15: in forced colours each state is still said by a word", async () => {
    const { url } = made.server;
    await using shown = await openPage(browser, url, { forcedColors: "active" });
    const { page } = shown;
    await page.locator(".badge.live").waitFor();
    for (const title of ["Needs you", "Running", "Queued", "Held or failed", "Done today"]) {
      await page.getByRole("heading", { name: title }).waitFor();
    }
    assert.match(await lane(page, "held").innerText(), /held .* ago/);
    assert.deepEqual(await violations(page), []);
  });

  test("D16: one polite region speaks of changes of state alone, and the focus stays", async () => {
    const { server } = made;
    await using shown = await openPage(browser, server.url);
    const { page } = shown;
    await page.locator(".badge.live").waitFor();
    assert.equal(await page.locator("[aria-live]").count(), 1);
    await page.evaluate(`
      globalThis.spoken = [];
      new MutationObserver(() => {
        const text = document.querySelector("[aria-live]").textContent;
        if (text !== "" && text !== globalThis.spoken.at(-1)) globalThis.spoken.push(text);
      }).observe(document.querySelector("[aria-live]"), { childList: true, characterData: true, subtree: true });
    `);
    const link = lane(page, "queued").getByRole("link", { name: "LOCAL-6", exact: true });
    await link.focus();
    // Rows above the one with the focus, and a title that changes, are no news for the ear.
    for (const title of ["One more", "And one more"]) {
      await server.client.issues.create({ body: { title, priority: 1 } });
    }
    await lane(page, "queued").getByText("And one more").waitFor();
    const focused = () => page.evaluate("document.activeElement.textContent");
    assert.equal(await focused(), "LOCAL-6");
    await server.client.issues.transition({ params: { id: "LOCAL-7" }, body: { to: "held" } });
    await lane(page, "held").getByRole("link", { name: "LOCAL-7" }).waitFor();
    const spoken = () => page.evaluate("globalThis.spoken") as Promise<string[]>;
    await eventually("it is spoken", async () => (await spoken()).includes("LOCAL-7 is held"));
    assert.deepEqual(await spoken(), ["LOCAL-7 is held"]);
    assert.equal(await focused(), "LOCAL-6");
  });

  test("each key does what the help says, and none while something is typed", async () => {
    await using shown = await openPage(browser, made.server.url);
    const { page } = shown;
    const press = (key: string) => page.keyboard.press(key);
    const focused = () => page.evaluate("document.activeElement.textContent");
    const address = () => page.evaluate("location.hash");
    await page.locator(".badge.live").waitFor();
    await press("j");
    assert.equal(await focused(), "LOCAL-1");
    await press("j");
    assert.equal(await focused(), "LOCAL-2");
    await press("k");
    assert.equal(await focused(), "LOCAL-1");
    await press("j");
    await press("Enter");
    const guidance = page.getByLabel("Guidance for the agent");
    await guidance.waitFor();
    assert.equal(await address(), "#/issue/LOCAL-2");
    const before = await guidance.inputValue();
    await press("s");
    await page.keyboard.type("jbnv?/s");
    assert.equal(await guidance.inputValue(), `${before}jbnv?/s`);
    assert.equal(await address(), "#/issue/LOCAL-2");
    await guidance.fill("");
    await guidance.blur();
    await press("v");
    await page.locator("#overview .counts").waitFor();
    await press("n");
    await lane(page, "needs").waitFor();
    assert.deepEqual(await page.locator(".lane").evaluateAll((all) => all.map((one) => one.id)), [
      "lane-needs",
    ]);
    await press("b");
    await lane(page, "running").waitFor();
    await press("/");
    await page.keyboard.type("mails");
    await page.getByRole("link", { name: "LOCAL-6", exact: true }).waitFor();
    await page.getByLabel("Search").blur();
    await press("?");
    const help = page.getByRole("dialog");
    for (const key of ["/", "j, k", "Enter", "b", "n", "v", "s", "?"]) {
      await help.getByText(key, { exact: true }).waitFor();
    }
    await press("v");
    assert.equal(await address(), "#/?q=mails");
    await press("Escape");
    await help.waitFor({ state: "detached" });
  });

  test("every filter stands in the address: read from it, written to it, and together", async () => {
    const { url } = made.server;
    await using shown = await openPage(browser, url);
    const { page } = shown;
    const issues = async () =>
      (await page.locator(".lane .issue a").allInnerTexts()).toSorted().join(" ");
    for (const [query, found] of [
      ["lane=held&q=build", "LOCAL-5"],
      ["label=api", "LOCAL-2 LOCAL-4"],
      ["agent=codex", "LOCAL-2"],
      ["q=mails", "LOCAL-6"],
      ["label=web&lane=queued", "LOCAL-6"],
      ["q=colour&label=web&lane=needs", "LOCAL-1"],
      ["label=gone", ""],
    ]) {
      await page.goto(`${url}/#/?${query}`);
      await eventually(`${query}: ${found}`, async () => (await issues()) === found);
    }
    await page.getByText("No issue matches.").waitFor();
    await page.goto(`${url}/#/?lane=held`);
    await lane(page, "held").getByRole("link", { name: "LOCAL-5" }).waitFor();
    assert.equal(await page.locator(".lane").count(), 1);
    await page.goto(`${url}/#/?label=gone`);
    await page.getByText("No issue matches.").waitFor();
    assert.equal(await page.getByLabel("Label").inputValue(), "gone");
    await page.getByLabel("Label").selectOption("api");
    await page.getByLabel("Lane").selectOption("running");
    await page.getByLabel("Search").fill("limit");
    await eventually("it is found", async () => (await issues()) === "LOCAL-2");
    assert.equal(await page.evaluate("location.hash"), "#/?q=limit&lane=running&label=api");
    await page.reload();
    await eventually("it is kept", async () => (await issues()) === "LOCAL-2");
    assert.deepEqual(
      [
        await page.getByLabel("Search").inputValue(),
        await page.getByLabel("Lane").inputValue(),
        await page.getByLabel("Label").inputValue(),
      ],
      ["limit", "running", "api"],
    );
  });

  test("D25: on a phone nothing is wider than the screen, and one tap sends the guidance", async () => {
    const { url } = made.server;
    const phone = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };
    await using shown = await openPage(browser, url, phone);
    const { page } = shown;
    await page.locator(".badge.live").waitFor();
    await picture(page, "page-phone");
    const labels = ["web", "l".repeat(90)];
    await made.server.client.issues.edit({ params: { id: "LOCAL-6" }, body: { labels } });
    await page.locator("#lane-queued").getByText(/l{90}/).waitFor();
    for (const { hash, ready } of views) {
      await page.goto(`${url}/${hash}`);
      await page.locator(ready).first().waitFor();
      assert.ok(Number(await page.evaluate("document.documentElement.scrollWidth")) <= 360, hash);
    }
    await page.goto(`${url}/#/issue/LOCAL-2`);
    const text = page.getByLabel("Guidance for the agent");
    const button = page.getByRole("button", { name: "Steer" });
    await text.fill("half a wo");
    // What confirms a word of an input method sends nothing; neither does Enter, which is a new line here.
    await text.dispatchEvent("keydown", { key: "Enter", isComposing: true, keyCode: 229 });
    assert.equal(await text.inputValue(), "half a wo");
    const size = await page.evaluate(
      "getComputedStyle(document.querySelector('textarea')).fontSize",
    );
    assert.equal(size, "16px");
    // With the keyboard of the phone up, half of the screen is left.
    await page.setViewportSize({ width: 360, height: 320 });
    await text.blur();
    await text.focus();
    await eventually("the button is visible", async () => {
      const box = await button.boundingBox();
      return box !== null && box.y >= 0 && box.y + box.height <= 320;
    });
    await page.setViewportSize({ width: 640, height: 360 });
    assert.equal(await text.inputValue(), "half a wo");
    const held = Promise.withResolvers<void>();
    await page.route("**/steer", (route) => held.promise.then(() => route.continue()));
    await button.tap();
    await page.getByRole("button", { name: "Sending …" }).waitFor();
    await text.fill("half a word more");
    held.resolve();
    await page.getByText(/^(The agent has it|Accepted)/).waitFor();
    assert.equal(await text.inputValue(), "half a word more", "typed meanwhile, and not sent");
  });

  test("D25: on a phone a title and a guidance of one long word do not hide or push away anything", async () => {
    const { url, client } = made.server;
    await using shown = await openPage(browser, url, { viewport: { width: 360, height: 640 } });
    const { page } = shown;
    await client.issues.edit({ params: { id: "LOCAL-2" }, body: { title: "t".repeat(400) } });
    await page.goto(`${url}/#/issue/LOCAL-2`);
    const title = page.locator("h2 bdi", { hasText: "tttt" });
    const box = await title.boundingBox();
    assert.ok(box !== null && box.x + box.width <= 360, JSON.stringify(box));
    await page.getByLabel("Guidance for the agent").fill("y".repeat(9_000));
    await page.getByText("symphony steer LOCAL-2 -", { exact: true }).waitFor();
  });
});
