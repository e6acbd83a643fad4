import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { type Route, routesOf } from "../../src/contract/route.ts";
import { EventReader } from "../support/fakes/event-reader.ts";
import { completed, turnWith, wireAgent } from "../support/fakes/wire-agent.ts";
import { canaries, canariesIn, inEnvironment, stored } from "../support/makers/canaries.ts";
import { recordTexts, replayedRecord } from "../support/makers/record.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { Bench } from "../support/worlds/scripted-agent.ts";

const all = canaries.join(" | ");
const message = (text: string) => ({
  method: "item/completed",
  params: { threadId: "thread-1", item: { type: "agentMessage", text } },
});
const failed = {
  method: "turn/completed",
  params: {
    ...completed.params,
    turn: { id: "$turn", status: "failed", error: { message: `agent says ${all}` } },
  },
};

let project: Awaited<ReturnType<typeof freshProject>>;
let server: RealServer;
let reader: EventReader;

before(async () => {
  project = await freshProject();
  const raw = `${JSON.stringify(message(`bytewise ${all}`))}\n`;
  const command = await wireAgent(new Bench(project.dir, {}), {
    "turn/start": [
      { stderr: `${canaries.join("\n")}\n` },
      ...turnWith(message(all), ...canaries.map(message)),
      { raw, bytewise: true },
      { raw: `no json ${all}\n` },
      { send: failed },
    ],
  });
  const workflow = `---
tracker: { kind: local }
workspace: { root: workspaces }
codex: { command: ${JSON.stringify(command)} }
---
{{ issue.title }}
`;
  const { dir } = project;
  server = await openReal(dir, { env: inEnvironment, workflow: await written(dir, workflow) });
  for (const [key, value] of Object.entries(stored)) {
    const answer = await server.ask(`/api/v1/secrets/${key}`, { method: "POST", body: { value } });
    assert.equal(answer.status, 201, answer.text);
    assert.deepEqual(canariesIn(answer.text), []);
  }
  reader = await EventReader.open(Number(new URL(server.url).port), "?since=0");
  const body = { title: `Title ${all}`.slice(0, 400), state: "Todo", description: all };
  assert.equal((await server.ask("/api/v1/issues", { method: "POST", body })).status, 201);
  await server.ask("/api/v1/refresh", { method: "POST" });
  await reader.until(({ messages }) => messages.some(({ event }) => event === "issue.retrying"));
});
after(async () => {
  await reader[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await project[Symbol.asyncDispose]();
});

async function written(dir: string, workflow: string): Promise<string> {
  await writeFile(join(dir, "WORKFLOW.md"), workflow);
  return workflow;
}

/** The address of a route, with `id` for each of its parameters. */
function at({ path }: Route, id: string): string {
  return path.replaceAll(/:\w+/g, () => encodeURIComponent(id));
}

/** A body with a canary in each field that takes text, and in one that the route does not know. */
function bodyOf(canary: string): unknown {
  const names = "title body name reason message value description identifier template_id text";
  const texts = Object.fromEntries(names.split(" ").map((name) => [name, canary]));
  return { ...texts, [canary]: canary, variables: { [canary]: { x: canary } }, model: canary };
}

describe("THREAT-3, INV-26: no secret is seen", () => {
  test("after an agent has printed all of them and failed", async () => {
    assert.equal(canaries.length, 25);
    assert.ok(reader.messages.some(({ event }) => event === "agent.message"));
    const state = await server.ask("/api/v1/state");
    assert.equal(state.json().counts.retrying, 1);
    assert.match(state.text, /agent says \[redacted\]/);
    assert.match(state.text, /"title":"Title \[redacted\]/);
  });

  for (const [name, route] of routesOf(api)) {
    if (route.media === "text/event-stream") continue;
    test(`in what ${name} answers`, async () => {
      const asks = ["local-1", ...canaries].map(async (id, index) => {
        const canary = canaries[index % canaries.length] ?? id;
        const query = index === 0 ? "" : `?limit=${encodeURIComponent(canary)}`;
        const body = route.method === "GET" ? {} : { body: bodyOf(canary) };
        const method = route.method;
        const answer = await server.ask(at(route, id) + query, { method, ...body });
        assert.ok(answer.status !== 500, `${answer.status} ${answer.text}`);
        assert.deepEqual(canariesIn(answer.text), [], `${method} ${at(route, id)}`);
      });
      await Promise.all(asks);
    });
  }

  test("in lists and pages after all these requests, read in the order in which a person reads them", async () => {
    const attempts = await server.ask("/api/v1/local-1/attempts");
    const [attempt] = attempts.json().attempts;
    for (const path of [
      "/",
      "/metrics",
      "/api/v1/state?limit=500",
      "/api/v1/issues",
      "/api/v1/local-1",
      `/api/v1/attempts/${attempt.id}?limit=1000`,
      "/api/v1/audit?limit=500",
      "/api/v1/templates",
      "/api/v1/config",
      "/api/v1/transitions",
      "/nowhere",
    ]) {
      const answer = await server.ask(path);
      assert.ok([200, 404].includes(answer.status), `${answer.status} ${path}`);
      assert.deepEqual(canariesIn(answer.text), [], path);
    }
  });

  test("in a preview, whether it comes from the issue or from the variables", async () => {
    const body = {
      name: "all",
      body: "{{ issue.title }} {{ issue.description }} {{ issue.native_ref.x }}",
    };
    const made = await server.ask("/api/v1/templates", { method: "POST", body });
    const path = `/api/v1/templates/${made.json().id}/preview`;
    const preview = (given: unknown) => server.ask(path, { method: "POST", body: given });
    const issue = { title: all, description: all, native_ref: { x: all } };
    const shown = await preview({ variables: { issue } });
    assert.equal(shown.status, 200, shown.text);
    assert.deepEqual(canariesIn(shown.text), []);
    assert.match(shown.text, /\[redacted\]/);
  });

  test("in the event stream, live or replayed, or in the log", async () => {
    await using again = await EventReader.open(Number(new URL(server.url).port), "?since=0");
    const last = reader.messages.at(-1)?.id;
    await again.until(({ messages }) => messages.some(({ id }) => id === last));
    for (const { messages } of [reader, again]) {
      assert.deepEqual(canariesIn(JSON.stringify(messages)), []);
    }
    assert.ok(server.logged.length > 10);
    assert.deepEqual(canariesIn(server.logged.join("")), []);
  });

  test("in the history, the audit log and the record of decisions on disk", async () => {
    await server.stop();
    for (const name of ["history.db", "secrets.json"]) {
      const bytes = await readFile(join(server.dataDir, name), "latin1");
      assert.deepEqual(canariesIn(bytes), [], name);
    }
    const record = recordTexts(join(server.dataDir, "record.db"));
    assert.match(record, /attempt\.exited/, "it was recorded");
    assert.deepEqual(canariesIn(record), [], "record.db");
    const { decisions, differing } = replayedRecord(join(server.dataDir, "record.db"));
    assert.ok(decisions > 20, `${decisions} decisions`);
    assert.deepEqual(differing, [], "redacted, it replays to the same decisions");
  });
});
