import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { LineSplitter } from "../../../src/core/process/lines.ts";

function split(chunks: readonly Buffer[], maxBytes = 1_000_000): string[] {
  const lines: string[] = [];
  const splitter = new LineSplitter({
    maxBytes,
    overflow: "fail",
    onLine: (line) => lines.push(line),
  });
  for (const chunk of chunks) splitter.push(chunk);
  splitter.end();
  return lines;
}

describe("splitting lines", () => {
  test("A-9: any chunking gives the same lines, multi-byte characters included", () => {
    const line = fc
      .array(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.constantFrom("é", "😀", "\u2028", "\u2029", "\r"),
        ),
      )
      .map((parts) => parts.join("").replaceAll("\n", "").toWellFormed())
      .filter((text) => !text.endsWith("\r"));
    const cuts = fc.array(fc.nat(400), { maxLength: 40 });
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), cuts, (lines, at) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(""));
        const places = [0, ...at.map((place) => place % (bytes.length + 1)), bytes.length];
        places.sort((a, b) => a - b);
        const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
        assert.deepEqual(split(chunks), lines);
      }),
    );
  });

  test("FAULT-4: invalid UTF-8 and partial JSON are lines too, and affect no other line", () => {
    const bytes = Buffer.concat([Buffer.from([0xff, 0xfe, 10]), Buffer.from('{"a"\n{"b":1}\n')]);
    assert.deepEqual(split([...bytes].map((byte) => Buffer.of(byte))), ["��", '{"a"', '{"b":1}']);
  });

  test("CRLF ends a line, a lone CR does not", () => {
    assert.deepEqual(split([Buffer.from("a\r\nb\rc\r"), Buffer.from("\nd")]), ["a", "b\rc", "d"]);
  });

  test("a line within the limit passes, a longer one is line_too_long, in any chunking", () => {
    assert.deepEqual(split([Buffer.from("abcd\n")], 4), ["abcd"]);
    for (const chunks of [["abcde\n"], ["abc", "de\n"], ["a", "b", "c", "d", "e"]]) {
      const buffers = chunks.map((chunk) => Buffer.from(chunk));
      assert.throws(() => split(buffers, 4), { code: "line_too_long", details: { maxBytes: 4 } });
    }
  });

  test("nothing follows a line that was too long", () => {
    const lines: string[] = [];
    const onLine = (line: string) => lines.push(line);
    const splitter = new LineSplitter({ maxBytes: 3, overflow: "fail", onLine });
    assert.throws(() => splitter.push(Buffer.from("ok\nlong line\nno\n")));
    splitter.push(Buffer.from("no\n"));
    splitter.end();
    assert.deepEqual(lines, ["ok"]);
  });

  test("a log line that is too long is truncated, and the next one is complete", () => {
    const lines: string[] = [];
    const onLine = (line: string) => lines.push(line);
    const splitter = new LineSplitter({ maxBytes: 3, overflow: "cut", onLine });
    for (const part of ["abc", "def", "gh\nij\nklmnop\n", "q"]) splitter.push(Buffer.from(part));
    splitter.end();
    assert.deepEqual(lines, ["abc", "ij", "klm", "q"]);
  });
});
