import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const executablePath = process.env["SYMPHONY_CHROMIUM"] ?? "/usr/bin/chromium";

test("a browser shows every operation of the API, tries one out, and makes no request to another host", async (t) => {
  assert.ok(existsSync(executablePath), `SYMPHONY_CHROMIUM: no browser at ${executablePath}`);
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const { url } = server.listening;
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1_200, height: 1_400 } });
    const asked = new Set<string>();
    const complaints: string[] = [];
    page.on("request", (request) =>
      asked.add(new URL(request.url()).protocol + new URL(request.url()).host),
    );
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(`${url}/api/docs`);
    await page.waitForSelector(".opblock");
    const document = (await server.ask("/api/v1/openapi.json")).json();
    const operations = Object.values<object>(document.paths).flatMap((item) => Object.keys(item));
    assert.equal(await page.locator(".opblock").count(), operations.length);
    const state = page.locator(".opblock", { hasText: "/api/v1/state" }).first();
    await state.click();
    await state.locator(".try-out__btn").click();
    await state.locator(".execute").click();
    await state.locator(".live-responses-table").waitFor();
    assert.match(await state.locator(".live-responses-table").innerText(), /ENG-1/);
    const picture = process.env["SYMPHONY_SCREENSHOT"];
    if (picture) await page.screenshot({ path: picture });
    assert.deepEqual(complaints, []);
    const { host } = new URL(url);
    t.diagnostic([...asked].join(" "));
    assert.deepEqual(
      [...asked].filter((one) => one !== `http:${host}` && !one.startsWith("data:")),
      [],
    );
  } finally {
    await browser.close();
  }
});

test("the documentation of the API fits a phone, and is dark where the browser is", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    for (const colorScheme of ["light", "dark"] as const) {
      const viewport = { width: 360, height: 640 };
      const context = await browser.newContext({ viewport, isMobile: true, colorScheme });
      const page = await context.newPage();
      await page.goto(`${server.listening.url}/api/docs`);
      await page.waitForSelector(".opblock");
      const [width, background] = (await page.evaluate(
        "[document.documentElement.clientWidth, getComputedStyle(document.body).backgroundColor]",
      )) as [number, string];
      assert.equal(width, 360);
      assert.equal(background, colorScheme === "dark" ? "rgb(28, 32, 34)" : "rgb(250, 250, 250)");
      await context.close();
    }
  } finally {
    await browser.close();
  }
});
