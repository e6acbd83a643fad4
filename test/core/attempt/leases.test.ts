import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Lease, Leases } from "../../../src/core/attempt/leases.ts";
import { issue } from "../../support/makers/issue.ts";

function lease(attemptId: string): Lease {
  const rest = { attempt: null, threadId: "thread-1", host: "0a1b2c3d", headBefore: null };
  return { attemptId, issue: issue("ENG-1"), ...rest };
}

test("leases outlive their server and are readable by their owner only, until they are dropped", async () => {
  const root = await mkdtemp(join(tmpdir(), "symphony-leases-"));
  try {
    const dir = join(root, "codex-shared", "attempts");
    const first = new Leases(dir);
    await first.restore();
    await first.keep(lease("att_000000001"));
    await first.keep(lease("att_000000002"));
    assert.equal((await stat(join(dir, "att_000000001.json"))).mode & 0o777, 0o600);
    await writeFile(join(dir, "att_000000003.json"), '{"attemptId":"att_0000');
    const second = new Leases(dir);
    await second.restore();
    assert.deepEqual(second.of("att_000000001"), lease("att_000000001"));
    assert.deepEqual(second.all.length, 2, "half a file is as good as none");
    await second.drop("att_000000001");
    assert.equal(second.of("att_000000001"), null);
    const left = (await readdir(dir)).filter((name) => name.startsWith("att_000000001"));
    assert.deepEqual(left, []);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
