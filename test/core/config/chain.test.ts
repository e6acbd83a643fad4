import assert from "node:assert/strict";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadSettings, readChain } from "../../../src/core/config/chain.ts";
import { type ConfigChange, openConfig } from "../../../src/core/config/service.ts";
import { fileChecks } from "../../../src/core/file-checks.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

type Files = Readonly<Record<string, string>>;

async function written(dir: string, files: Files): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await writeFile(join(dir, name), text);
  }
}

/** A repository with these files, and a home elsewhere. */
async function project(t: TestContext, files: Files) {
  const dir = temporaryDir(t);
  const home = temporaryDir(t);
  await mkdir(join(dir, ".git"));
  await written(dir, files);
  return { dir, home, at: (name: string) => join(dir, name) };
}

const checks = fileChecks({
  env: { PATH: process.env["PATH"] },
  lookup: () => undefined,
  redactor: { add() {} },
  checkTracker: async () => {},
});

async function opened(t: TestContext, files: Files, name = "team/WORKFLOW.md") {
  const { dir, home, at } = await project(t, files);
  const clock = new FakeClock();
  const options = { sections, workflowPath: at(name), env: {}, flags: {}, clock, home, checks };
  const open = async () => {
    const service = await openConfig(options);
    t.after(() => service.close());
    return service;
  };
  return { dir, home, at, clock, open };
}

async function refused(opening: Promise<unknown>): Promise<SymphonyError> {
  const error = await opening.then(
    () => null,
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof SymphonyError, `${error}`);
  return error;
}

const base = `---
tracker:
  kind: local
  required_labels: [agent, ready]
agent: { max_turns: 3, max_retries: 1 }
prompts: { Review: review.md }
---
From the base
`;

test("a file lies over the one that it is based on: maps merge, lists replace, the nearer prompt is used", async (t) => {
  const { open, at } = await opened(t, {
    "WORKFLOW.md": base,
    "review.md": "\n  Review {{ issue.title }}\n",
    "team/WORKFLOW.md": `---
base_config: ../WORKFLOW.md
tracker: { required_labels: [team] }
agent: { max_turns: 9, max_retries: null }
prompts: { rework: rework.md }
---
`,
    "team/rework.md": "Rework",
  });
  const { config, promptTemplate, prompts, written, origins } = (await open()).current;
  assert.deepEqual(config.tracker.requiredLabels, ["team"]);
  assert.deepEqual([config.agent.maxTurns, config.agent.maxRetries], [9, null]);
  assert.equal(promptTemplate, "From the base");
  assert.deepEqual(
    [...prompts].map(([state, { text, at: place }]) => [state, text, place.line, place.column]),
    [
      ["rework", "Rework", 1, 1],
      ["review", "Review {{ issue.title }}", 2, 3],
    ],
  );
  assert.deepEqual(config.promptStates, ["rework", "review"]);
  assert.deepEqual(Reflect.get(written, "prompts"), {
    rework: at("team/rework.md"),
    review: at("review.md"),
  });
  assert.deepEqual([Reflect.get(written, "base_config")], [at("WORKFLOW.md")]);
  assert.deepEqual([origins["base_config"], origins["prompts.review"]], ["workflow", "workflow"]);
});

test("of two files with a prompt for one state, the nearer one's is used", async (t) => {
  const { open, at } = await opened(t, {
    "WORKFLOW.md": base,
    "review.md": "Review from the base",
    "team/WORKFLOW.md": "---\nbase_config: ../WORKFLOW.md\nprompts: { review: own.md }\n---\n",
    "team/own.md": "Review from the team",
  });
  const { prompts, written } = (await open()).current;
  assert.deepEqual(
    [...prompts].map(([state, { text }]) => [state, text]),
    [["review", "Review from the team"]],
  );
  assert.deepEqual(Reflect.get(written, "prompts"), { review: at("team/own.md") });
});

test("the older form of a key in the nearer file lies over the newer form in its base", async (t) => {
  const linear = (provider: string) => `---\ntracker: { kind: linear, ${provider} }\n---\nP`;
  const { open } = await opened(t, {
    "WORKFLOW.md": linear("provider: { project_slug: base, assignee: me }"),
    "team/WORKFLOW.md": `---\nbase_config: ../WORKFLOW.md\ntracker: { project_slug: own }\n---\n`,
  });
  const { provider } = (await open()).current.config.tracker;
  assert.deepEqual(provider, { project_slug: "own", assignee: "me" });
});

test("YAML merge keys and aliases work, and a fault in a merged map is found", async (t) => {
  const text = (turns: string) => `---
x-defaults: &agent
  max_turns: ${turns}
  max_retries: 2
tracker: { kind: local }
agent:
  <<: *agent
  max_retries: 4
---
P`;
  const one = await opened(t, { "team/WORKFLOW.md": text("7") });
  const service = await one.open();
  const { agent } = service.current.config;
  assert.deepEqual([agent.maxTurns, agent.maxRetries, service.warnings], [7, 4, []]);
  const bad = await opened(t, { "team/WORKFLOW.md": text("many") });
  const error = await refused(bad.open());
  assert.match(error.message, /agent\.max_turns must be a whole number.* \(line 3, column 14\)/);
});

test("a base is read from the file's tree or the home, through at most five files, and never in a circle", async (t) => {
  const named = (path: string) => `---\nbase_config: ${path}\n---\n`;
  const chain = (length: number) =>
    Object.fromEntries(
      Array.from({ length }, (_, n) => [`team/${n}.md`, named(`${n + 1}.md`)] as const),
    );
  const { at, home, dir } = await project(t, {
    "team/WORKFLOW.md": named("../WORKFLOW.md"),
    "WORKFLOW.md": named("team/WORKFLOW.md"),
    "team/self.md": named("./self.md"),
    "team/none.md": named("nowhere.md"),
    "team/list.md": "---\nbase_config: [a]\n---\n",
    "team/passwd.md": named("/etc/passwd"),
    "team/link.md": named("link/passwd"),
    "team/home.md": named("~/symphony.md"),
    "team/folder.md": named(".."),
    ...chain(6),
    "team/6.md": "---\ntracker: { kind: local }\n---\n",
  });
  await symlink("/etc", join(dir, "team/link"));
  await writeFile(join(home, "symphony.md"), "---\nagent: { max_turns: 2 }\n---\nHome");
  const read = async (name: string) => {
    const path = at(`team/${name}.md`);
    return readChain(await readFile(path), { path, home });
  };
  const problem = async (name: string) => {
    const { problems } = await read(name);
    assert.equal(problems.length, 1, name);
    const [one] = problems;
    return `${one?.place?.file.slice(dir.length)} ${one?.place?.line}:${one?.place?.column} ${one?.message}`;
  };
  assert.match(await problem("WORKFLOW"), /^\/WORKFLOW\.md 2:14 team\/WORKFLOW\.md leads back to /);
  assert.match(await problem("self"), /leads back to/);
  assert.match(await problem("none"), /^\/team\/none\.md 2:14 nowhere\.md: there is no file /);
  assert.match(await problem("list"), /2:14 must be the path of another workflow file/);
  assert.match(await problem("passwd"), /must be inside .* or the home directory/);
  assert.match(await problem("link"), /is \/etc\/passwd, and must be inside/);
  assert.match(await problem("0"), /^\/team\/5\.md 2:14 goes more than 5 files deep$/);
  assert.deepEqual((await read("1")).problems, []);
  assert.equal((await read("home")).prompt.text, "Home");
  assert.match(await problem("folder"), /must be inside/);
  await assert.rejects(loadSettings(at("team/none.md"), home), { code: "invalid_config" });
});

test("the faults of all files and prompts are told at once, with file, line and column", async (t) => {
  const { open, at } = await opened(t, {
    "WORKFLOW.md": "---\ntracker: { kind: local }\nagent:\n  max_turns: none\n---\nBase {{ nope }}",
    "team/WORKFLOW.md": `---
base_config: ../WORKFLOW.md
polling: { interval_ms: -1 }
prompts:
  Review: review.md
  Merging: none.md
  Rework: /etc/hostname
  Blank: blank.md
delivery:
  title_template: "{{ work.sumary }}"
  commit_template: |
    One
    {{ issue.nope }}
---
`,
    "team/review.md": "Review\n{% if issue.titel %}",
    "team/blank.md": " \n",
  });
  const { code, message, details } = await refused(open());
  assert.equal(code, "invalid_config");
  for (const expected of [
    `(${at("WORKFLOW.md")} line 4, column 14)`,
    `(${at("WORKFLOW.md")} line 6, column 9)`,
    "(line 3, column 25)",
    `(${at("team/review.md")} line 2, column 1)`,
    "prompts.Merging none.md: there is no file",
    "(line 6, column 12)",
    "prompts.Rework /etc/hostname is /etc/hostname, and must be inside",
    "prompts.Blank blank.md is empty (line 8, column 10)",
    "delivery.title_template: undefined variable: work.sumary; did you mean work.summary? (line 10, column 23)",
    "delivery.commit_template: undefined variable: issue.nope",
    "(line 13, column 8)",
  ]) {
    assert.ok(message.includes(expected), `${expected}\n${message.replaceAll("; ", "\n")}`);
  }
  const problems = details["problems"];
  assert.ok(Array.isArray(problems));
  const inReview = problems.find(({ path }) => path === "prompts.review");
  assert.deepEqual([inReview.file, inReview.line, inReview.column], [at("team/review.md"), 2, 1]);
});

test("S7: an edit of any file of the chain is followed; a bad one keeps the last good pair", async (t) => {
  const setup = await opened(t, {
    "WORKFLOW.md": base,
    "review.md": "Review",
    "team/WORKFLOW.md": "---\nbase_config: ../WORKFLOW.md\n---\n",
  });
  const { clock, dir } = setup;
  const service = await setup.open();
  const next = async (): Promise<ConfigChange> => {
    const { promise, resolve } = Promise.withResolvers<ConfigChange>();
    const stop = service.watch(resolve);
    clock.advance(1_000);
    const change = await promise;
    stop();
    await service.reload();
    return change;
  };
  await written(dir, { "review.md": "Review {{ issue.titel }}" });
  const rejected = await next();
  assert.equal(rejected.type, "rejected");
  assert.equal(service.problem?.code, "template_render_error");
  assert.match(service.problem?.message ?? "", /review\.md line 1, column 11\)/);
  assert.equal(service.current.prompts.get("review")?.text, "Review");
  await written(dir, { "review.md": "Review {{ issue.title }}" });
  assert.deepEqual(await next(), { type: "changed", keys: ["prompts.review"], warnings: [] });
  assert.equal(service.problem, null);
  await written(dir, { "WORKFLOW.md": base.replace("max_turns: 3", "max_turns: 4") });
  assert.deepEqual(await next(), { type: "changed", keys: ["agent.max_turns"], warnings: [] });
  await written(dir, { "WORKFLOW.md": `${base}{% if %}` });
  assert.equal((await next()).type, "rejected");
  assert.equal(service.current.promptTemplate, "From the base");
  await written(dir, { "WORKFLOW.md": `${base}More` });
  assert.deepEqual(await next(), {
    type: "changed",
    keys: ["agent.max_turns", "prompt"],
    warnings: [],
  });
});
