import assert from "node:assert/strict";
import { test } from "node:test";
import { asking, needs } from "../support/worlds/asking.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

test("inbox shows the waiting question and how to answer it; respond answers it", async () => {
  await using at = await asking();
  const env = { SYMPHONY_URL: at.server.listening.url };
  const shown = await symphony(["inbox"], { env });
  assert.match(shown.stdout, /ENG-1 .*Run rm\?.*symphony respond ENG-1 approve/);
  const listed = JSON.parse((await symphony(["inbox", "--json"], { env })).stdout);
  assert.deepEqual([listed.total, listed.items[0].kind], [1, "approval"]);
  assert.ok(listed.items[0].until);
  const approved = await symphony(["respond", "eng-1", "approve"], { env });
  assert.deepEqual([approved.code, approved.stdout], [0, ""]);
  assert.match(approved.stderr, /The agent on ENG-1 has the answer to "Run rm\?" and continues/);
  assert.ok(at.world.scheduler.calls.some((call) => call.startsWith("answer ")));
  const empty = await symphony(["inbox"], { env });
  assert.match(empty.stderr, /Nothing needs you/);
});

test("when the attempt has ended, respond says that the issue is started again", async () => {
  await using at = await asking();
  const env = { SYMPHONY_URL: at.server.listening.url };
  await at.world.scheduler.run("ENG-1").end({ kind: "needs", needs, code: "approval_required" });
  const answered = await symphony(["respond", "ENG-1", "decline", "--json"], { env });
  assert.deepEqual(JSON.parse(answered.stdout), {
    issue_identifier: "ENG-1",
    asked: needs.prompt,
    applies: "next_attempt",
  });
});

test("respond refuses an invalid answer, and lists the valid ones", async () => {
  await using at = await asking();
  const env = { SYMPHONY_URL: at.server.listening.url };
  const said = async (...args: string[]) => {
    const { code, stderr } = await symphony(["respond", ...args], { env });
    assert.notEqual(code, 0, args.join(" "));
    return stderr;
  };
  assert.match(await said("ENG-1"), /give one answer/);
  assert.match(await said("ENG-1", "approve", "--answer", "x"), /give one answer/);
  assert.match(await said("ENG-2", "approve"), /has no open question[\s\S]*symphony inbox/);
  assert.match(await said("NO-1", "approve"), /NO-1/);
});
