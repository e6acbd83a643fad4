import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { kinds } from "../../src/core/kinds.ts";
import type { Issue } from "../../src/core/model/issue.ts";
import { trackerKinds } from "../../src/core/tracker/kinds.ts";
import { tinyAgent, tinyTracker } from "../support/fakes/tiny-kinds.ts";
import { issue } from "../support/makers/issue.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";

const workflow = `---
tracker: { kind: tiny, board: main }
workspace: { root: workspaces }
agent: { kind: tiny-agent }
tiny-agent: { greeting: good morning }
---
Work on {{ issue.title }}
`;

async function world(issues: Map<string, Issue>) {
  const project = await freshProject({ workflow });
  const own = {
    trackers: [...kinds.trackers, tinyTracker(issues)],
    agents: [...kinds.agents, tinyAgent],
  };
  const server = await openReal(project.dir, { kinds: own });
  return {
    server,
    async [Symbol.asyncDispose]() {
      await server.stop();
      await project[Symbol.asyncDispose]();
    },
  };
}

/** Resolves with the path of the workspace of the attempt that ended. */
function ended({ core }: RealServer): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  core.bus.subscribe({ filter: { types: ["attempt.ended"] } }, ({ issueId }) => {
    const attempt = issueId === null ? null : core.history.latestAttempt(issueId);
    if (attempt?.workspacePath) resolve(attempt.workspacePath);
  });
  return promise;
}

test("a kind of tracker and a kind of agent need one row each: the new agent works on an issue of the new tracker", async () => {
  const issues = new Map<string, Issue>();
  await using at = await world(issues);
  const { server } = at;
  const path = ended(server);
  const one = issue("TINY-1", { state: "Open" });
  issues.set(one.id, one);
  assert.equal((await server.ask("/api/v1/refresh", { method: "POST" })).status, 202);
  assert.equal(await readFile(`${await path}/greeting.txt`, "utf8"), "good morning\n");
  assert.equal(issues.get(one.id)?.state, "Shut");
  const [attempt] = (await server.ask("/api/v1/TINY-1/attempts")).json().attempts;
  assert.deepEqual([attempt.agent, attempt.status], ["tiny-agent", "succeeded"]);
});

test("the schema, the runtime, the models and the refusals include both", async () => {
  await using at = await world(new Map());
  const { server } = at;
  const schema = (await server.ask("/api/v1/config/schema")).json();
  assert.match(schema.properties.tracker.properties.kind.description, /or tiny$/);
  assert.match(schema.properties.agent.properties.kind.description, /acp or tiny-agent$/);
  const { greeting } = schema.properties["tiny-agent"].properties;
  assert.deepEqual([greeting.default, greeting.description], ["hello", "What is written"]);
  const shown = schema.examples.map((example: object) => JSON.stringify(example)).join("\n");
  assert.match(shown, /"kind":"tiny","provider":\{"board":"main"\}/);
  assert.match(shown, /"tiny-agent":\{"greeting":"good evening"\}/);
  const { config, origins } = (await server.ask("/api/v1/config")).json();
  assert.deepEqual(config["tiny-agent"], { greeting: "good morning", times: 1, model: "tiny-1" });
  assert.deepEqual(config.tracker.provider, { board: "main" });
  assert.deepEqual(config.tracker.terminal_states, ["Shut"]);
  assert.equal(origins["tiny-agent.greeting"], "workflow");
  const { agent, features } = (await server.ask("/api/v1/runtime")).json();
  const { kind, command, model } = agent;
  assert.deepEqual([kind, command, model], ["tiny-agent", "echo good morning", "tiny-1"]);
  assert.equal(features.models, true);
  const { models } = (await server.ask("/api/v1/models")).json();
  assert.deepEqual(models, [{ id: "tiny-1", owned_by: null, created_at: null, in_use: true }]);
  const put = (body: object) => server.ask("/api/v1/config/overlay", { method: "PUT", body });
  const blank = await put({ tracker: { provider: { board: "" } } });
  assert.deepEqual([blank.status, blank.json().error.code], [422, "invalid_tracker_config"]);
  const wrong = await put({ "tiny-agent": { times: 0 } });
  assert.match(wrong.json().error.message, /tiny-agent\.times must be greater than 0/);
  const slip = await put({ "tiny-agent": { greting: "hi" } });
  assert.match(slip.json().error.message, /did you mean tiny-agent\.greeting\?/);
  const other = await put({ tracker: { kind: "other" } });
  assert.deepEqual(other.json().error.details.supported, [
    ...trackerKinds.map(({ kind }) => kind),
    "tiny",
  ]);
});

test("an issue may be given to a kind in the table, and to no other", async () => {
  const issues = new Map<string, Issue>();
  await using at = await world(issues);
  const over = ended(at.server);
  const one = issue("TINY-2", { state: "Open" });
  issues.set(one.id, one);
  await at.server.ask("/api/v1/refresh", { method: "POST" });
  await over;
  const choose = (agent: string) =>
    at.server.ask("/api/v1/TINY-2/model", { method: "POST", body: { model: null, agent } });
  const unknown = await choose("nobody");
  assert.equal(unknown.status, 400);
  assert.deepEqual(unknown.json().error.details, [
    { path: "agent", message: "must be codex, claude, openai, command, acp or tiny-agent" },
  ]);
  const known = await choose("tiny-agent");
  assert.deepEqual([known.status, known.json().agent], [200, "tiny-agent"], known.text);
});
