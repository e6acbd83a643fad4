import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8");
const listed = new Set(
  [...read("docs/requirements.md").matchAll(/^\| ([A-Z]+-\d+[a-z]?) \|/gm)].map(([, code]) => code),
);

const code = "(?:[WTNLOPSAEGHCXR]|THREAT|FAULT|INV|LIVE)-\\d+[a-z]?";
const codes = `${code}(?:(?:, | and )${code})*`;
/** Codes that a title begins with: `O-36: …`, `THREAT-5, THREAT-8: …`. Identifiers of issues look alike elsewhere. */
const title = new RegExp(`(?:test|describe|it|name:)\\(?\\s*[\`"'](${codes}): `, "g");
/** In a comment: `(O-36)`, `requirement N-1`. */
const cited = new RegExp(`^\\s*(?:\\/\\/|\\/?\\*).*?(?:\\(|requirements? )(${codes})`, "gm");
/** Labels of tables that stand nowhere in this repository. */
const foreign = /\b(?:test|describe|it)\(\s*[`"'](?:rows? \d|[TFS]\d+\b)/g;

test("every code that a test or a comment cites is among the requirements", () => {
  const unknown: string[] = [];
  let count = 0;
  const others: string[] = [];
  for (const path of globSync("{src,test,bench}/**/*.ts", { cwd: root })) {
    const text = read(path);
    const found = [...text.matchAll(title), ...text.matchAll(cited)];
    for (const [, group = ""] of found) {
      for (const one of group.split(/, | and /)) {
        count += 1;
        if (!listed.has(one)) unknown.push(`${path}: ${one}`);
      }
    }
    for (const [label] of text.matchAll(foreign)) others.push(`${path}: ${label}`);
  }
  assert.deepEqual(unknown, []);
  assert.deepEqual(others, []);
  assert.ok(count > 150, `only ${count} codes were found`);
});

test("T-12: every tracker has a written profile", () => {
  const headings = ["Kind", "Settings", "Secrets", "Scope and paging", "Identity", "Normalisation"];
  for (const path of globSync("docs/trackers/*.md", { cwd: root })) {
    const found = new Set([...read(path).matchAll(/^## (.*)$/gm)].map(([, name]) => name));
    for (const name of [...headings, "Tools for the agent", "Errors"]) {
      assert.ok(found.has(name), `${path} has no section "${name}"`);
    }
  }
});
