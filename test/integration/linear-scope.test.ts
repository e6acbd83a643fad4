// The scope of Linear and the lookup of single issues, against Linear's own schema: rows S1, S2, S3 and S11 of the cases of the scheduler.

import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { equipment } from "../support/fakes/equipment.ts";
import { linearTracker } from "../support/fakes/linear-tracker.ts";
import { apiKey, ask } from "../support/fakes/schema-linear.ts";

interface Row {
  readonly id: string;
  readonly identifier: string;
  readonly state: { readonly name: string };
  readonly team: { readonly key: string };
  readonly project: { readonly slugId: string } | null;
  readonly assignee: { readonly email: string } | null;
  readonly delegate: { readonly id: string } | null;
  readonly labels: { readonly nodes: readonly { readonly name: string }[] };
}

interface Server {
  readonly url: string;
  readonly requests: { readonly operationName: string; readonly complexity: number }[];
  clearLog(): void;
  close(): Promise<void>;
}

let start: (options: Readonly<Record<string, unknown>>) => Promise<Server>;
before(async () => {
  const server = await import(pathToFileURL(join(equipment("fake-linear"), "server.mjs")).href);
  start = server.startFakeLinear;
});

const states = "Triage,Backlog,Todo,In Progress,In Review,Done,Canceled,Duplicate".split(",");

async function world() {
  const server = await start({ issues: 60, teams: 2, port: 0, epoch: "2026-11-01T00:00:00.000Z" });
  const rows = async () => {
    const { issues } = await ask<{ issues: { nodes: Row[] } }>(
      server.url,
      `query { issues(first: 100) { nodes { id identifier state { name } team { key }
        project { slugId } assignee { email } delegate { id } labels(first: 20) { nodes { name } } } } }`,
    );
    return issues.nodes;
  };
  const tracker = (provider: Readonly<Record<string, unknown>>) =>
    linearTracker(
      { url: server.url, project: "", apiKey },
      { provider: { project_slug: undefined, ...provider } },
    ).tracker;
  const update = (id: string, input: object) =>
    ask(
      server.url,
      "mutation($id: String!, $input: IssueUpdateInput!) { issueUpdate(id: $id, input: $input) { success } }",
      { id, input },
    );
  return { server, rows, tracker, update, [Symbol.asyncDispose]: () => server.close() };
}

type World = Awaited<ReturnType<typeof world>>;

const sorted = (rows: readonly { readonly identifier: string }[]) =>
  rows.map(({ identifier }) => identifier).sort();

/** The listed issues are those that the filter of this test finds among all; more than none, fewer than all. */
async function lists(
  it: World,
  provider: Readonly<Record<string, unknown>>,
  fits: (row: Row) => boolean,
) {
  const all = await it.rows();
  const wanted = all.filter(fits);
  assert.ok(wanted.length > 0 && wanted.length < all.length, JSON.stringify(provider));
  it.server.clearLog();
  const found = await it.tracker(provider).fetchIssuesByStates(states);
  assert.deepEqual(sorted(found), sorted(wanted), JSON.stringify(provider));
  const pages = it.server.requests.filter(
    ({ operationName }) => operationName === "SymphonyCandidates",
  );
  assert.equal(pages.length, Math.ceil(wanted.length / 50), "one request a page");
  assert.ok(it.server.requests.every(({ complexity }) => complexity < 10_000));
}

test("every setting of the scope is valid in Linear's schema and lists what it says", async () => {
  await using it = await world();
  const all = await it.rows();
  const slugs = [...new Set(all.flatMap(({ project }) => project?.slugId ?? []))];
  const [first = "", second = ""] = slugs;
  const hasAgent = ({ labels }: Row) => labels.nodes.some(({ name }) => name === "agent");
  await lists(it, { team: "eng" }, ({ team }) => team.key === "ENG");
  await lists(it, { project_slug: first }, ({ project }) => project?.slugId === first);
  await lists(it, { projects: [first, second] }, ({ project }) => project !== null);
  await lists(
    it,
    { team: "OPS", projects: [first] },
    ({ team, project }) => team.key === "OPS" && project?.slugId === first,
  );
  await lists(it, { filter: { labels: { name: { eq: "agent" } } } }, hasAgent);
  await lists(
    it,
    { team: "ENG", filter: { labels: { name: { eq: "agent" } } } },
    (row) => row.team.key === "ENG" && hasAgent(row),
  );
  const { users } = await ask<{
    users: { nodes: { id: string; displayName: string; app: boolean }[] };
  }>(it.server.url, "query { users(first: 20) { nodes { id displayName app } } }");
  const agent = users.nodes.find(({ app }) => app);
  const [some] = all;
  assert.ok(agent && some);
  await it.update(some.id, { delegateId: agent.id });
  for (const delegate of [agent.displayName, agent.id]) {
    await lists(it, { delegate }, (row) => row.delegate?.id === agent.id);
  }
  const filter = { labels: { nam: { eq: "agent" } } };
  await assert.rejects(it.tracker({ team: "ENG", filter }).fetchIssuesByStates(states), {
    code: "invalid_tracker_config",
    message: /^tracker\.provider\.filter is refused: .*"nam" is not defined/,
  });
  await assert.rejects(
    it.tracker({ view: "x" }).fetchIssuesByStates(states),
    /not modelled|no custom view/,
  );
});

test("an assignee by email or name routes as by id", async () => {
  await using it = await world();
  const { users } = await ask<{
    users: { nodes: { id: string; email: string; displayName: string }[] };
  }>(it.server.url, "query { users(first: 20) { nodes { id email displayName } } }");
  const all = await it.rows();
  const user = users.nodes.find(({ email }) =>
    all.some(({ assignee }) => assignee?.email === email),
  );
  assert.ok(user);
  const mine = async (assignee: string) => {
    const issues = await it.tracker({ team: "ENG", assignee }).fetchIssuesByStates(states);
    return sorted(issues.filter(({ withheld }) => withheld === null));
  };
  const byId = await mine(user.id);
  assert.ok(byId.length > 0);
  assert.deepEqual(await mine(user.email.toUpperCase()), byId);
  assert.deepEqual(await mine(user.displayName), byId);
});

test("S3: an issue in another team, project or state, or archived, is found in one request, with what it misses", async () => {
  await using it = await world();
  const all = await it.rows();
  const inside = all.find(({ team, project }) => team.key === "ENG" && project !== null);
  const slug = inside?.project?.slugId;
  assert.ok(inside && slug);
  const filter = { number: { gt: 0 } };
  const tracker = it.tracker({ team: "ENG", project_slug: slug, filter });
  const shut = async (identifier: string) => {
    const found = await tracker.find?.(identifier);
    assert.ok(found, identifier);
    return found.scope.filter(({ pass }) => !pass).map(({ gate }) => gate);
  };
  assert.deepEqual(await shut(inside.identifier), []);
  it.server.clearLog();
  for (const row of all.slice(0, 20)) {
    const gates: string[] = [
      ...(row.team.key === "ENG" ? [] : ["team"]),
      ...(row.project?.slugId === slug ? [] : ["project"]),
    ];
    assert.deepEqual(await shut(row.identifier.toLowerCase()), gates, row.identifier);
  }
  assert.equal(it.server.requests.length, 20);
  await ask(it.server.url, "mutation($id: String!) { issueArchive(id: $id) { success } }", {
    id: inside.id,
  });
  assert.deepEqual(await shut(inside.identifier), ["not_archived"]);
  assert.deepEqual(await tracker.fetchIssuesByIds([inside.id]), []);
  assert.equal(tracker.whyGone?.(inside.id), "archived");
  assert.equal(await tracker.find?.("ENG-99999"), null);
});

test("S11: a read by id says that an issue was moved to another project", async () => {
  await using it = await world();
  const all = await it.rows();
  const inside = all.find(({ project }) => project !== null);
  assert.ok(inside?.project);
  const tracker = it.tracker({ project_slug: inside.project.slugId });
  const [issue] = await tracker.fetchIssuesByIds([inside.id]);
  assert.equal(issue?.identifier, inside.identifier);
  const { projects } = await ask<{
    projects: { nodes: { id: string; slugId: string; name: string }[] };
  }>(it.server.url, "query { projects(first: 10) { nodes { id slugId name } } }");
  const other = projects.nodes.find(({ slugId }) => slugId !== inside.project?.slugId);
  assert.ok(other);
  await it.update(inside.id, { projectId: other.id });
  assert.deepEqual(await tracker.fetchIssuesByIds([inside.id]), []);
  assert.equal(tracker.whyGone?.(inside.id), `moved to the project ${other.name}`);
});

test("S2: the states and labels of the scope are read in requests that Linear's schema has", async () => {
  await using it = await world();
  const all = await it.rows();
  const [row] = all.filter(({ labels }) => labels.nodes.length > 0);
  assert.ok(row);
  const tracker = it.tracker({ team: row.team.key });
  const names = await tracker.scopeNames?.({ labels: true });
  assert.ok(names?.teams.get(row.team.key)?.includes(row.state.name));
  const used = all
    .filter(({ team }) => team.key === row.team.key)
    .flatMap(({ labels }) => labels.nodes.map(({ name }) => name));
  const missing = used.filter((name) => names?.labels?.includes(name) !== true);
  assert.deepEqual(missing, [], "every label of an issue of the team is known");
  it.server.clearLog();
  assert.equal((await tracker.scopeNames?.({ labels: false }))?.labels, null);
  assert.deepEqual(
    it.server.requests.map(({ operationName }) => operationName),
    [],
    "what is known is not asked for again",
  );
});
