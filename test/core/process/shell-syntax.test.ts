import assert from "node:assert/strict";
import { test } from "node:test";
import { syntaxFault } from "../../../src/core/process/shell-syntax.ts";

const nowhere = { PATH: "/nowhere" };

test("a program with plain words is valid without asking a shell; the words of its grammar are not plain", async () => {
  for (const line of ["codex app-server", "sleep 600", "/opt/a_b/c-1 --model=x -v a.b:c@d if"])
    assert.equal(await syntaxFault("bash", line, nowhere), null, line);
  for (const line of ["if", "if a", "then b", "fi", "done", "for x", "until a", "coproc"])
    assert.notEqual(await syntaxFault("bash", line, process.env), null, line);
});

test("a shell names the line of a fault, and nothing of the script runs", async () => {
  const script = 'touch "$0.made"\necho "never ended\n';
  const fault = await syntaxFault("sh", script, process.env);
  assert.ok(fault !== null && fault.line >= 2, JSON.stringify(fault));
  assert.equal(await syntaxFault("sh", "echo one && echo two", process.env), null);
  // It cannot say, so it is not the script's fault.
  assert.equal(await syntaxFault("bash", "echo 'open", nowhere), null);
});
