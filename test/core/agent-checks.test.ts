import assert from "node:assert/strict";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import type { AgentKind } from "../../src/core/agent/kinds.ts";
import { AgentChecks } from "../../src/core/agent-checks.ts";
import { createLogger } from "../../src/core/events/log.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import type { AgentTrouble } from "../../src/core/model/gates.ts";
import { loginEnvironment } from "../../src/core/process/login.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { config } from "../support/makers/issue.ts";
import { eventually } from "../support/worlds/symphony.ts";

// Rows of the case file of agents are named "A11: …".

function kindOf(kind: string, check: () => Promise<void>): AgentKind {
  return {
    kind,
    section: { schema: z.object({}), meanings: {}, example: {}, settings: () => ({}) },
    create: async () => ({ kind, check, start: () => Promise.reject(new Error("not started")) }),
    command: () => "",
    models: null,
    outliving: null,
  };
}

function checksOf(
  kinds: readonly AgentKind[],
  use: readonly string[],
  env: NodeJS.ProcessEnv = {},
  { onWorkers = false, url = null }: { onWorkers?: boolean; url?: string | null } = {},
) {
  const clock = new FakeClock();
  const found = new Map<string, AgentTrouble | null>();
  const logged: string[] = [];
  const sinks = [{ name: "test", write: (line: string) => void logged.push(line) }];
  const [first = "", ...fallback] = use;
  const checks = new AgentChecks({
    ...{ clock, kinds, env, dataDir: "/nowhere", version: "1.2.3" },
    lookup: () => undefined,
    hide() {},
    log: createLogger({ level: "warn", format: "json", sinks, clock, redact: (text) => text }),
    config: () => config({ agent: { use: first, fallback }, fleet: { url } }),
    onWorkers: () => (onWorkers ? () => void logged.push("asked the workers") : null),
    chosen: () => [],
    troubled: () => [...found].flatMap(([agent, trouble]) => (trouble === null ? [] : [agent])),
    found: (agent, trouble) => found.set(agent, trouble),
  });
  return { clock, found, checks, logged };
}

const refused = new SymphonyError("agent_unavailable", "there is no key", { hint: "add one" });

test("A11: one agent that never answers delays no other one", async () => {
  const kinds = [
    kindOf("silent", () => new Promise(() => {})),
    kindOf("well", async () => {}),
    kindOf("broken", () => Promise.reject(refused)),
  ];
  const { clock, found, checks } = checksOf(kinds, ["silent", "well", "broken"]);
  const looked = checks.look();
  await eventually("the others are known", async () => found.size === 2);
  assert.equal(found.get("well"), null);
  assert.equal(found.get("broken")?.detail, "there is no key; add one");
  clock.advance(10_000);
  await looked;
  assert.equal(found.get("silent"), null, "what is not known stops nothing");
  checks.stop();
  assert.equal(clock.pending, 0);
});

test("30: agents are checked here while attempts run here, also when a reload has named a fleet that is not in use yet", async () => {
  const kinds = [kindOf("broken", () => Promise.reject(refused))];
  for (const onWorkers of [false, true]) {
    const given = { onWorkers, url: onWorkers ? null : "redis://127.0.0.1:1" };
    const { found, checks, logged } = checksOf(kinds, ["broken"], {}, given);
    await checks.look();
    assert.equal(found.get("broken")?.code, onWorkers ? undefined : "agent_unavailable");
    assert.deepEqual(logged, onWorkers ? ["asked the workers"] : []);
    checks.stop();
  }
});

test("A11: a mended agent comes back by itself", async () => {
  let isMended = false;
  const kind = kindOf("one", async () => {
    if (!isMended) throw refused;
  });
  const { clock, found, checks } = checksOf([kind], ["one"]);
  await checks.look();
  assert.equal(found.get("one")?.code, "agent_unavailable");
  isMended = true;
  clock.advance(15_000);
  await eventually("it is checked again", async () => found.get("one") === null);
  checks.stop();
});

test("a login shell that says nothing is in the log once, and stops no agent", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "symphony-checks-"));
  await writeFile(join(home.path, ".bash_profile"), "exit 3\n");
  const env = { HOME: home.path, SHELL: "/bin/bash", PATH: "/usr/bin:/bin" };
  const { found, checks, logged } = checksOf([kindOf("one", async () => {})], ["one"], env);
  await checks.look();
  assert.equal(found.get("one"), null);
  await eventually("it is logged", async () => logged.length > 0);
  await checks.look();
  await loginEnvironment(env);
  checks.stop();
  assert.equal(logged.length, 1, logged.join());
  assert.match(logged[0] ?? "", /bash ended before it showed its PATH/);
});
