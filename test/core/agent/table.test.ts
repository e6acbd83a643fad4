import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentRuntimes, agentKinds } from "../../../src/core/agent/kinds.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { config } from "../../support/makers/issue.ts";
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

test("of a running server's agents it is known whether they may write .git below danger", async () => {
  for (const [agent, codex, approvals, mayWrite] of [
    ["codex", {}, "auto", false],
    ["codex", { allowGit: true }, "auto", true],
    ["codex", { approvalPolicy: "on-request" }, "auto", true],
    // A command that a person approves leaves its sandbox.
    ["openai", {}, "ask", true],
    ["openai", {}, "auto", false],
    ["claude", {}, "ask", false],
  ] as const) {
    const runtimes = new AgentRuntimes({
      ...{ kinds: agentKinds, clock: systemClock, env: {}, dataDir: "/nowhere", hosts: null },
      ...{ config: () => config({ codex }), lookup: () => undefined, hide() {}, onTrouble() {} },
    });
    const runtime = await runtimes.get(agent);
    assert.equal(runtime.writesGit?.(approvals), mayWrite, JSON.stringify([agent, codex]));
  }
});
