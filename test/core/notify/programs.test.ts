// Notices on the desktop, with stand-ins for the programs that show them, which write down their arguments. "D29" names the row
// of the situations of an operator's desk that went wrong elsewhere.

import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NoticeWorld } from "../../support/worlds/notices.ts";

const hostile = [
  "'; touch X #",
  '" & do shell script "touch X',
  "\\",
  "one\ntwo",
  "-e",
  "--help",
  "$(touch X)",
  "a\u0000b",
  "<b>bold</b>",
];

/** A directory with stand-ins of both programs, each of which writes its arguments and its parent to a file. */
async function standIns() {
  const dir = await mkdtemp(join(tmpdir(), "symphony-desktop-"));
  for (const name of ["notify-send", "osascript"]) {
    const script = [
      `#!${process.execPath}`,
      'const { appendFileSync, readFileSync } = require("fs");',
      'const parent = readFileSync("/proc/" + process.ppid + "/comm", "utf8").trim();',
      "const argv = process.argv.slice(2);",
      `appendFileSync(${JSON.stringify(join(dir, "calls"))}, JSON.stringify({ argv, parent }) + "\\n");`,
    ];
    await writeFile(join(dir, name), script.join("\n"));
    await chmod(join(dir, name), 0o755);
  }
  return {
    dir,
    async calls(): Promise<
      readonly { readonly argv: readonly string[]; readonly parent: string }[]
    > {
      const text = await readFile(join(dir, "calls"), "utf8");
      return text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

for (const [platform, program] of [
  ["linux", "notify-send"],
  ["darwin", "osascript"],
] as const) {
  test(`D29: a hostile title is one argument of ${program} after --, and starts nothing`, async () => {
    await using place = await standIns();
    for (const title of hostile) {
      await using world = await NoticeWorld.open({
        rules: [{ when: ["done"], to: "desktop", batch_ms: 0 }],
        env: { PATH: place.dir },
        platform,
        titles: { "id-EX-1": title },
      });
      world.notices.follow();
      world.publish({
        type: "issue.completed",
        issueId: "id-EX-1",
        issueIdentifier: "EX-1",
        message: "completed in state Done",
      });
      await world.outcome("desktop", "sent");
    }
    const calls = await place.calls();
    const own = (await readFile("/proc/self/comm", "utf8")).trim();
    for (const [at, { argv, parent }] of calls.entries()) {
      const border = argv.indexOf("--");
      const shown = (hostile[at] ?? "").replaceAll("\n", " ").replaceAll("\u0000", "");
      assert.deepEqual(argv.slice(border + 1), [
        `EX-1 is done: ${shown}`,
        "completed in state Done",
      ]);
      const before = argv.slice(0, border).join(" ");
      assert.ok(!before.includes("EX-1"), "no text of an issue is an option or a part of a script");
      assert.equal(parent, own, "no shell is in between");
    }
    assert.equal(calls.length, hostile.length);
  });
}

test("D29: titles in the body of a notice are no markup", async () => {
  await using place = await standIns();
  await using world = await NoticeWorld.open({
    rules: [{ when: ["done"], to: "desktop", batch_ms: 0 }],
    env: { PATH: place.dir },
    titles: { "id-EX-1": "<b>bold</b> & more", "id-EX-2": "-e" },
  });
  world.notices.follow();
  for (const name of ["EX-1", "EX-2"]) {
    world.publish({
      type: "issue.completed",
      issueId: `id-${name}`,
      issueIdentifier: name,
      message: "completed in state Done",
    });
  }
  await world.outcome("desktop", "sent");
  const [{ argv = [] } = {}] = await place.calls();
  assert.deepEqual(argv, [
    "--app-name=symphony",
    "--",
    "2 issues are done",
    "EX-1 is done: &lt;b&gt;bold&lt;/b&gt; &amp; more\nEX-2 is done: -e",
  ]);
});

test("a machine without the program says so, and which one is missing", async () => {
  await using world = await NoticeWorld.open({
    rules: [{ when: ["done"], to: "desktop" }],
    env: { PATH: "/nowhere" },
  });
  const [result] = await world.notices.test("desktop");
  assert.deepEqual(
    [result?.outcome, result?.category, result?.reason],
    ["failed", "program_missing", "there is no program notify-send on this machine"],
  );
});
