import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { resolveConfig } from "../../../src/core/config/resolve.ts";
import { parseWritten } from "../../../src/core/config/schema.ts";
import { loadWorkflow, parseWorkflow } from "../../../src/core/config/workflow.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { renderPrompt } from "../../../src/core/prompt/prompt.ts";
import { issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

function parse(text: string) {
  const { config, promptTemplate } = parseWorkflow(Buffer.from(text), "WORKFLOW.md");
  return { config, promptTemplate };
}

function fault(text: string): SymphonyError {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof SymphonyError) return error;
  }
  return assert.fail("it should have been refused");
}

test("W-2: an unreadable file is missing_workflow_file with its path and the system's reason", async (t) => {
  const dir = temporaryDir(t);
  const folder = join(dir, "folder");
  await mkdir(folder);
  for (const [path, reason] of [
    [join(dir, "none.md"), "ENOENT"],
    [folder, "EISDIR"],
    ["/dev/zero", "not a regular file"],
  ] as const) {
    await assert.rejects(loadWorkflow(path), {
      code: "missing_workflow_file",
      details: { path, reason },
    });
  }
});

test("W-3: front matter ends at the first later line that is exactly ---; further ones are text", () => {
  assert.deepEqual(parse("---\na: 1\n---\nOne\n\n---\n\nTwo\n---\n"), {
    config: { a: 1 },
    promptTemplate: "One\n\n---\n\nTwo\n---",
  });
});

test("S20: blanks after a fence and blank lines before it are accepted", () => {
  const expected = { config: { a: 1 }, promptTemplate: "One" };
  for (const text of [
    "--- \na: 1\n---\nOne",
    "---\na: 1\n--- \t\nOne",
    "\n  \n---\na: 1\n---\nOne",
    "---  \r\na: 1\r\n---\t\r\nOne",
  ]) {
    assert.deepEqual(parse(text), expected, JSON.stringify(text));
  }
});

test("S20: a document's end in the place of the fence is named in words about the file", () => {
  const { message } = fault("---\ntracker: { kind: local }\n...\nDo it\n");
  assert.match(message, /line 4, column 1: a second YAML document begins here/);
  assert.doesNotMatch(message, /parseAllDocuments/);
});

test("S20: without a closing fence, the message names the line of the opening one", () => {
  const error = fault("\n---\ntracker:\n  kind: local\nYou work on {{ issue.title }}.\n");
  assert.equal(error.code, "workflow_parse_error");
  assert.match(error.message, /the settings begin at the --- in line 2, and no later line is ---/);
  assert.match(error.message, /line 5, column 1/);
});

test("every fault of the YAML is named at once, with its line and column", () => {
  const error = fault("---\na: 1\na: 2\nb: 1\nb: 2\n---\nP");
  const second = (key: string) => `the key ${key} stands here a second time`;
  assert.ok(
    error.message.includes(`line 3, column 1: ${second("a")}; line 5, column 1: ${second("b")}`),
  );
  const lines = Array.from(Object(error.details["problems"]), (one) => Object(one).line);
  assert.deepEqual(lines, [3, 5]);
});

test("W-4: front matter may be missing, blank or unterminated", () => {
  assert.deepEqual(parse("Just a prompt\n"), { config: {}, promptTemplate: "Just a prompt" });
  for (const blank of ["---\n---\nP", "---\n\n# a comment\n---\nP"]) {
    assert.deepEqual(parse(blank), { config: {}, promptTemplate: "P" });
  }
  assert.deepEqual(parse("---\na: 1\nb: 2\n"), { config: { a: 1, b: 2 }, promptTemplate: "" });
});

test("W-5: front matter that is a list or a single value is refused", () => {
  for (const text of ["---\n- a\n---\n", "---\njust text\n---\n", "---\n7\n---\n"]) {
    assert.equal(fault(text).code, "workflow_front_matter_not_a_map");
  }
});

test("W-5: invalid YAML is workflow_parse_error with its line and column in the file", () => {
  const error = fault("---\nagent:\n  max_turns: 3\ntracker: [\n---\nP");
  assert.equal(error.code, "workflow_parse_error");
  assert.equal(error.details["line"], 4);
  assert.match(error.message, /^WORKFLOW\.md: line 4, column \d+: /);
  assert.equal(fault("---\na: 1\na: 2\n---\n").details["line"], 3);
  assert.equal(fault("---\na: !env SECRET\n---\n").code, "workflow_parse_error");
});

test("W-5: front matter that refers to itself or grows without limit is refused at once", () => {
  const bomb = [
    "a0: &a0 [x, x]",
    ...Array.from({ length: 30 }, (_, n) => `a${n + 1}: &a${n + 1} [*a${n}, *a${n}]`),
  ];
  for (const yaml of ["a: &x {b: *x, c: *x}", bomb.join("\n")]) {
    assert.equal(fault(`---\n${yaml}\n---\n`).code, "workflow_parse_error");
  }
  const bytes = Buffer.from([0x2d, 0xff, 0xfe]);
  assert.throws(() => parseWorkflow(bytes, "W"), { code: "workflow_parse_error" });
});

test("W-6: LF, CRLF and a byte order mark give the same config and prompt", () => {
  const text = "---\ntracker:\n  kind: local\n---\n\n  One\n\nTwo  \n\n";
  const expected = { config: { tracker: { kind: "local" } }, promptTemplate: "One\n\nTwo" };
  for (const form of [text, text.replaceAll("\n", "\r\n"), `\ufeff${text}`]) {
    assert.deepEqual(parse(form), expected);
  }
});

test("W-6: a loaded file has its path", async (t) => {
  const path = join(temporaryDir(t), "WORKFLOW.md");
  await writeFile(path, "---\nx: 1\n---\nHello");
  const { places, ...loaded } = await loadWorkflow(path);
  assert.deepEqual(loaded, {
    ...{ path, config: { x: 1 }, promptTemplate: "Hello" },
    promptAt: { line: 4, column: 1 },
  });
  assert.deepEqual(places.keyAt("x"), { file: path, line: 2, column: 1 });
});

test("every example loads without a warning, and its prompt renders", async () => {
  const folder = new URL("../../../examples/", import.meta.url).pathname;
  const names = (await readdir(folder)).filter((name) => /^WORKFLOW.*\.md$/.test(name));
  assert.ok(names.length >= 2);
  for (const name of names) {
    const { config, promptTemplate } = await loadWorkflow(join(folder, name));
    assert.doesNotThrow(() => parseWritten(config, sections), name);
    assert.deepEqual(
      resolveConfig({ workflow: config, env: {}, flags: {} }, sections).warnings,
      [],
      name,
    );
    for (const attempt of [null, 2]) {
      const full = issue("ENG-1", {
        description: "D",
        url: "https://x",
        labels: ["a"],
        branchName: "b",
      });
      for (const subject of [issue("ENG-1"), full]) {
        const text = await renderPrompt(promptTemplate, { issue: subject, attempt });
        assert.match(text, /ENG-1/, name);
      }
    }
  }
});
