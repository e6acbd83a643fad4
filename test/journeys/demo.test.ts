import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { linesIn } from "../recording/picture.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { eventually, launch, symphony } from "../support/worlds/symphony.ts";
import { noTerminal, onItsTerminal } from "../support/worlds/terminal.ts";

test("the demo finishes its first issue within 15 s, can be steered, and leaves no files or processes", async () => {
  const child = launch({}, ["demo", "--port", "0"]);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    output += part;
  });
  const seen = (pattern: RegExp) => async () => pattern.exec(output);
  try {
    const [url = ""] = await eventually("it says where it is", seen(/http:\/\/127\.0\.0\.1:\d+/));
    await eventually("a first issue is finished", seen(/completed in state Done/), 15_000);
    assert.match(output, /scripted stand-in/);
    const place = { env: { SYMPHONY_URL: url } };
    await eventually("the agent asks for guidance", seen(/DEMO-4 {2}What should/));
    const steered = await symphony(place, "steer", "DEMO-4", "Good evening, friends");
    assert.equal(steered.code, 0, steered.stderr);
    await eventually("all five are finished", seen(/No issue is left to run/));
    assert.match(output, /DEMO-3 {2}retry 1: /);
    assert.match(output, /DEMO-1 {2}symphony\/DEMO-1-greet-people-by-name\n/);
    await eventually("it shows a diff", seen(/^\+echo "Hello, \$\{1:-world\}!"$/m));
    await eventually("it says where all of them are", seen(/git -C \S+\/hello\.git/));
    const author = gitIn(`${/git -C (\S+)\/hello\.git/.exec(output)?.[1]}/hello.git`);
    assert.match(author("log", "--all", "--format=%an: %s"), /demo agent: Greet people by name/);
    const state = JSON.parse((await symphony(place, "state", "--json")).stdout);
    assert.equal(state.counts.completed, 5);
    const [, root = ""] = /git -C (\S+)\/hello\.git/.exec(output) ?? [];
    assert.ok(existsSync(root));
    child.kill("SIGINT");
    await eventually("it has ended", async () => child.exitCode !== null);
    assert.equal(child.exitCode, 130);
    assert.equal(existsSync(root), false, "the temporary folder is gone");
  } finally {
    child.kill("SIGKILL");
  }
});

test("D30: on a terminal the demo waits for the answer that is typed below its lines, and ends by Ctrl-C", {
  skip: noTerminal,
  timeout: 200_000,
}, async () => {
  const cwd = await mkdtemp(join(tmpdir(), "demo-terminal-"));
  const place = { cwd, dataDir: join(cwd, ".symphony"), workflowPath: "" };
  const typing = [
    ["Type it here.", "Good evening, friends\r"],
    ["No issue is left to run", "\x03"],
  ] as const;
  // As npx starts it in a checkout, which the recording shows.
  const own = { npm_command: "exec" };
  const { code, shown } = await onItsTerminal(place, { typing, own }, "demo", "--port", "0");
  await rm(cwd, { recursive: true });
  const plain = stripVTControlCharacters(shown);
  assert.equal(code, 130, plain);
  assert.match(plain, /DEMO-4 asks: what should the evening greeting be\?/);
  assert.match(plain, /DEMO-4 {2}symphony\/DEMO-4-choose-the-evening-greeting/);
  assert.match(plain, /\+echo "Hello, \$\{1:-world\}!"/);
  assert.match(plain, /npx symphony watch/);
  assert.match(plain, /npm install --global \. here; symphony init in its folder/);
  const [, root = ""] = /git -C (\S+)\/hello\.git/.exec(plain) ?? [];
  assert.ok(root !== "" && !existsSync(root), "the temporary folder is gone");
  // "D30: a picture tells of the program that is": each line of the recording is printed today.
  const printed = comparable(plain);
  const recorded = linesIn(readFileSync(new URL("../../docs/demo.svg", import.meta.url), "utf8"));
  const stable = recorded.filter((line) => !/^> |retry|conflicts/.test(line));
  assert.ok(stable.length > 40, "the recording has the whole demo");
  for (const line of stable) {
    assert.ok(
      printed.includes(comparable(line)),
      `not printed any more, run npm run record: ${line}`,
    );
  }
});

/** Without what differs from run to run: times, commits, folders, addresses, and how lines are broken. */
function comparable(text: string): string {
  return text
    .replaceAll(/ --url http:\S+/g, "")
    .replaceAll(/http:\S+/g, "")
    .replaceAll(/symphony-demo-\w+/g, "")
    .replaceAll(/\b[0-9a-f]{10}\b/g, "")
    .replaceAll(/\d+\.\ds/g, "")
    .replaceAll(/[\s─]+/g, "");
}
