import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { z } from "zod";
import { configSchema } from "../../../src/core/config/json-schema.ts";
import { leavesOf } from "../../../src/core/config/layers.ts";
import { checkOverlay, withoutCredentials, withoutPath } from "../../../src/core/config/overlay.ts";
import { openConfig, openOverlay, readOverlay } from "../../../src/core/config/service.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const problemsOf = (overlay: Record<string, unknown>): unknown => {
  try {
    checkOverlay(overlay, sections);
    return [];
  } catch (error) {
    assert.ok(error instanceof SymphonyError && error.code === "invalid_config");
    return (error.details["problems"] as { path: string }[]).map(({ path }) => path);
  }
};

test("W-15: unknown keys of an overlay are refused with a suggestion, except provider keys and x- keys", () => {
  assert.deepEqual(problemsOf({ agent: { max_turn: 1 }, agnt: {} }), ["agent.max_turn", "agnt"]);
  assert.throws(
    () => checkOverlay({ agent: { max_turn: 1 } }, sections),
    coded("invalid_config", /agent\.max_turn is not a known key; did you mean agent\.max_turns\?/),
  );
  const free = {
    tracker: { provider: { future: { a: 1 } } },
    "x-team": { a: 1 },
    agent: { "x-a": 1 },
  };
  assert.deepEqual(problemsOf(free), []);
  assert.deepEqual(problemsOf({ agent: { max_concurrent_agents_by_state: { Rework: 1 } } }), []);
});

test("keys that reach the prototype of objects are refused at any depth", () => {
  for (const key of ["__proto__", "constructor", "prototype"]) {
    const nested = JSON.parse(`{"tracker": {"provider": {"a": [{"${key}": {"polluted": 1}}]}}}`);
    assert.deepEqual(problemsOf(nested), [`tracker.provider.a.0.${key}`]);
    assert.ok((problemsOf(JSON.parse(`{"${key}": {}}`)) as string[]).includes(key));
  }
  const deep = JSON.parse(`${'{"x-a":'.repeat(40)}1${"}".repeat(40)}`);
  assert.throws(() => checkOverlay(deep, sections), coded("invalid_config", /32 levels/));
});

test("a credential in plain text is refused in an overlay and hidden in output", () => {
  const provider = { api_key: "lin_api_canary", webhook_secret: "$HOOK", project_slug: "abc" };
  assert.deepEqual(problemsOf({ tracker: { provider } }), ["tracker.provider.api_key"]);
  const shown = withoutCredentials({ tracker: { provider }, list: ["a canary"] }, (text) =>
    text.replace("canary", "*"),
  );
  assert.deepEqual(shown, {
    tracker: { provider: { ...provider, api_key: "[redacted]" } },
    list: ["a *"],
  });
});

test("removing a path leaves no empty maps, and keys may contain dots", () => {
  const overlay = { agent: { max_turns: 1, max_concurrent_agents_by_state: { "v1.0": 2 } } };
  assert.deepEqual(withoutPath(overlay, "agent.max_concurrent_agents_by_state.v1.0"), {
    agent: { max_turns: 1 },
  });
  assert.deepEqual(withoutPath({ agent: { max_turns: 1 } }, "agent.max_turns"), {});
  assert.deepEqual(withoutPath(overlay, "agent"), {});
  for (const absent of ["agent.max_turn", "agent.max_turns.x", "", "toString", "__proto__.a"]) {
    assert.equal(withoutPath(overlay, absent), null, absent);
  }
});

test("every value in an overlay can be removed by its path, and nothing else is removed", () => {
  const leaf = fc.oneof(fc.integer(), fc.string());
  const key = fc.stringMatching(/^[a-z]{1,3}$/);
  const map = fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf, { minKeys: 1 })), {
    minKeys: 1,
  });
  fc.assert(
    fc.property(map, (overlay) => {
      for (const path of leavesOf(overlay, sections).keys()) {
        const rest = withoutPath(overlay, path);
        assert.ok(rest);
        const kept = [...leavesOf(overlay, sections).keys()].filter((other) => other !== path);
        assert.deepEqual([...leavesOf(rest, sections).keys()], kept);
      }
    }),
    { numRuns: 50 },
  );
});

async function openService(t: Parameters<typeof temporaryDir>[0]) {
  const dir = temporaryDir(t);
  const workflowPath = join(dir, "WORKFLOW.md");
  await writeFile(
    workflowPath,
    "---\ntracker:\n  kind: local\nagent:\n  max_turns: 3\n---\nWork\n",
  );
  const open = async () => {
    const { overlay, save: saveOverlay } = await openOverlay(dir);
    const sources = { env: { SYMPHONY_AGENT__MAX_TURNS: "4" }, flags: { port: 1 }, overlay };
    const clock = new FakeClock();
    const service = await openConfig({
      sections,
      workflowPath,
      clock,
      home: "/h",
      saveOverlay,
      ...sources,
    });
    t.after(() => service.close());
    return service;
  };
  return { dir, workflowPath, open };
}

test("W-16, W-25: a change overrides file and environment but not the flags, and outlives a restart", async (t) => {
  const { dir, open } = await openService(t);
  const service = await open();
  const changes: unknown[] = [];
  service.watch((change) => changes.push(change));
  assert.equal(service.current.config.agent.maxTurns, 4);
  const next = { agent: { max_turns: 9 }, server: { port: 5 } };
  assert.deepEqual(await service.changeOverlay(() => next), next);
  assert.deepEqual(
    [service.current.config.agent.maxTurns, service.current.config.server.port],
    [9, 1],
  );
  assert.equal(service.current.origins["agent.max_turns"], "overlay");
  assert.deepEqual(changes, [{ type: "changed", keys: ["agent.max_turns"], warnings: [] }]);
  assert.deepEqual(await readOverlay(dir), next);
  assert.equal((await stat(join(dir, "overlay.json"))).mode & 0o077, 0);
  const again = await open();
  assert.deepEqual([again.overlay, again.current.config.agent.maxTurns], [next, 9]);
  await again.changeOverlay(() => ({ agent: { max_turns: 4 } }));
  await again.changeOverlay(() => ({}));
  assert.equal(again.current.origins["agent.max_turns"], "env");
});

test("W-25: a refused change leaves file, overlay and configuration unchanged", async (t) => {
  const { dir, workflowPath, open } = await openService(t);
  const service = await open();
  await service.changeOverlay(() => ({ agent: { max_turns: 9 } }));
  const bytes = await readFile(join(dir, "overlay.json"));
  for (const bad of [{ agent: { max_turns: 0 } }, { agent: 5 }, { agnt: {} }]) {
    await assert.rejects(
      service.changeOverlay(() => bad),
      { code: "invalid_config" },
    );
  }
  await writeFile(workflowPath, "---\ntracker: [\n---\n");
  await assert.rejects(
    service.changeOverlay(() => ({})),
    { code: "workflow_parse_error" },
  );
  assert.deepEqual(await readFile(join(dir, "overlay.json")), bytes);
  assert.deepEqual(
    [service.overlay, service.current.config.agent.maxTurns],
    [{ agent: { max_turns: 9 } }, 9],
  );
});

test("concurrent changes are made one after the other", async (t) => {
  const { open } = await openService(t);
  const service = await open();
  const names = ["x-a", "x-b", "x-c", "x-d"];
  await Promise.all(names.map((name) => service.changeOverlay((now) => ({ ...now, [name]: 1 }))));
  assert.deepEqual(Object.keys(service.overlay), names);
});

test("an altered overlay file is refused and not changed", async (t) => {
  const { dir, open } = await openService(t);
  await (await open()).changeOverlay(() => ({ agent: { max_turns: 9 } }));
  const file = join(dir, "overlay.json");
  const altered = (await readFile(file, "utf8")).replace("9", "8");
  await writeFile(file, altered);
  await assert.rejects(openOverlay(dir), { code: "storage_corrupt" });
  assert.equal(await readFile(file, "utf8"), altered);
});

test("the JSON Schema is of 2020-12, says what each key means, and its examples validate", () => {
  const schema = configSchema(sections);
  assert.equal(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  const check = z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]);
  const examples = schema["examples"] as unknown[];
  assert.ok(examples.length >= 2);
  for (const example of examples)
    assert.ok(check.safeParse(example).success, JSON.stringify(example));
  assert.ok(!check.safeParse({ tracker: { kind: "local" }, agent: { max_turns: 0 } }).success);
  type Section = { description?: string; properties?: Record<string, { description?: string }> };
  const described = Object.entries(schema["properties"] as Record<string, Section>);
  for (const [name, { description: own, properties = {} }] of described) {
    assert.ok(own ?? Object.keys(properties).length > 0, name);
    for (const [key, { description }] of Object.entries(properties)) assert.ok(description, key);
  }
});
