import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

describe("GET /api/docs", () => {
  test("is Swagger UI for this server's document, and loads everything from this server", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    const page = await server.ask("/api/docs");
    assert.deepEqual(
      [page.status, page.headers["content-type"]],
      [200, "text/html; charset=utf-8"],
    );
    const addresses = [...page.text.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, url]) => url);
    assert.deepEqual(addresses, [
      "/api/docs/assets/v/swagger-ui.min.css",
      "data:,",
      "/api/docs/assets/v/swagger-ui-bundle.js",
      "/api/docs/assets/v/swagger-ui-standalone-preset.js",
    ]);
    assert.match(page.text, /"url":"\/api\/v1\/openapi\.json"/);
    assert.doesNotMatch(page.text, /cdnjs|googleapis|petstore/);
    for (const address of addresses.filter((url) => url?.startsWith("/"))) {
      const asset = await server.ask(address ?? "");
      assert.equal(asset.status, 200, address);
      assert.match(asset.headers["content-type"] ?? "", /^text\/(css|javascript)/);
      assert.ok(asset.text.length > 50_000, address);
    }
  });

  test("allows only scripts that carry this answer's nonce", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    const nonces = new Set<string>();
    for (const page of [await server.ask("/api/docs"), await server.ask("/api/docs")]) {
      const policy = String(page.headers["content-security-policy"]);
      const nonce = /script-src 'self' 'nonce-([^']{20,})'/.exec(policy)?.[1] ?? "";
      nonces.add(nonce);
      assert.match(policy, /default-src 'none'/);
      assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval|https?:/);
      const tags = [...page.text.matchAll(/<(?:script|style)\b[^>]*>/g)].map(([tag]) => tag);
      assert.ok(tags.length >= 4);
      for (const tag of tags) assert.ok(tag.includes(`nonce="${nonce}"`), tag);
    }
    assert.equal(nonces.size, 2);
  });

  test("serves its own files and no others", async () => {
    await using world = await createWorld();
    await using server = await serve(world);
    for (const name of ["package.json", "..%2Fpackage.json", "index.html", "v"]) {
      const answer = await server.ask(`/api/docs/assets/v/${name}`);
      assert.deepEqual([answer.status, answer.json().error.code], [404, "not_found"], name);
    }
    const wrong = await server.ask("/api/docs/assets/v/swagger-ui-bundle.js", { method: "POST" });
    assert.equal(wrong.status, 405);
    assert.equal((await server.ask("/x/api/docs")).status, 404);
  });
});
