import assert from "node:assert/strict";
import { test } from "node:test";
import { commitMessage, framed } from "../../../src/core/delivery/wording.ts";
import { config, issue } from "../../support/makers/issue.ts";

test("DELIVERY-36: the text stands at the end of the template's first section", () => {
  const frame =
    "<!-- ## not a heading\n## nor this -->\n## What\n\n```sh\n# a comment\n```\n## How\n";
  assert.equal(
    framed("Done.", frame),
    "<!-- ## not a heading\n## nor this -->\n## What\n\n```sh\n# a comment\n```\n\nDone.\n\n## How",
  );
  assert.equal(framed("Done.", "# One\r\n- [ ] tests"), "# One\n- [ ] tests\n\nDone.");
  assert.equal(framed("Done.", "- [ ] tests\n"), "Done.\n\n- [ ] tests");
  assert.equal(framed("Done.", " \n"), "Done.");
  assert.equal(framed("Done.", null), "Done.");
});

test("DELIVERY-36: delivery.sign_off ends the message with the author's trailer, once", async () => {
  const author = { name: "Ada", email: "ada@example.com" };
  const told = { issue: issue("A-1", { title: "Greet" }), summary: null, branch: "b", author };
  const message = (commitTemplate: string, signOff = true) =>
    commitMessage(config({ delivery: { commitTemplate, signOff } }), told);
  const trailer = "Signed-off-by: Ada <ada@example.com>";
  assert.equal(await message("{{ issue.title }}"), `Greet\n\n${trailer}\n`);
  assert.equal(await message("fix: it"), `fix: it\n\n${trailer}\n`);
  assert.equal(await message("a\n\nIssue: A-1"), `a\n\nIssue: A-1\n${trailer}\n`);
  assert.equal(await message(`a\n\n${trailer}`), `a\n\n${trailer}\n`);
  assert.equal(await message("a", false), "a\n");
});
