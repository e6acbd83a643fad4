// README, docs/ and examples/ against the program: every command line in them is one that the program would take, every link
// leads to a file and a heading, every route exists, and every command stands in the list of commands. Rows of
// cases/desk.md are named as in "D30: …".

import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { catalogue } from "../src/commands/catalogue.ts";
import { createProgram, loadNamed } from "../src/commands/program.ts";
import { messageOf } from "../src/core/model/errors.ts";
import { httpStatus } from "../src/server/errors.ts";
import { snippets } from "./support/makers/snippets.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const written = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "examples/**"];
const pages = written
  .flatMap((pattern) => globSync(pattern, { cwd: root, withFileTypes: true }))
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)));

interface Line {
  readonly page: string;
  readonly number: number;
  readonly text: string;
  readonly fence: string | null;
}

const lines = pages.flatMap(linesOf);

test("D30: every command line of the documentation is one that the program takes", async () => {
  const found = lines.flatMap(commandsIn);
  assert.ok(found.length > 150, `only ${found.length} command lines were found`);
  const wrong: string[] = [];
  for (const { page, number, words, fence } of found) {
    const problem = await refusalOf(words);
    // Sentences name commands without what is typed after them.
    const isNamed = fence === null && /missing required argument/.test(problem ?? "");
    if (problem !== null && !isNamed)
      wrong.push(`${page}:${number}: symphony ${words.join(" ")}: ${problem}`);
  }
  assert.deepEqual(wrong, []);
});

test("D30: a command line with an option or a command that is gone is found", async () => {
  assert.equal(await refusalOf(["state", "--watch"]), null);
  assert.match((await refusalOf(["state", "--look"])) ?? "", /--look/);
  assert.match((await refusalOf(["stat"])) ?? "", /stat/);
  assert.match((await refusalOf(["issue", "invent"])) ?? "", /invent/);
});

test("D30: every command stands in the list of commands", () => {
  const listed = lines.filter(({ page }) => page === "docs/commands.md");
  const missing = catalogue.filter(
    ({ name }) => !listed.some(({ text }) => new RegExp(`\\bsymphony ${name}\\b`).test(text)),
  );
  assert.deepEqual(
    missing.map(({ name }) => name),
    [],
  );
});

test("every error code has its cause and a next step in docs/troubleshooting.md, and nothing else has a heading there", () => {
  const page = lines.filter((line) => line.page === "docs/troubleshooting.md");
  const sections = page.flatMap(({ text }, at) => {
    const code = /^### (.+)$/.exec(text)?.[1];
    return code === undefined ? [] : [{ code, said: page[at + 1]?.text ?? "" }];
  });
  assert.deepEqual(sections.map(({ code }) => code).toSorted(), Object.keys(httpStatus).toSorted());
  const wanting = sections.filter(({ said }) => !/^.{15,} Next: .{10,}/.test(said));
  assert.deepEqual(wanting, []);
});

test("every block of code of README and docs is run or checked by a test, or says why it is not", () => {
  // docs-typed.test.ts types shells, config/examples.test.ts checks settings; a drawing is nothing to run.
  const held = new Set(["sh", "bash", "console", "yaml", "markdown", "mermaid"]);
  const loose = snippets().filter(({ language, reason }) => !held.has(language) && reason === null);
  assert.deepEqual(
    loose.map(({ page, number, language }) => `${page}:${number}: ${language}`),
    [],
  );
});

test("every link of the documentation leads to a file and a heading", () => {
  const wrong = lines.flatMap(({ page, number, text, fence }) => {
    if (fence !== null || !page.endsWith(".md")) return [];
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
    return links.filter((link) => !leads(page, link)).map((link) => `${page}:${number}: ${link}`);
  });
  assert.deepEqual(wrong, []);
});

function linesOf(page: string): readonly Line[] {
  let fence: string | null = null;
  return readFileSync(join(root, page), "utf8")
    .split("\n")
    .map((text, index) => {
      const mark = /^\s*```(\w*)/.exec(text);
      if (mark !== null) fence = fence === null ? (mark[1] ?? "") : null;
      return { page, number: index + 1, text, fence };
    });
}

interface Typed {
  readonly page: string;
  readonly number: number;
  readonly fence: string | null;
  readonly words: readonly string[];
}

function commandsIn({ page, number, text, fence }: Line): readonly Typed[] {
  if (fence !== null && !["", "sh", "bash", "console"].includes(fence)) return [];
  const codes = [...text.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);
  // `[--force]` may be left out, and of `a\\|b` one is typed.
  const whole = (fence === null ? codes : [text]).map((code) =>
    code.replaceAll(/[[\]]/g, "").replaceAll(/\\\|\S+/g, ""),
  );
  return whole.flatMap((code) => {
    const parts = code.split(/\s(?:\||&&|;|>|2>)\s/);
    return parts.flatMap((part) => {
      const words = wordsOf(part);
      const [first, second] = words;
      if (first === "npx" && second === "symphony")
        return [{ page, number, fence, words: words.slice(2) }];
      return first === "symphony" ? [{ page, number, fence, words: words.slice(1) }] : [];
    });
  });
}

/** The words of a shell line, up to a comment; a prompt before them is left out. */
function wordsOf(line: string): readonly string[] {
  const words = line.trim().match(/"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+(?:"[^"]*"|'[^']*')?/g) ?? [];
  const end = words.findIndex((word) => word.startsWith("#"));
  const shown = end === -1 ? words : words.slice(0, end);
  return shown
    .filter((word, index) => !(index === 0 && word === "$"))
    .map((word) => word.replace(/^(["'])(.*)\1$/, "$2"));
}

/** Why the program would not take these words; null: it would. Nothing is done. */
async function refusalOf(words: readonly string[]): Promise<string | null> {
  // Started by symphony itself, and not in the table: it is not for people.
  if (words.length === 0 || words[0] === "mcp-bridge") return null;
  const program = createProgram().configureOutput({ writeOut: () => {}, outputError: () => {} });
  try {
    await loadNamed(program, words, async () => {});
    await program.parseAsync(words, { from: "user" });
    return null;
  } catch (error) {
    const isShown =
      error instanceof Error &&
      /^commander\.(help|version)/.test(String(Reflect.get(error, "code")));
    return isShown ? null : messageOf(error);
  }
}

function leads(page: string, link: string): boolean {
  if (/^[a-z]+:/.test(link)) return true;
  const [path = "", anchor] = link.split("#");
  const file = path === "" ? page : relative(root, join(root, dirname(page), path));
  if (!existsSync(join(root, file))) return false;
  if (anchor === undefined) return true;
  return readFileSync(join(root, file), "utf8")
    .split("\n")
    .some((line) => line.startsWith("#") && anchorOf(line) === anchor);
}

/** As GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .replace(/^#+\s*/, "")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(" ", "-");
}
