import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { AgentRuntime } from "../../src/core/agent/agent.ts";
import { kinds } from "../../src/core/kinds.ts";
import type { Issue } from "../../src/core/model/issue.ts";
import type { TrackerKind } from "../../src/core/tracker/kinds.ts";
import type { Tracker } from "../../src/core/tracker/tracker.ts";
import { tinyAgent, tinyTracker } from "../support/fakes/tiny-kinds.ts";
import { issue } from "../support/makers/issue.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { eventually } from "../support/worlds/symphony.ts";

/** A row whose tracker records every call; `onCall` runs first. */
function recorded(row: TrackerKind, calls: string[], onCall = (_: string) => {}): TrackerKind {
  const watched = <T extends object>(of: T, prefix: string): T =>
    new Proxy(of, {
      get(target, key, receiver) {
        const value: unknown = Reflect.get(target, key, receiver);
        const name = `${prefix}${String(key)}`;
        if (typeof value === "object" && value !== null && !Array.isArray(value))
          return watched(value, `${name}.`);
        if (typeof value !== "function") return value;
        return (...given: unknown[]) => {
          const call = name.startsWith("fetch") ? `${name} ${given[0]}` : name;
          onCall(call);
          calls.push(call);
          return Reflect.apply(value, target, given);
        };
      },
    });
  return {
    ...row,
    async load() {
      const adapter = await row.load();
      const create: typeof adapter.create = (config, deps): Tracker =>
        watched(adapter.create(config, deps), "");
      return { ...adapter, create };
    },
  };
}

/** The row of the tiny agent, whose prompts are recorded; a turn that `hangs` ends with its server. */
function recordingPrompts(prompts: string[], hangs: (prompt: string) => boolean) {
  const create = async (deps: Parameters<typeof tinyAgent.create>[0]): Promise<AgentRuntime> => {
    const runtime = await tinyAgent.create(deps);
    const start: AgentRuntime["start"] = async (spec, signal) => {
      const session = await runtime.start(spec, signal);
      const turn: typeof session.turn = async (prompt, options) => {
        prompts.push(prompt);
        if (!hangs(prompt)) return session.turn(prompt, options);
        spec.onEvent({ type: "turn.started", turnId: "turn-1" });
        await new Promise((_, reject) => signal.addEventListener("abort", reject));
      };
      return { ...session, turn };
    };
    return { ...runtime, start };
  };
  return { ...tinyAgent, create };
}

const workflow = `---
tracker: { kind: tiny, board: main }
polling: { interval_ms: 100 }
host: { min_memory: 0, max_load: 0 }
workspace: { root: workspaces }
agent: { kind: tiny-agent }
hooks: { after_create: "echo made >> ../../made.txt" }
---
{% if issue.identifier == "TINY-9" %}{{ issue.labels[0] }}{% endif %}{{ issue.identifier }} {{ attempt | default: "first" }}
`;

interface Setting {
  readonly calls?: string[];
  readonly prompts?: string[];
  hangs?(prompt: string): boolean;
  onCall?(call: string): void;
}

function open(dir: string, issues: Map<string, Issue>, setting: Setting): Promise<RealServer> {
  const { calls = [], prompts = [], hangs = () => false, onCall } = setting;
  const tracker = recorded(tinyTracker(issues), calls, onCall);
  const agent = recordingPrompts(prompts, hangs);
  return openReal(dir, {
    env: { HOME: dir },
    kinds: { trackers: [...kinds.trackers, tracker], agents: [...kinds.agents, agent] },
  });
}

function put(issues: Map<string, Issue>, name: string): void {
  const one = issue(name, { state: "Open" });
  issues.set(one.id, one);
}

async function completed({ core }: RealServer, count: number): Promise<void> {
  await eventually(`${count} issues are completed`, async () => {
    return core.orchestrator.view(9).snapshot.counts.completed === count;
  });
}

test("T-1: from the first poll to the end of an issue the scheduler makes two kinds of reads and no write", async () => {
  await using project = await freshProject({ workflow });
  const issues = new Map<string, Issue>();
  put(issues, "TINY-1");
  const calls: string[] = [];
  await using server = await open(project.dir, issues, { calls });
  await completed(server, 1);
  await server.stop();
  const names = new Set(calls.map((call) => call.split(" ")[0]));
  assert.deepEqual(
    [...names].sort(),
    ["bindTools", "close", "fetchIssuesByIds", "fetchIssuesByStates", "watch"],
    "tools are the agent's, and run by its wish alone",
  );
});

test("P-8, S7: a template that fails for one issue holds only that issue, which continues when the template changes", async () => {
  await using project = await freshProject({ workflow });
  const issues = new Map<string, Issue>();
  put(issues, "TINY-9");
  put(issues, "TINY-1");
  const prompts: string[] = [];
  await using server = await open(project.dir, issues, { prompts });
  await completed(server, 1);
  const held = await eventually("the other one is held", async () => {
    return server.core.orchestrator
      .view(9)
      .snapshot.held.find((row) => row.issue.id === "id-TINY-9");
  });
  assert.match(
    held.reason,
    /WORKFLOW\.md line 9, column \d+: .*issue\.labels\.0.*; it continues when the template changes$/,
  );
  assert.deepEqual(prompts, ["TINY-1 first"]);
  await writeFile(join(project.dir, "WORKFLOW.md"), workflow.replace("labels[0]", "labels"));
  await completed(server, 2);
  assert.deepEqual(prompts, ["TINY-1 first", "TINY-9 first"]);
});

test("an issue gets the prompt of its tracker state, which is followed like the workflow file", async () => {
  await using project = await freshProject({
    workflow: workflow.replace("hooks:", 'prompts: { " OPEN ": open.md }\nhooks:'),
  });
  await writeFile(join(project.dir, "open.md"), "state {{ issue.identifier }}");
  const issues = new Map<string, Issue>();
  put(issues, "TINY-1");
  const prompts: string[] = [];
  await using server = await open(project.dir, issues, { prompts });
  await completed(server, 1);
  await writeFile(join(project.dir, "open.md"), "changed {{ issue.identifier }}");
  await eventually("the edit is in force", async () =>
    server.core.config.current.prompts.get("open")?.text.startsWith("changed"),
  );
  put(issues, "TINY-2");
  await completed(server, 2);
  assert.deepEqual(prompts, ["state TINY-1", "changed TINY-2"]);
});

test("R-2: a restart cleans up closed issues, polls again, and continues in the remaining workspaces", async () => {
  // Long enough that a poll which does not wait comes first.
  const removal = 'hooks: { before_remove: "sleep 0.5",';
  await using project = await freshProject({ workflow: workflow.replace("hooks: {", removal) });
  const issues = new Map<string, Issue>();
  put(issues, "TINY-1");
  put(issues, "TINY-2");
  const workspace = (name: string) => join(project.dir, "workspaces", name);
  const prompts: string[] = [];
  const first = await open(project.dir, issues, { prompts, hangs: () => true });
  await eventually("both are worked on", async () => prompts.length === 2);
  await first.stop();
  assert.ok(existsSync(workspace("TINY-1")) && existsSync(workspace("TINY-2")));
  // One is closed while no server runs.
  issues.set("id-TINY-2", issue("TINY-2", { state: "Shut" }));
  prompts.length = 0;
  const calls: string[] = [];
  const stood: boolean[] = [];
  const onCall = (call: string) => {
    if (call === "fetchIssuesByStates Open") stood.push(existsSync(workspace("TINY-2")));
  };
  await using second = await open(project.dir, issues, { calls, prompts, onCall });
  await completed(second, 1);
  const reads = calls.filter((call) => call.startsWith("fetch"));
  assert.deepEqual(reads.slice(0, 3), [
    "fetchIssuesByStates Shut",
    "fetchIssuesByStates Open",
    "fetchIssuesByIds id-TINY-1",
  ]);
  assert.equal(stood[0], false, "what has ended is cleaned up before the first poll");
  assert.deepEqual(prompts, ["TINY-1 first"]);
  assert.equal(await readFile(join(project.dir, "made.txt"), "utf8"), "made\nmade\n");
});
