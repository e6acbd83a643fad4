import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireRelay } from "../../../src/core/egress/relay.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

test("the relay is a program of the system; without one the start says what to install", async (t) => {
  const root = temporaryDir(t);
  await mkdir(join(root, "bin"));
  await assert.rejects(requireRelay({ PATH: join(root, "bin") }), {
    code: "agent_unavailable",
    message: /needs perl or socat, and neither is installed/,
    hint: /^install perl or socat/,
  });
  const lines = await requireRelay({ PATH: `${join(root, "bin")}:/usr/bin:/bin` });
  assert.match(lines, /^'?\/(usr\/)?bin\/(perl|socat)/m);
  assert.match(lines, /the relay to the model provider did not start/);
});
