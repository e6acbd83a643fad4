import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { Redacting } from "../../../src/core/egress/redact.ts";

const secret = "sk-sk-1234";

async function through(parts: readonly string[]): Promise<string> {
  const from = Readable.from(parts.map((part) => Buffer.from(part)));
  return (await buffer(from.pipe(new Redacting(secret)))).toString();
}

test("the secret is left out however the parts are cut, and nothing else is", async () => {
  const text = `a ${secret} b sk-sk-12 c sk-${secret}${secret} sk-sk-123`;
  const right = text.replaceAll(secret, "[hidden]");
  for (let size = 1; size <= text.length; size++) {
    const parts = text.match(new RegExp(`.{1,${size}}`, "gs")) ?? [];
    assert.equal(await through(parts), right, `parts of ${size}`);
  }
});

test("a part that ends with nothing of the secret is passed on at once", async () => {
  const stream = new Redacting(secret);
  const read: string[] = [];
  stream.on("data", (part: Buffer) => read.push(part.toString()));
  stream.write("data: one\n\n");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(read, ["data: one\n\n"]);
});
