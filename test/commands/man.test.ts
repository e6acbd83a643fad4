import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { catalogue } from "../../src/commands/catalogue.ts";
import { globalOptions } from "../../src/commands/table.ts";
import { manPage, manPageFile } from "./man-page.ts";

const hasGroff = spawnSync("groff", ["--version"]).status === 0;

test("the manual page is that of the table of commands, and is in the package", async () => {
  assert.equal(readFileSync(manPageFile, "utf8"), await manPage(), "run npm run docs:man");
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  assert.deepEqual(manifest.man, ["man/symphony.1"]);
  assert.ok(manifest.files.includes("man"));
});

test("the manual page has every command and option, without a warning of its formatter", {
  skip: hasGroff ? false : "needs groff",
}, () => {
  const format = ["-man", "-Tutf8", "-ww", "-rLL=100n", "-P-cbou", manPageFile];
  const { stdout, stderr, status } = spawnSync("groff", format, { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  for (const { name } of catalogue) assert.match(stdout, new RegExp(`^ +symphony ${name}`, "m"));
  for (const { name } of globalOptions) assert.match(stdout, new RegExp(`--${name}\\b`));
  assert.ok(execFileSync("groff", ["-man", "-z", manPageFile]).length === 0);
});
