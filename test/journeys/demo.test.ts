import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { gitIn } from "../support/makers/git-repository.ts";
import { eventually, launch, symphony } from "../support/worlds/symphony.ts";

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
