import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { trackerKinds } from "../src/core/tracker/kinds.ts";
import { mutants } from "./mutants/list.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8");
const listed = new Set(
  [...read("docs/requirements.md").matchAll(/^\| ([A-Z]+-\d+[a-z]?) \|/gm)].map(([, code]) => code),
);

const code = "(?:[WTNLOPSAEGHCXRZ]|DELIVERY|THREAT|FAULT|INV|LIVE)-\\d+[a-z]?";
const codes = `${code}(?:(?:, | and )${code})*`;
/** Codes at the beginning of a title: `O-36: …`, `THREAT-5, THREAT-8: …`. Elsewhere they would be confused with identifiers of issues. */
const title = new RegExp(`(?:test|describe|it|name:)\\(?\\s*[\`"'](${codes}): `, "g");
/** In a comment: `(O-36)`, `requirement N-1`. */
const cited = new RegExp(`^\\s*(?:\\/\\/|\\/?\\*).*?(?:\\(|requirements? )(${codes})`, "gm");
/** Labels of tables that are not in this repository, at the beginning of a title or a message, or in brackets there. */
const label = "SAFETY\\b|[TF]\\d+\\b(?!-)|[^`\"'\\n]*\\([TF]\\d+[,)]";
const foreign = new RegExp(
  `\\b(?:test|describe|it)\\(\\s*[\`"'](?:rows? \\d|${label})|, [\`"'](?:SAFETY\\b|[TF]\\d+: )`,
  "g",
);

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

/** These have separate folders: they need a complete symphony, or a program that not every machine has. */
const across = ["integration", "journeys", "sandbox"];

/** Why no test holds a threat, a fault or an invariant. */
const notTested: Readonly<Record<string, string>> = {
  "FAULT-1c":
    "a loss of power needs a machine of its own; what is on disk before an answer is held by FAULT-1b",
  "FAULT-6": "measured by npm run bench",
  "FAULT-14": "measured by npm run bench; the cap of steers is held by a test",
  "FAULT-21": "measured by npm run bench",
};

test("each threat, fault, invariant and requirement of workers over SSH is held by a test that names it, or a reason says why not", () => {
  const own = "(?:THREAT|FAULT|INV|LIVE|Z)-\\d+[a-z]?";
  const named = new RegExp(
    `["'\`](?:[A-Z]+-\\d+[a-z]?, )*${own}(?:, [A-Z]+-\\d+[a-z]?)*(?::|["'\`])`,
    "g",
  );
  const held = new Set<string>();
  for (const path of globSync("test/**/*.ts", { cwd: root })) {
    if (path.startsWith("test/mutants") || path === "test/requirements.test.ts") continue;
    for (const [text = ""] of read(path).matchAll(named)) {
      for (const [one = ""] of text.matchAll(new RegExp(own, "g"))) held.add(one);
    }
  }
  const every = [...listed].filter((one) => one !== undefined);
  const all = every.filter((one) => /^(THREAT|FAULT|INV|LIVE|Z)-/.test(one));
  assert.ok(all.length > 70, `only ${all.length} were found`);
  assert.deepEqual(
    all.filter((one) => !held.has(one)),
    Object.keys(notTested),
  );
});

test("test folders mirror src", () => {
  for (const path of globSync("test/*/**/*.test.ts", { cwd: root })) {
    const [, first = ""] = path.split("/");
    if (across.includes(first)) continue;
    const folder = dirname(path).replace(/^test/, "src");
    assert.ok(existsSync(join(root, folder)), `${path}: there is no ${folder}`);
    const own = path.replace(/^test/, "src").replace(/\.test\.ts$/, "");
    assert.ok(!existsSync(join(root, own)), `${path} is about ${own}, and belongs into its folder`);
  }
});

test("every fault of test/mutants can be made: its text occurs once in its file, and its tests exist", () => {
  for (const { name, file, from, tests } of mutants) {
    assert.equal(read(file).split(from).length, 2, `${name}: ${file}`);
    for (const path of tests) assert.ok(existsSync(join(root, path)), `${name}: ${path}`);
  }
});

test("T-12: every tracker has a written profile", () => {
  const headings = ["Kind", "Settings", "Secrets", "Scope and paging", "Identity", "Normalisation"];
  for (const { kind, section } of trackerKinds) {
    const path = `docs/trackers/${kind}.md`;
    const profile = read(path);
    const found = new Set([...profile.matchAll(/^## (.*)$/gm)].map(([, name]) => name));
    for (const name of [...headings, "Tools for the agent", "Errors"]) {
      assert.ok(found.has(name), `${path} has no section "${name}"`);
    }
    // Settings with their defaults, and each failure with its code.
    const { active, terminal } = section.states ?? { active: [], terminal: [] };
    for (const part of [...section.flatKeys, ...active, ...terminal]) {
      assert.ok(profile.includes(`\`${part}\``), `${path} does not say ${part}`);
    }
    const errors = profile.slice(profile.indexOf("## Errors"));
    const codes = new Set([...errors.matchAll(/`(\w+)`/g)].map(([, code]) => code));
    for (const code of thrownBy(kind)) {
      assert.ok(codes.has(code), `${path} does not say when ${code}`);
    }
  }
});

/** The codes of requirement T-9 that the sources of a tracker name. */
function thrownBy(kind: string): readonly string[] {
  const files = globSync(`src/core/tracker/${kind}/*.ts`, { cwd: root });
  assert.ok(files.length > 0, `src/core/tracker/${kind} has the sources of the kind`);
  const texts = files.flatMap((path) => [
    ...read(path).matchAll(/"((?:invalid|missing)?_?tracker_\w+)"/g),
  ]);
  return [...new Set(texts.map(([, code = ""]) => code))];
}
