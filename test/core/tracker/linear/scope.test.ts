// The settings of the scope, and what is said of issues outside of it: rows S3 and S11 of the cases of the scheduler.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SymphonyError } from "../../../../src/core/model/errors.ts";
import { type FakeLinear, startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";

const other = "b00000000001";
const third = "c00000000002";
const key = (name: string) => (name === "LINEAR_API_KEY" ? "lin_api_fake" : undefined);

async function world(provider: Readonly<Record<string, unknown>>) {
  const fake = await startFakeLinear({
    issues: [
      { identifier: "ENG-1", labels: ["agent"], assigneeId: "user-ada" },
      { identifier: "ENG-2", state: "Backlog", delegateId: "user-me" },
      { identifier: "ENG-3", project: other, labels: ["agent"] },
      { identifier: "OPS-4", project: third, assigneeId: "user-grace" },
      { identifier: "OPS-5", archived: true },
      { identifier: "OPS-6", project: "" },
    ],
  });
  fake.views.push({
    id: "11111111-1111-4111-8111-111111111111",
    slugId: "0123456789ab",
    name: "Agent work",
    filterData: { labels: { name: { eq: "agent" } } },
  });
  const scope = { project_slug: undefined, ...provider };
  return { fake, ...linearTracker(fake, { provider: scope, lookup: key }) };
}

const states = ["Todo", "Backlog"];

async function listed(provider: Readonly<Record<string, unknown>>): Promise<string[]> {
  const { fake, tracker } = await world(provider);
  await using _ = fake;
  const issues = await tracker.fetchIssuesByStates(states);
  const lists = fake.requests.filter(({ operation }) => operation === "SymphonyCandidates");
  assert.equal(lists.length, 1, "a poll of one page is one request");
  return issues.map(({ identifier }) => identifier).sort();
}

const scopes: readonly (readonly [string, Readonly<Record<string, unknown>>, string])[] = [
  ["a project", { project_slug: "a79254768c8f" }, "ENG-1 ENG-2"],
  ["two projects", { projects: ["a79254768c8f", `other-${other}`] }, "ENG-1 ENG-2 ENG-3"],
  [
    "project_slug and projects",
    { project_slug: "a79254768c8f", projects: [other] },
    "ENG-1 ENG-2 ENG-3",
  ],
  [
    "a pasted address",
    { projects: [`https://linear.app/acme/project/other-${other}/overview`] },
    "ENG-3",
  ],
  ["a team by its key", { team: "ops" }, "OPS-4 OPS-6"],
  ["a team by its name", { team: "Team OPS" }, "OPS-4 OPS-6"],
  ["a team by its address", { team: "https://linear.app/acme/team/OPS/active" }, "OPS-4 OPS-6"],
  ["a team and a project", { team: "ENG", project_slug: other }, "ENG-3"],
  ["a filter", { filter: { labels: { name: { eq: "agent" } } } }, "ENG-1 ENG-3"],
  [
    "a filter and a project",
    { project_slug: other, filter: { labels: { name: { eq: "agent" } } } },
    "ENG-3",
  ],
  ["a view by its id", { view: "11111111-1111-4111-8111-111111111111" }, "ENG-1 ENG-3"],
  [
    "a view by its address",
    { view: "https://linear.app/acme/view/agent-work-0123456789ab" },
    "ENG-1 ENG-3",
  ],
  ["a view by its name", { view: "agent work" }, "ENG-1 ENG-3"],
  ["a delegate", { delegate: "me@acme.test" }, "ENG-2"],
];

for (const [what, provider, found] of scopes) {
  test(`the scope of ${what} lists ${found}`, async () => {
    assert.equal((await listed(provider)).join(" "), found);
  });
}

test("an assignee is a name, an email or an id, and says whom an issue is assigned to instead", async () => {
  for (const assignee of ["ada", "Ada@acme.test", "user-ada"]) {
    const { fake, tracker } = await world({ team: "ENG", assignee });
    await using _ = fake;
    const issues = await tracker.fetchIssuesByStates(["Todo"]);
    assert.deepEqual(
      issues.map(({ identifier, dispatchable, withheld }) => [identifier, dispatchable, withheld]),
      [
        ["ENG-3", false, "assigned to nobody, not to ada (tracker.provider.assignee)"],
        ["ENG-1", true, null],
      ],
    );
  }
});

const unknown: readonly (readonly [Readonly<Record<string, unknown>>, string, RegExp])[] = [
  [{ team: "ABC" }, "team", /no team ABC/],
  [{ projects: ["nope"] }, "projects.0", /no project with the slug nope/],
  [{ view: "nope" }, "view", /no custom view nope/],
  [{ team: "ENG", assignee: "nobody" }, "assignee", /no user nobody/],
  [{ team: "ENG", delegate: "nobody" }, "delegate", /no user nobody/],
];

for (const [provider, setting, message] of unknown) {
  test(`a ${setting} that Linear does not have is refused by its name`, async () => {
    const { fake, tracker } = await world(provider);
    await using _ = fake;
    await assert.rejects(tracker.fetchIssuesByStates(states), (error) => {
      assert.ok(error instanceof SymphonyError);
      assert.equal(error.code, "invalid_tracker_config");
      assert.equal(error.details["path"], `tracker.provider.${setting}`);
      assert.match(error.message, message);
      return true;
    });
  });
}

const shutOf = async (fake: Awaited<ReturnType<typeof world>>, identifier: string) => {
  const found = await fake.tracker.find?.(identifier);
  assert.ok(found, identifier);
  return found.scope.filter(({ pass }) => !pass).map(({ detail, opens }) => [detail, opens]);
};

test("S3: an issue is found by its identifier wherever it is, with the setting that it misses, in one request", async () => {
  const it = await world({
    team: "ENG",
    projects: ["a79254768c8f"],
    delegate: "me",
    view: "agent work",
  });
  await using fake: FakeLinear = it.fake;
  await it.tracker.fetchIssuesByStates(states);
  fake.requests.length = 0;
  assert.deepEqual(await shutOf(it, "eng-3"), [
    [
      `its project is Project ${other}, not Project a79254768c8f (tracker.provider.projects)`,
      "move it to the project Project a79254768c8f",
    ],
    ["it is delegated to nobody, not to ada (tracker.provider.delegate)", "delegate it to ada"],
  ]);
  assert.deepEqual(
    fake.requests.map(({ operation }) => operation),
    ["SymphonyFind"],
  );
  assert.deepEqual(await shutOf(it, "OPS-6"), [
    ["its team is OPS; tracker.provider.team is ENG", "move it to the team ENG"],
    [
      "it is in no project, not Project a79254768c8f (tracker.provider.projects)",
      "move it to the project Project a79254768c8f",
    ],
    ["it is delegated to nobody, not to ada (tracker.provider.delegate)", "delegate it to ada"],
    [
      "it is not in the view Agent work (tracker.provider.view)",
      "a change that brings it into the view Agent work (tracker.provider.view)",
    ],
  ]);
  const [archived] = await shutOf(it, "OPS-5");
  assert.deepEqual(archived, ["it is archived", "restore it in Linear"]);
  assert.equal(await it.tracker.find?.("ENG-99"), null);
  fake.requests.length = 0;
  for (const text of ["favicon.ico", "ENG", "ENG-1 or 1=1", "-5"]) {
    assert.equal(await it.tracker.find?.(text), null);
  }
  assert.equal(fake.requests.length, 0, "what is no identifier costs no request");
});

test("S11: a read by id says why an issue of the scope is no longer in it", async () => {
  const filter = { labels: { name: { eq: "agent" } } };
  const { fake, tracker } = await world({ team: "ENG", project_slug: "a79254768c8f", filter });
  await using _ = fake;
  const [first] = fake.issues;
  assert.ok(first);
  const why = async (change: Partial<typeof first>) => {
    const before = { ...first };
    fake.change("ENG-1", change);
    assert.deepEqual(await tracker.fetchIssuesByIds([first.id]), []);
    const said = tracker.whyGone?.(first.id);
    Object.assign(first, before);
    const [again] = await tracker.fetchIssuesByIds([first.id]);
    assert.equal(again?.identifier, "ENG-1");
    assert.equal(tracker.whyGone?.(first.id), null);
    return said;
  };
  assert.equal(await why({ project: other }), `moved to the project Project ${other}`);
  assert.equal(await why({ project: "" }), "taken out of its project");
  assert.equal(await why({ archived: true }), "archived");
  assert.equal(await why({ labels: [] }), "no longer in tracker.provider.filter");
});

test("agent sessions that could never arrive are warned of: no signing secret, the key of a person; without sessions nothing is asked", async () => {
  const problems = async (provider: Readonly<Record<string, unknown>>) => {
    const { fake, tracker } = await world({ team: "ENG", ...provider });
    await using _ = fake;
    const found = (await tracker.scopeNames?.({ labels: false }))?.problems ?? [];
    const asked = fake.requests.filter(({ operation }) => operation === "SymphonyViewer").length;
    return { asked, found: found.map(({ severity, message, next }) => [severity, message, next]) };
  };
  const key = "tracker.provider.sessions is set, and";
  const byPerson = [
    "warning",
    `${key} the key is that of ada, no app: Linear opens agent sessions with apps only`,
    "docs/trackers/linear-agent.md, set up the app",
  ];
  assert.deepEqual(await problems({ sessions: "progress", webhook_secret: "$HOOK" }), {
    asked: 1,
    found: [
      [
        "warning",
        `${key} HOOK is not: agent sessions are reported by signed webhooks only, so none is answered`,
        "symphony secrets add HOOK",
      ],
      byPerson,
    ],
  });
  const signed = await problems({ sessions: "detail", webhook_secret: "held in the file" });
  assert.deepEqual(signed.found, [byPerson]);
  assert.deepEqual(await problems({}), { asked: 0, found: [] });
});
