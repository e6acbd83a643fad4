import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

describe("H-13: the page", () => {
  test("shows the state also without its script, under a policy that allows no other", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const page = await server.ask("/");
    assert.equal(page.status, 200);
    assert.match(page.headers["content-type"] ?? "", /^text\/html; charset=utf-8/);
    assert.match(page.text, /ENG-1/);
    const scripts = [...page.text.matchAll(/<script([^>]*)>([^<]*)<\/script>/g)];
    const [map, main] = scripts.map(([, attributes, text]) => [attributes, text]);
    assert.deepEqual(main, [' type="module" src="/web/main.ts"', ""]);
    assert.equal(map?.[0], ' type="importmap"');
    assert.equal(scripts.length, 2);
    assert.doesNotMatch(page.text, /javascript:|\son\w+=/i);
    const links = [...page.text.matchAll(/<link [^>]*>/g)].map(([link]) => link);
    assert.deepEqual(links, ['<link rel="stylesheet" href="/web/style.css">']);
    const style = await server.ask("/web/style.css");
    assert.match(style.headers["content-type"] ?? "", /^text\/css; charset=utf-8/);
    assert.match(style.text, /prefers-color-scheme: dark/);
    const policy = String(page.headers["content-security-policy"]);
    assert.match(policy, /^default-src 'none';/);
    assert.match(policy, /; style-src 'self';/);
    const mapHash = createHash("sha256")
      .update(map?.[1] ?? "")
      .digest("base64");
    assert.ok(policy.includes(`script-src 'self' 'sha256-${mapHash}';`));
    assert.match(policy, /require-trusted-types-for 'script'/);
    assert.doesNotMatch(page.text, /style="|<style|<img|https?:\/\/(?!127)/);
  });

  test("says that decisions are not recorded, since when and why", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    assert.doesNotMatch((await server.ask("/")).text, /not recorded/);
    const trouble = { reason: "Cannot use record.db: the disk is full", sinceWall: 0 };
    Object.defineProperty(world.core, "recorder", { value: { trouble, lost: 7 } });
    const { text } = await server.ask("/");
    assert.match(
      text,
      /Decisions are not recorded\.<\/b> 7 since 1970-01-01T00:00:00\.000Z: Cannot use record\.db: the disk is full\./,
    );
  });

  test("escapes all text from the tracker and the agent", async () => {
    const evil = `<img src=x onerror=alert(1)>"'&</td></table><script>x</script>`;
    const hostile = issue(`E<b>-1`, {
      title: evil,
      state: "Todo",
      url: `https://t.example/ENG-1"><b>`,
    });
    await using world = await createWorld({ issues: [hostile] });
    await using server = await serve(world);
    world.scheduler
      .run(hostile.identifier)
      .say(
        { type: "session.started", threadId: "t", resumed: false },
        { type: "message", text: evil },
      );
    const { text } = await server.ask("/");
    assert.equal(text.match(/<script/g)?.length, 2);
    assert.doesNotMatch(text, /<img|<b>-1|ENG-1"><b>/);
    assert.match(text, /&lt;img src=x onerror=alert\(1\)&gt;&quot;&#39;&amp;/);
  });

  const links: [string | null, string][] = [
    ["https://t.example/ENG-1", "https://t.example/ENG-1"],
    ["http://t.example/?a=1&b=2", "http://t.example/?a=1&amp;b=2"],
    ["javascript:alert(1)", "/api/v1/ENG-1"],
    ["JaVaScRiPt:alert(1)", "/api/v1/ENG-1"],
    ["data:text/html,x", "/api/v1/ENG-1"],
    ["//evil.example", "/api/v1/ENG-1"],
    ["not a url", "/api/v1/ENG-1"],
    [null, "/api/v1/ENG-1"],
  ];
  for (const [url, href] of links) {
    test(`an issue at ${url} links to ${href}`, async () => {
      await using world = await createWorld({ issues: [issue("ENG-1", { url })] });
      await using server = await serve(world);
      assert.ok((await server.ask("/")).text.includes(`<a href="${href}"`));
    });
  }

  test("is shown also when no snapshot is available", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    world.core.orchestrator.view = () => {
      throw new Error("out of order");
    };
    const page = await server.ask("/");
    assert.equal(page.status, 200);
    assert.match(page.text, /No snapshot/);
    assert.doesNotMatch(page.text, /out of order/);
    assert.match(world.logged.join(""), /out of order.*"request_id":"req_/);
  });

  test("says why no attempt is started, and that the tracker fails", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    world.scheduler.problem = { code: "invalid_config", message: "polling.interval_ms: <bad>" };
    world.scheduler.readFails = "Linear is away";
    await world.scheduler.advance(30_000);
    const { text } = await server.ask("/");
    assert.match(text, /polling\.interval_ms: &lt;bad&gt;/);
  });

  test("shows 50 rows of a list and says how many more there are", async () => {
    const issues = Array.from({ length: 60 }, (_, index) => issue(`Q-${index}`));
    const settings = config({ agent: { maxConcurrentAgents: 1 } });
    await using world = await createWorld({ issues, config: settings });
    await using server = await serve(world);
    const { text } = await server.ask("/");
    assert.match(text, /59, 9 not shown/);
    assert.equal(text.match(/<tr><td>/g)?.length, 51);
  });

  test("says when there is nothing to do", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    assert.match((await server.ask("/")).text, /No issue is queued/);
  });
});
