import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { gitConfigOf, gitSection } from "../../src/core/config/git.ts";
import { gitWorld } from "../support/worlds/git-world.ts";
import { serve } from "../support/worlds/server.ts";

test("GET /api/v1/git/context shows repositories and branches without credentials", async () => {
  await using git = await gitWorld();
  await using server = await serve(git.world);
  const answer = await server.ask("/api/v1/git/context");
  assert.equal(answer.status, 200);
  const context = api.git.context.reply.parse(answer.json());
  assert.ok(!answer.text.includes("canary"));
  const [repository] = context.repositories;
  const url = "https://example.org/team/app.git";
  assert.deepEqual(
    { ...repository, branches: undefined },
    {
      name: "app",
      url,
      default_branch: "main",
      path: git.path,
      remotes: [{ name: "origin", url }],
      branches: undefined,
    },
  );
  const [branch, ...others] = repository?.branches ?? [];
  assert.partialDeepStrictEqual(branch, {
    name: "eng-1",
    issue_identifier: "ENG-1",
    ahead: 1,
    behind: 0,
    path: git.path,
    dirty: true,
  });
  assert.match(branch?.head ?? "", /^[0-9a-f]{40}$/);
  assert.deepEqual([others, context.routing, context.complete], [[], [], true]);
});

test("GET /api/v1/:id/diff shows the work of an issue, or why there is none", async () => {
  await using git = await gitWorld();
  await using server = await serve(git.world);
  const answer = await server.ask("/api/v1/eng-1/diff");
  const work = api.git.diff.reply.parse(answer.json());
  assert.partialDeepStrictEqual(work, {
    issue_identifier: "ENG-1",
    branch: "eng-1",
    ahead: 1,
    behind: 0,
    files: [{ path: "one.txt", renamed_from: null, additions: 1, deletions: 1 }],
    truncated: false,
  });
  assert.match(work.patch, /^-one\.txt\n\+changed\n/m);
  for (const [name, status, code] of [
    ["ENG-2", 409, "no_repository"],
    ["ENG-3", 404, "workspace_not_found"],
    ["ENG-404", 404, "issue_not_found"],
  ] as const) {
    const refused = await server.ask(`/api/v1/${name}/diff`);
    assert.deepEqual([refused.status, refused.json().error.code], [status, code]);
  }
});

test("GET /api/v1/git/context shows the routing rules, and with ?issue= the repository of an issue", async () => {
  await using git = await gitWorld();
  git.world.config = {
    ...git.world.config,
    git: gitConfigOf(
      gitSection.parse({
        repositories: [
          { name: "api", url: "https://$TOKEN@example.org/api.git", match: { states: ["Rework"] } },
          { name: "main-app", url: "https://$TOKEN@example.org/team/app.git", base_branch: "dev" },
        ],
      }),
    ),
  };
  await using server = await serve(git.world);
  const answer = await server.ask("/api/v1/git/context?issue=eng-2");
  const context = api.git.context.reply.parse(answer.json());
  const template = "symphony/{{ issue.identifier }}-{{ issue.slug }}";
  assert.deepEqual(context.routing, [
    { match: "state rework", repository: "api", base_branch: null, branch_template: template },
    { match: "every issue", repository: "main-app", base_branch: "dev", branch_template: template },
  ]);
  assert.deepEqual(context.route, {
    issue_identifier: "ENG-2",
    repository: "main-app",
    branch: "symphony/ENG-2-title-of-eng-2",
  });
  assert.deepEqual(
    context.repositories.map(({ name, url, branches }) => [name, url, branches.length]),
    [
      ["api", "https://example.org/api.git", 0],
      ["main-app", "https://example.org/team/app.git", 1],
    ],
  );
  const unknown = await server.ask("/api/v1/git/context?issue=ENG-404");
  assert.deepEqual([unknown.status, unknown.json().error.code], [404, "issue_not_found"]);
});
