import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);

/** The rows of the table in docs/cli.md: a convention, a file and the title of a test in it. */
const rows = readFileSync(new URL("docs/cli.md", root), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| convention"))
  .map((line) => {
    const [, file, title] = /\| `(test\/[\w/.-]+)`: (.+) \|$/.exec(line) ?? [];
    return { line, file, title };
  });

test("each convention of docs/cli.md names a test that there is", () => {
  assert.ok(rows.length > 20, `${rows.length} rows`);
  for (const { line, file, title } of rows) {
    assert.ok(file !== undefined && title !== undefined, `no test is named: ${line}`);
    const path = new URL(file, root);
    assert.ok(existsSync(path), `${file} does not exist`);
    const titles = [...readFileSync(path, "utf8").matchAll(/\btest\(\s*["`](.+?)["`],/g)];
    assert.ok(
      titles.some(([, found = ""]) => found === title),
      `${file} has no test "${title}"`,
    );
  }
});
