import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createRedactor } from "../../../src/core/text/redact.ts";

const secret = 'sk-proj/a+b "q"=é~9';

test("X-2: a known value is found plain and in every common encoding", () => {
  const { add, redact } = createRedactor();
  add(secret);
  const bytes = Buffer.from(secret);
  const shapes = [
    secret,
    JSON.stringify(secret),
    encodeURIComponent(secret),
    new URLSearchParams({ a: secret }).toString(),
    bytes.toString("base64"),
    bytes.toString("base64url"),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    Buffer.from(`u:${secret}`).toString("base64"),
    Buffer.from(`user:${secret}\n`).toString("base64"),
    Buffer.from(`x:${secret}:y`).toString("base64url"),
  ];
  for (const shape of shapes) assert.match(redact(`before ${shape} after`), /\[redacted\]/, shape);
  assert.equal(redact(`a ${secret} b ${secret}`), "a [redacted] b [redacted]");
});

test("a secret of many lines is found as a whole, on one line, and line by line", () => {
  const { add, redact } = createRedactor();
  const line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
  add(`-----BEGIN KEY-----\n${line}\n-----END KEY-----\n`);
  assert.equal(redact(`x ${line} y`), "x [redacted] y");
  assert.equal(redact(`-----BEGIN KEY----- ${line} -----END KEY-----`), "[redacted]");
});

test("short and blank values do not hide ordinary words", () => {
  const { add, redact } = createRedactor();
  for (const value of ["", "   ", "      ", "a", "todo", "12345"]) add(value);
  assert.equal(redact("todo 12345 a      b"), "todo 12345 a      b");
});

test("the longer of two secrets takes precedence, and other text is unchanged", () => {
  const { add, redact } = createRedactor();
  add("secret");
  add("secret-and-more");
  assert.equal(redact("secret-and-more, secret"), "[redacted], [redacted]");
  add("(.*)+$");
  assert.equal(redact("nothing to find"), "nothing to find");
  assert.equal(redact("see (.*)+$"), "see [redacted]");
});

test("a secret is found within any other text", () => {
  const { add, redact } = createRedactor();
  add("lin_api_0123456789");
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const text = redact(`${before}lin_api_0123456789${after}`);
      assert.ok(!text.includes("lin_api_0123456789"));
      const wrapped = Buffer.from(`${before}lin_api_0123456789${after}`).toString("base64");
      assert.match(redact(wrapped), /\[redacted\]/);
    }),
    { numRuns: 200 },
  );
});

test("X-2: a secret in text of two bytes for each character is found, in either order of the bytes", () => {
  const { add, secretIn } = createRedactor();
  add(secret.slice(0, 16));
  const wide = Buffer.from(`x ${secret}`, "utf16le");
  for (const bytes of [wide, Buffer.from(wide).swap16()])
    assert.equal(secretIn(bytes.toString("utf8")), "a secret that symphony knows");
  const token = Buffer.from(`key=ghp_${"a1B2".repeat(9)}\r\n`, "utf16le").toString("utf8");
  assert.match(String(secretIn(token)), /looks like/);
  assert.equal(secretIn("a\0b\0c"), null);
});
