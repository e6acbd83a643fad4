// Names of a workflow file that the tracker or the provider does not have, at every door. "S" and a number name a row of the
// inputs to the scheduler and the configuration that went wrong.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startFakeLinear } from "../support/fakes/fake-linear.ts";
import { sendJson, startProvider } from "../support/fakes/provider.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

async function project(t: TestContext, text: string) {
  const root = temporaryDir(t);
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(workflowPath, text);
  const env = { HOME: root, LINEAR_API_KEY: "lin_api_fake", OPENAI_API_KEY: "sk-fake-0123456789" };
  return { cwd: root, env, dataDir: join(root, ".symphony"), workflowPath };
}

const warningsOf = async (server: Served) => (await server.client.system.state({})).warnings;

/** Resolves when a warning of the running server matches. */
const warned = (server: Served, what: RegExp) =>
  eventually(`a warning ${what}`, async () =>
    (await warningsOf(server)).find((one) => what.test(one)),
  );

/** A server that is slow to check replies without the warning, and has it in its state later: then it is tried again. */
const toldAtOnce = (what: string, change: () => Promise<boolean>) => eventually(what, change);

test("S2: states and labels are compared with what Linear has, at every door", async (t) => {
  await using linear = await startFakeLinear({
    issues: [{ identifier: "ENG-1", state: "Backlog" }],
  });
  linear.labels.push(
    { name: "agent" },
    { name: "Bug" },
    { name: "Type", isGroup: true },
    { name: "elsewhere", team: { id: "team-OPS" } },
    { name: "ours", team: { id: "team-ENG" } },
  );
  const file = (active: string) => `---
tracker:
  kind: linear
  provider: { endpoint: "${linear.url}", project_slug: a79254768c8f, api_key: $LINEAR_API_KEY }
  active_states: [${active}]
  blocker_states: [Tdoo]
  labels: { any: [Agnet, ours], exclude: [elsewhere, type, bug] }
agent: { kind: command, by_state: { Reviw: { reasoning_effort: low } }, by_label: { urgnt: { reasoning_effort: high } } }
command: { line: cat }
prompts: { Rework: rework.md }
git:
  repositories:
    - { name: a, url: "https://git.example/a.git", match: { states: [In Progres], labels: [bgu] } }
---
hi
`;
  const place = await project(t, file("To Do, Doing"));
  await writeFile(join(place.cwd, "rework.md"), "again\n");
  const told = [
    /tracker\.active_states: no team knows "To Do"; the states of ENG are Backlog, Todo, In Progress, In Review, Done, Canceled; did you mean Todo\?/,
    /tracker\.active_states: no team knows "Doing"/,
    /tracker\.blocker_states: no team knows "Tdoo".*did you mean Todo\?/,
    /agent\.by_state: no team knows "Reviw"/,
    /prompts: no team knows "rework"/,
    /git\.repositories\.0\.match\.states: no team knows "In Progres".*did you mean In Progress\?/,
    /tracker\.labels\.any: the tracker has no label "agnet"; did you mean agent\?/,
    /tracker\.labels\.exclude: the tracker has no label "elsewhere"/,
    /tracker\.labels\.exclude: the tracker has no label "type"/,
    /agent\.by_label: the tracker has no label "urgnt"/,
    /git\.repositories\.0\.match\.labels: the tracker has no label "bgu"; did you mean Bug\?/,
  ];
  const check = await symphony(place, "config", "check");
  assert.equal(check.code, 0, check.stderr);
  const plan = await symphony(place, "serve", "--dry-run");
  for (const one of told) {
    assert.match(check.stdout, one);
    assert.match(plan.stderr, one);
  }
  assert.doesNotMatch(check.stdout, /"ours"|"bug"|"todo"/i);
  await using server = await Served.start(place);
  for (const one of told) await warned(server, one);
  const shown = await symphony(place, "state");
  assert.match(shown.stdout + shown.stderr, /no team knows "To Do"/);
  assert.match(await (await fetch(server.url)).text(), /no team knows (?:&quot;|")To Do/);
  await eventually("the log says it", async () => /no team knows .{1,3}To Do/.test(server.log));
  await writeFile(place.workflowPath, file("Todo, In Progess"));
  await warned(server, /no team knows "In Progess".*did you mean In Progress\?/);
  assert.doesNotMatch((await warningsOf(server)).join("\n"), /To Do/);
  const set = (value: string) =>
    symphony(place, "config", "overlay", "set", "tracker.in_progress", value);
  await toldAtOnce("a warning of the changed state", async () => {
    await set("In Progress");
    const { code, stderr } = await set("In Progess");
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^tracker\.in_progress is In Progess now; .+\n/);
    return /\nwarning: tracker\.in_progress: no team knows "In Progess".*did you/.test(stderr);
  });
});

test("S2: a local tracker has the states of its configuration, and any label", async (t) => {
  const place = await project(
    t,
    `---
tracker: { kind: local, active_states: [Todo], blocker_states: [Tood], labels: { any: [whatever] } }
agent: { kind: command, by_state: { Doen: { reasoning_effort: low } } }
command: { line: cat }
---
hi
`,
  );
  const { code, stdout } = await symphony(place, "config", "check");
  assert.equal(code, 0, stdout);
  assert.match(
    stdout,
    /tracker\.blocker_states: the tracker has no state "Tood"; its states are Todo, .*did you mean Todo\?/,
  );
  assert.match(stdout, /agent\.by_state: the tracker has no state "Doen".*did you mean Done\?/);
  assert.match(stdout, /0 faults, 2 warnings/);
});

test("S31: a model that the provider does not list is told at start, in a check, in a dry-run and when it is set", async (t) => {
  const data = [{ id: "gpt-5.5" }, { id: "local" }];
  await using provider = await startProvider((_, answer) => sendJson(answer, 200, { data }));
  const place = await project(
    t,
    `---
tracker: { kind: local }
agent: { kind: openai }
openai: { base_url: "${provider.url}", model: gtp-5.5 }
---
hi
`,
  );
  const told =
    /openai\.model: "gtp-5\.5" is not among the models of openai, http:\S+; did you mean gpt-5\.5\?/;
  const check = await symphony(place, "config", "check");
  assert.match(check.stdout, told);
  assert.match(check.stdout, /WORKFLOW\.md:4:\d+: warning: .*\n {4}next: symphony models/);
  assert.match((await symphony(place, "serve", "--dry-run")).stderr, told);
  await using server = await Served.start(place);
  await warned(server, told);
  const set = (path: string, value: string) =>
    symphony(place, "config", "overlay", "set", path, value);
  await toldAtOnce("a warning of the chosen model", async () => {
    const quiet = await set("agent.model", "local");
    assert.match(quiet.stderr, /^agent\.model is local now; [^\n]+\n$/);
    const { code, stderr } = await set("agent.model", "loacl");
    assert.equal(code, 0, stderr);
    return /warning: agent\.model: "loacl" is not among .*; did you mean local\?/.test(stderr);
  });
  const put = async (overlay: object) => {
    const answer = await fetch(`${server.url}/api/v1/config/overlay`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(overlay),
    });
    return decodeURIComponent(answer.headers.get("x-symphony-warnings") ?? "");
  };
  await toldAtOnce("a warning in the header of the reply", async () => {
    await put({ agent: { model: "local" } });
    const header = await put({ agent: { by_label: { hard: { model: "gpt-5,5" } } } });
    return /agent\.by_label\.hard\.model: .*gpt-5,5.* did you mean gpt-5\.5\?/.test(header);
  });
});
