import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { createGithubTracker } from "../../src/core/tracker/github/tracker.ts";
import { trackerContract } from "../core/tracker/contract.ts";
import { githubBench } from "../support/fakes/schema-github.ts";
import { config } from "../support/makers/issue.ts";

interface Wish {
  /** Whose credential; `app`: the app's. */
  readonly as?: string;
  readonly provider?: Readonly<Record<string, unknown>>;
  readonly github?: Readonly<Record<string, unknown>>;
}

/** The project "Roadmap" of `acme` with the seeded issues 1 and 2. */
async function board(
  t: TestContext,
  { as = "symphony-bot", provider, github: options }: Wish = {},
) {
  const bench = await githubBench(options);
  t.after(() => bench[Symbol.asyncDispose]());
  const { github } = bench;
  const { tokens, app } = github.describe();
  const isApp = as === "app";
  const secret = isApp ? readFileSync(app.private_key, "utf8") : (tokens[as] ?? as);
  const tracker = createGithubTracker({
    config: config({
      tracker: {
        ...{ kind: "github", activeStates: ["Todo", "In Progress"] },
        terminalStates: ["Done", "Closed", "Not planned", "Duplicate"],
        provider: {
          ...{ base_url: github.api, repositories: ["acme/app"], project: "acme/1" },
          ...(isApp && { app: { id: app.id, private_key: "$GITHUB_TOKEN" } }),
          ...provider,
        },
      },
    }).tracker,
    lookup: (name) => (name === "GITHUB_TOKEN" ? secret : undefined),
    clock: systemClock,
    writeGapMs: 0,
  });
  t.after(() => tracker.close());
  const act = (order: Readonly<Record<string, unknown>>) => github.act(order);
  const graphql = (query: string, variables: Readonly<Record<string, unknown>> = {}) =>
    act({ as: "ada", graphql: query, variables });
  const add = async (fields: Readonly<Record<string, unknown>>) => {
    const made = await act({ do: "issue", project: 1, status: "Todo", ...fields });
    return { id: `724000001#${made.number}`, number: Number(made.number) };
  };
  return { github, tracker, act, graphql, add };
}

for (const as of ["symphony-bot", "app"]) {
  trackerContract(
    { kind: "github", active: "Todo", done: "Done", unknownId: "724000001#9999" },
    async (t) => {
      const { github, tracker, act, add } = await board(t, { as });
      await tracker.fetchIssuesByStates(["Todo"]);
      return {
        ...{ tracker, driven: (work) => work, requests: () => github.requests.length },
        async add({ title, labels = [] }) {
          for (const name of labels) {
            const label = { rest: "POST /repos/acme/app/labels", body: { name, color: "ededed" } };
            await act({ ...label, as: "ada" }).catch(() => {});
          }
          return (await add({ title, labels })).id;
        },
        fail(how) {
          const match = { api: "graphql" };
          if (how === "server") github.faults.add({ kind: "status", status: 500, times: 3, match });
          else if (how === "limit") github.faults.add({ kind: "secondary", match });
          else github.faults.add({ kind: "malformed_json", match });
        },
      };
    },
  );
}

const states = (issues: readonly { readonly identifier: string; readonly state: string }[]) =>
  Object.fromEntries(issues.map(({ identifier, state }) => [identifier, state]));

test("a poll of a board is one page of GraphQL for 100 items, and sees a move that does not change the issue", async (t) => {
  const { github, tracker, act, add } = await board(t, { github: { issues: 120 } });
  const first = await tracker.fetchIssuesByStates(["Todo", "In Progress"]);
  const { number, id } = await add({ title: "Moved" });
  await tracker.fetchIssuesByStates(["Todo", "In Progress"]);
  const before = github.requests.length;
  const list = await tracker.fetchIssuesByStates(["Todo", "In Progress"]);
  const sent = github.requests.slice(before);
  assert.deepEqual(
    sent.map(({ path, status }) => `${path.split("?")[0]} ${status}`),
    ["/graphql 200", "/graphql 200", "/repos/acme/app/issues 304"],
  );
  assert.equal(list.length, first.length + 1);
  assert.equal(await tracker.fetchIssuesByStates(["Todo", "In Progress"]), list);
  await act({ do: "status", issue: number, status: "In Progress" });
  const working = await tracker.fetchIssuesByStates(["In Progress"]);
  const moved = working.find((one) => one.id === id);
  assert.ok(moved);
  assert.equal(moved.updatedAt, list.find((one) => one.id === id)?.updatedAt);
  // Two points of 5,000 for an hour: a poll every 3 s uses half of them.
  const pace = tracker.pollPace?.(100);
  assert.match(pace?.reason ?? "", /a poll costs \d+ points, \d+ of 5000 are left$/);
  assert.match(tracker.quota?.() ?? "", /^\d+ of 5000 requests, \d+ of 5000 points$/);
});

test("drafts, pull requests, closed issues, other repositories and issues that may not be seen start nothing", async (t) => {
  const { github, tracker, act, graphql, add } = await board(t);
  const { number } = await add({ title: "Closed by a person" });
  await act({ do: "close", as: "ada", issue: number, reason: "not_planned" });
  await act({ do: "status", issue: number, status: "Todo" });
  for (const repo of ["acme/docs", "acme/secret"]) {
    await act({ do: "issue", as: "ada", repo, title: "Elsewhere", project: 1, status: "Todo" });
  }
  await act({ do: "issue", title: "On no board" });
  const [project] = github.world.projects;
  const draft = `mutation($id: ID!) { addProjectV2DraftIssue(input: {projectId: $id, title: "An idea"}) { projectItem { id } } }`;
  await graphql(draft, { id: project?.node_id });
  const files = { "a.txt": "one\n" };
  await act({ do: "push", as: "symphony-bot", branch: "work", files });
  const body = { title: "A change", head: "work", base: "main" };
  const pull = await act({ rest: "POST /repos/acme/app/pulls", as: "symphony-bot", body });
  const put = `mutation($id: ID!, $pull: ID!) { addProjectV2ItemById(input: {projectId: $id, contentId: $pull}) { item { id } } }`;
  const { errors } = await graphql(put, {
    id: project?.node_id,
    pull: pull.body?.node_id ?? pull.data?.node_id,
  });
  assert.equal(errors, undefined);
  const before = await tracker.fetchIssuesByStates(["Todo", "In Progress", "Done", "No Status"]);
  assert.deepEqual(Object.keys(states(before)).sort(), ["app-1", "app-2"]);
  assert.equal(project?.items.length, 7);
  assert.equal(
    tracker.leftOut?.(),
    "1 draft, 1 pull request, 1 item that the token may not see, 1 issue of another repository",
  );
  const ended = await tracker.fetchIssuesByStates(["Not planned"]);
  assert.deepEqual(states(ended), { [`app-${number}`]: "Not planned" });
});

test("without repositories every repository of the project counts, a new one from its first issue on", async (t) => {
  const { tracker, act } = await board(t, { provider: { repositories: undefined } });
  const todo = async () => Object.keys(states(await tracker.fetchIssuesByStates(["Todo"]))).sort();
  assert.deepEqual(await todo(), ["app-1"]);
  for (const repo of ["acme/docs", "acme/secret"]) {
    await act({ do: "issue", as: "ada", repo, title: "Elsewhere", project: 1, status: "Todo" });
  }
  const [docs = "", ...own] = (await todo()).toReversed();
  assert.match(docs, /^docs-\d+$/);
  assert.deepEqual(own, ["app-1"]);
  assert.equal(tracker.leftOut?.(), "1 item that the token may not see");
  const found = await tracker.find?.(docs);
  assert.ok(found);
  await tracker.workflow.move(found.issue, "In Progress");
  const [moved] = await tracker.fetchIssuesByIds([found.issue.id]);
  assert.deepEqual([moved?.state, moved?.team?.name], ["In Progress", "acme/docs"]);
  const create = tracker.editor?.create({ title: "Which repository?" });
  await assert.rejects(create ?? Promise.resolve(), /issues of acme\/app, acme\/docs, and none/);
});

test("an item that is archived, deleted or never was says so, and comes back", async (t) => {
  const { github, tracker, act, graphql, add } = await board(t);
  const { id, number } = await add({ title: "Here" });
  const item = () => github.world.projects[0]?.items.at(-1);
  const read = async () => (await tracker.fetchIssuesByIds([id])).map(({ state }) => state);
  assert.deepEqual(await read(), ["Todo"]);
  const project = github.world.projects[0]?.node_id;
  const on = { project, item: item()?.node_id };
  const order = (name: string) =>
    `mutation($project: ID!, $item: ID!) { ${name}(input: {projectId: $project, itemId: $item}) { clientMutationId } }`;
  await graphql(order("archiveProjectV2Item"), on);
  assert.deepEqual([await read(), tracker.whyGone?.(id)], [[], "archived in the project Roadmap"]);
  assert.ok(!Object.hasOwn(states(await tracker.fetchIssuesByStates(["Todo"])), `app-${number}`));
  await graphql(order("unarchiveProjectV2Item"), on);
  assert.deepEqual(await read(), ["Todo"]);
  assert.equal(tracker.whyGone?.(id), null);
  await graphql(order("deleteProjectV2Item"), on);
  assert.deepEqual([await read(), tracker.whyGone?.(id)], [[], "not in the project Roadmap"]);
  const found = await tracker.find?.(`app-${number}`);
  assert.deepEqual(found?.scope[1], {
    ...{ gate: "project", pass: false, detail: "not in the project Roadmap" },
    opens: "add it to the project Roadmap",
  });
  // A move by a person puts it back.
  if (found) await tracker.workflow.move(found.issue, "in progress");
  assert.deepEqual(await read(), ["In Progress"]);
  await act({ do: "status", issue: number, status: "Done" });
  assert.deepEqual(await read(), ["Done"]);
});

test("a project and an option that are renamed: the project stays, the names are compared anew", async (t) => {
  const { github, tracker } = await board(t);
  const names = async () => (await tracker.scopeNames?.({ labels: false }))?.teams.get(null);
  assert.deepEqual(await names(), [
    "Todo",
    "In Progress",
    "Done",
    "Closed",
    "Not planned",
    "Duplicate",
  ]);
  const [project] = github.world.projects;
  const status = project?.fields.find(({ name }) => name === "Status");
  assert.ok(project && status?.options?.[1]);
  project.title = "Plan";
  status.options[1].name = "Doing";
  const [issue] = await tracker.fetchIssuesByStates(["Todo"]);
  assert.ok(issue);
  assert.ok((await names())?.includes("Doing"));
  await assert.rejects(tracker.workflow.move(issue, "In Progress"), {
    code: "transition_not_allowed",
    message: /it can to Todo, Doing, Done/,
  });
  await tracker.workflow.move(issue, "doing");
  assert.deepEqual(states(await tracker.fetchIssuesByIds([issue.id])), {
    [issue.identifier]: "Doing",
  });
  status.name = "Stage";
  await assert.rejects(tracker.fetchIssuesByStates(["Todo"]), {
    code: "invalid_tracker_config",
    message:
      "tracker.provider.status_field: the project acme/1 has no field Status with options; it has Stage",
  });
});

test("a new issue is put on the board with its status, and its priority and estimate are the fields of the project", async (t) => {
  const { github, tracker, graphql, act } = await board(t);
  const project = github.world.projects[0]?.node_id;
  const make = `mutation($id: ID!) {
    a: createProjectV2Field(input: {projectId: $id, name: "Priority", dataType: SINGLE_SELECT,
      singleSelectOptions: [{name: "P0", color: RED, description: ""}, {name: "P2", color: GRAY, description: ""}]}) { clientMutationId }
    b: createProjectV2Field(input: {projectId: $id, name: "Estimate", dataType: NUMBER}) { projectV2Field { ... on ProjectV2Field { id } } }
  }`;
  const { b } = (await graphql(make, { id: project })).data;
  const made = await tracker.editor?.create({ title: "New", priority: 3 });
  assert.deepEqual([made?.state, made?.priority, made?.labels], ["Todo", 3, []]);
  const item = github.world.projects[0]?.items.at(-1)?.node_id;
  const estimate = `mutation($p: ID!, $i: ID!, $f: ID!) { updateProjectV2ItemFieldValue(input: {projectId: $p, itemId: $i, fieldId: $f, value: {number: 5}}) { clientMutationId } }`;
  await graphql(estimate, { p: project, i: item, f: b.projectV2Field.id });
  assert.ok(made);
  const edited = await tracker.editor?.edit(made, { priority: 1 });
  assert.deepEqual([edited?.priority, edited?.nativeRef?.["estimate"]], [1, 5]);
  await assert.rejects(tracker.editor?.edit(made, { priority: 2 }) ?? assert.fail(), {
    message: "the project has no option for priority 2",
  });
  // The labels count where the field says nothing.
  await act({
    rest: "POST /repos/acme/app/labels",
    as: "ada",
    body: { name: "p1", color: "ededed" },
  });
  const labelled = await tracker.editor?.create({ title: "By label", labels: ["p1"] });
  assert.equal(labelled?.priority, 2);
});

test("a move is written once: not again when it is there, nor when its answer was lost", async (t) => {
  const { github, tracker, add } = await board(t);
  const { id } = await add({ title: "Once" });
  const [issue] = await tracker.fetchIssuesByIds([id]);
  assert.ok(issue);
  const writes = () => github.totals.byOperation["graphql updateProjectV2ItemFieldValue"] ?? 0;
  github.faults.add({ kind: "lost", match: { rootField: "updateProjectV2ItemFieldValue" } });
  await assert.rejects(tracker.workflow.move(issue, "In Progress"), { code: "tracker_request" });
  await tracker.workflow.move(issue, "In Progress");
  await tracker.workflow.move(issue, "In Progress");
  assert.deepEqual(states(await tracker.fetchIssuesByIds([id])), {
    [issue.identifier]: "In Progress",
  });
  assert.equal(writes(), 1, JSON.stringify(github.totals.byOperation));
});

test("a token without the scope for projects names the scope, in reads and in writes", async (t) => {
  const plain = await board(t);
  const token = async (scopes: string[]) =>
    (await plain.act({ do: "token", as: "symphony-bot", scopes })).token;
  const failing = async (scopes: string[]) => {
    const secret = await token(scopes);
    const tracker = createGithubTracker({
      config: config({
        tracker: {
          ...{ kind: "github", activeStates: ["Todo"], terminalStates: ["Done"] },
          provider: { base_url: plain.github.api, repositories: ["acme/app"], project: "acme/1" },
        },
      }).tracker,
      lookup: () => secret,
      clock: systemClock,
      writeGapMs: 0,
    });
    t.after(() => tracker.close());
    return tracker;
  };
  const refused = {
    code: "tracker_status",
    message:
      /^tracker\.provider\.project: GitHub: Your token has not been granted.*'(read:)?project'/,
    hint: /gh auth refresh --scopes project/,
  };
  const none = await failing(["repo"]);
  await assert.rejects(none.fetchIssuesByStates(["Todo"]), refused);
  const reader = await failing(["repo", "read:project"]);
  const [issue] = await reader.fetchIssuesByStates(["Todo"]);
  assert.ok(issue);
  await assert.rejects(reader.workflow.move(issue, "In Progress"), refused);
  const { tracker } = await board(t, { provider: { project: "acme/99" } });
  await assert.rejects(tracker.fetchIssuesByStates(["Todo"]), {
    code: "tracker_status",
    message: /^tracker\.provider\.project: GitHub: Could not resolve to a ProjectV2/,
  });
});
