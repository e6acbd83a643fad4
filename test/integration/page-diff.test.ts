// D22 of the cases of the desk: a diff that is too large to be shown, in a real Chromium. Times are in `bench/page.ts`.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser } from "playwright-core";
import { launchBrowser, openPage } from "../support/worlds/page.ts";
import { hugeDiff } from "../support/worlds/page-diff.ts";

describe("a huge diff on the page", () => {
  let browser: Browser;
  before(async () => {
    browser = await launchBrowser();
  });
  after(() => browser.close());

  test("D22: the answer and the page are bounded, the first lines are open, the rest is folded with its figures", async () => {
    await using made = await hugeDiff();
    const answer = await fetch(`${made.server.url}/api/v1/LOCAL-1/diff`);
    const text = await answer.text();
    assert.ok(text.length < 3 * 1024 * 1024, `${text.length} characters`);
    const { totals, files, truncated } = JSON.parse(text);
    assert.equal(truncated, true);
    assert.equal(files.length, 2_000);
    assert.ok(totals.files > 3_000 && totals.additions > 50_000, JSON.stringify(totals));
    await using shown = await openPage(browser, `${made.server.url}/#/issue/LOCAL-1`);
    const { page, complaints } = shown;
    const diff = page.locator("#diff");
    await diff.getByText("+300: a line of the long file").waitFor();
    assert.match(await diff.locator("h2").innerText(), /3,\d\d\d files, \+\d\d,\d\d\d/);
    assert.equal(await diff.locator("details").count(), 100);
    assert.ok((await diff.locator("pre span").count()) <= 800);
    // A line of 2 MB is cut, a binary file says so, files that were not sent have their figures.
    const oneLine = diff.locator("details", { hasText: "a-one-line.js" });
    await oneLine.locator("summary").click();
    await oneLine.getByText(/… \([\d,]+ characters\)/).waitFor();
    assert.ok((await oneLine.innerText()).length < 10_000);
    await diff
      .locator("details", { hasText: "a-binary.bin" })
      .getByText("binary", { exact: true })
      .waitFor();
    const long = diff.locator("details", { hasText: "a-long.txt" });
    await long.getByRole("button", { name: /^400 of [\d,]+ more lines$/ }).click();
    await long.getByText("+700: a line of the long file").waitFor();
    await diff.getByRole("button", { name: /^100 of 1,900 more files$/ }).click();
    await diff.locator("details").nth(199).waitFor();
    assert.match(await diff.locator("details").nth(199).innerText(), /\+1 −0, not sent/);
    await diff.getByText(/^1,\d\d\d files more are not listed/).waitFor();
    const nodes = await page.evaluate("document.querySelectorAll('#diff *').length");
    assert.ok(Number(nodes) < 5_000, `${nodes} elements`);
    assert.deepEqual(complaints, []);
  });
});
