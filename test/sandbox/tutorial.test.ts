// docs/tutorial.md, typed word for word in a shell, with the built-in agent and a scripted provider of models.

import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { modelServer } from "../support/fakes/model-server.ts";
import { snippets } from "../support/makers/snippets.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { Reader } from "../support/worlds/reader.ts";

const edits = [
  `printf 'echo "Hello, \${1:-world}!"\\n' > greet.sh`,
  // It is running until the reader has seen that.
  `until [ -e go ]; do sleep 0.1; done; rm go; printf '# The argument is a name.\\necho "Hello, \${1:-world}!"\\n' > greet.sh`,
];

test("the tutorial leads from a new repository to a merged branch, each command as it stands", async (t) => {
  await using provider = await modelServer(
    edits.flatMap((command) => [
      { calls: [{ name: "shell", args: { command } }] },
      { text: "greet.sh greets by name." },
    ]),
  );
  const dir = temporaryDir(t);
  const env = { OPENAI_API_KEY: "sk-test-0123456789", OPENAI_BASE_URL: provider.url };
  await using reader = new Reader(dir, env);
  for (const block of blocks()) {
    for (const line of block.trimEnd().split("\n")) {
      if (line === "symphony serve") await reader.serve(line);
      else await reader.type(line);
      if (line.includes("--for running")) release(reader);
    }
  }
  const clone = join(dir, "greeter");
  const greeting = await reader.type("sh greet.sh Ada");
  assert.equal(greeting, "Hello, Ada!\n");
  assert.match(readFileSync(join(clone, "greet.sh"), "utf8"), /^# The argument/);
  assert.match(JSON.stringify(provider.asked.at(-1)?.body), /A comment should say what it is/);
});

/** The blocks of commands in their order, without those that the page says are not run. */
function blocks(): readonly string[] {
  const found = snippets().filter(({ page }) => page === "docs/tutorial.md");
  const run = found.filter(({ reason }) => reason === null);
  assert.ok(run.length >= 8 && found.length === run.length + 1);
  return run.map(({ body }) => body);
}

/** Lets the second turn of the agent edit. */
function release(reader: Reader): void {
  const [workspace] = globSync(".symphony/workspaces/*/LOCAL-1", { cwd: reader.home });
  assert.ok(workspace !== undefined);
  writeFileSync(join(reader.home, workspace, "go"), "");
}
