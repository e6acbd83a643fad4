import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

test("audit verify uses the key, also after a rotation; without the key it says what it could not check", async () => {
  await using project = await freshProject();
  {
    await using server = await openReal(project.dir);
    await server.ask("/api/v1/refresh", { method: "POST" });
    const rotated = await server.ask("/api/v1/secrets-key/rotate", { method: "POST" });
    assert.equal(rotated.status, 200, rotated.text);
    await server.ask("/api/v1/refresh", { method: "POST" });
  }
  const verify = (...args: string[]) =>
    symphony(["audit", "verify", ...args], { cwd: project.dir });
  const whole = await verify("--json");
  assert.equal(whole.code, 0, whole.stderr);
  const { ok, entries, unchecked, key_at_hand: key } = JSON.parse(whole.stdout);
  assert.deepEqual([ok, entries, unchecked, key], [true, 4, 0, true]);
  const keyFile = join(project.dir, ".symphony", "secrets.key");
  renameSync(keyFile, `${keyFile}.away`);
  const keyless = await verify();
  assert.equal(keyless.code, 0);
  assert.match(
    keyless.stderr,
    /4 of 4 entries are sealed with a key that is not available.*is gone/,
  );
});
