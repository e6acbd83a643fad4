// D9 and D14 are rows of the cases of the desk: what a terminal sends by itself is no key.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Key, KeyReader } from "../../src/commands/keys.ts";
import { eventually } from "../support/worlds/symphony.ts";

/** The keys of the pieces, as `up` or the character itself. */
function keysOf(...pieces: readonly string[]): readonly string[] {
  const keys: string[] = [];
  const reader = new KeyReader(({ name, text }: Key) => keys.push(text === "" ? name : text));
  for (const piece of pieces) reader.read(Buffer.from(piece, "latin1"));
  reader.close();
  return keys;
}

/** Every way to cut the text into two pieces. */
function cuts(text: string): readonly (readonly [string, string])[] {
  return [...text].map((_, at) => [text.slice(0, at), text.slice(at)] as const);
}

test("letters, arrows and control keys are read, also from one piece", () => {
  const typed = "aq\r\t\u007f\u0003\u001b[A\u001bOB\u001b[1;5C\u001b[Z\u001b[5~\u001b[4~";
  const keys = "a q enter tab backspace interrupt up down right back-tab page-up end".split(" ");
  assert.deepEqual(keysOf(typed), keys);
  assert.deepEqual(keysOf("\xc3", "\xa9\xe6\xbc", "\xa2"), ["é", "漢"]);
});

const answers = {
  "colours of the text": "\u001b]10;rgb:ffff/aaaa/0000\u001b\\",
  "colours, ended by BEL": "\u001b]11;rgb:0000/aaaa/ffff\u0007",
  "a device": "\u001b[?64;1;2;6;9;15;18;21;22c",
  "a second device answer": "\u001b[>41;354;0c",
  "the cursor's place": "\u001b[24;80R",
  "a name of the terminal": "\u001bP>|tmux 3.3a\u001b\\",
  "a mouse report": "\u001b[<0;12;34M\u001b[<0;12;34m",
  "an old mouse report": "\u001b[M !!",
  "a pasted text's frame": "\u001b[200~\u001b[201~",
  focus: "\u001b[I\u001b[O",
};

for (const [name, answer] of Object.entries(answers)) {
  test(`D14: ${name} is no key, in any two pieces`, () => {
    assert.deepEqual(keysOf(`${answer}j`), ["j"]);
    for (const [first, second] of cuts(answer)) {
      assert.deepEqual(keysOf(first, second, "j"), ["j"], JSON.stringify([first, second]));
    }
  });
}

test("D14: an answer that comes in three late pieces, cut behind its ESC, is no key but that", async () => {
  const keys: string[] = [];
  const reader = new KeyReader(({ name, text }) => keys.push(text === "" ? name : text));
  reader.read(Buffer.from("\u001b"));
  await eventually("ESC counts as a key", async () => keys.length === 1);
  for (const piece of ["]11;rgb:0000", "/aaaa/qqqq", "\u0007", "j"])
    reader.read(Buffer.from(piece));
  assert.deepEqual(keys, ["escape", "j"]);
});

test("ESC and a letter are two keys, and Ctrl-C ends what began like a sequence", () => {
  assert.deepEqual(keysOf("\u001bx"), ["escape", "x"]);
  assert.deepEqual(keysOf("\u001b\u001bx"), ["escape", "escape", "x"]);
  assert.deepEqual(keysOf("\u001b]11;never ended", "\u0003", "q"), ["interrupt", "q"]);
  assert.deepEqual(keysOf(`\u001b]${"x".repeat(5_000)}`, "q").at(-1), "q");
});
