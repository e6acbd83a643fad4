import assert from "node:assert/strict";
import { test } from "node:test";
import { agentKinds } from "../../../src/core/agent/kinds.ts";
import { allAbilities } from "./abilities.ts";
import { readPage, withTables } from "./table.ts";

test("the tables of docs/agents/README.md are what the contract suite tests: npm run docs:agents", () => {
  const page = readPage();
  assert.equal(page, withTables(page));
});

test("every kind of agent is in the table, with its page", () => {
  for (const { kind } of agentKinds) {
    assert.ok(
      allAbilities.some(({ page }) => page === `${kind}.md`),
      kind,
    );
  }
});
