// S13 is a row of the cases of scheduler and configuration: proxies of the environment.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { connectProxy } from "../support/fakes/connect-proxy.ts";
import { emptyDir, symphony } from "../support/worlds/run-symphony.ts";

const workflow = `---
tracker: { kind: linear, provider: { project_slug: abc, api_key: $LINEAR_API_KEY } }
---
Work on {{ issue.title }}
`;

for (const mode of ["refuse", "close", "hang"] as const) {
  test(`S13: a dry-run behind a proxy that would ${mode} ends within 30 s after a few tries, and names the proxy`, async () => {
    await using proxy = await connectProxy({});
    proxy.mode = mode;
    using project = emptyDir();
    writeFileSync(join(project.path, "WORKFLOW.md"), workflow);
    const url = `http://me:canary-4711@127.0.0.1:${proxy.port}`;
    const env = { LINEAR_API_KEY: "lin_api_0123456789", HTTPS_PROXY: url, NODE_USE_ENV_PROXY: "1" };
    const startedAt = Date.now();
    const { code, stderr, stdout } = await symphony(["serve", "--dry-run"], {
      cwd: project.path,
      env,
    });
    assert.ok(Date.now() - startedAt < 30_000);
    assert.notEqual(code, 0);
    assert.match(
      stderr,
      mode === "hang"
        ? /did not answer in 15 s|through the proxy 127\.0\.0\.1/
        : /through the proxy 127\.0\.0\.1/,
    );
    assert.doesNotMatch(stderr + stdout, /canary/);
    assert.ok(proxy.asked.length >= 1 && proxy.asked.length <= 8, String(proxy.asked.length));
    assert.ok(proxy.asked.every((target) => target === "api.linear.app:443"));
  });
}

test("S13: the command line never asks a server on this machine through a proxy", async () => {
  await using api = await startApiDouble();
  await using proxy = await connectProxy({});
  using project = emptyDir();
  const env = { HTTP_PROXY: proxy.url, ALL_PROXY: proxy.url, NODE_USE_ENV_PROXY: "1" };
  for (const command of [["state"], ["events"]]) {
    const { code, stderr } = await symphony([...command, "--url", api.url], {
      cwd: project.path,
      env,
    });
    assert.equal(code, 0, stderr);
  }
  assert.ok(api.seen.length >= 2);
  assert.deepEqual(proxy.asked, []);
});

test("S13: the command line asks a server elsewhere as the environment says", async () => {
  await using api = await startApiDouble();
  await using proxy = await connectProxy({ "symphony.example": Number(new URL(api.url).port) });
  using project = emptyDir();
  const env = { HTTP_PROXY: proxy.url };
  const args = ["state", "--url", "http://symphony.example"];
  const { code, stderr } = await symphony(args, { cwd: project.path, env });
  assert.equal(code, 0, stderr);
  assert.deepEqual([...new Set(proxy.asked)], ["symphony.example:80"]);
});
