import assert from "node:assert/strict";
import { mkdirSync, readFileSync, realpathSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Step } from "../../src/demo/script.ts";
import { type GitSite, gitSite } from "../support/fakes/git-site.ts";
import { gitIn, origin } from "../support/makers/git-repository.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));
const canary = "canary-51c0-token";

const turn: readonly Step[] = [
  { do: "run", command: "env > ../../agent-env.txt" },
  { do: "edit", path: "work.txt", content: "{{identifier}}\n" },
  { do: "commit", message: "Work on {{identifier}}" },
  { do: "tool", name: "issue_move", arguments: { state: "In Review" } },
];

/** Two repositories, one with a password, and a workflow that routes issues by a label. */
async function project() {
  const root = realpathSync(await mkdtemp(join(tmpdir(), "symphony-routing-")));
  const dirs = ["api", "web"].map((name) => join(root, name));
  for (const dir of dirs) mkdirSync(dir);
  const [api = "", web = ""] = dirs.map(origin);
  gitIn(api)("update-server-info");
  const site = await gitSite({ dir: join(root, "api"), password: canary });
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  await writeFile(join(root, "script.json"), JSON.stringify({ issues: { default: [turn] } }));
  await writeFile(join(root, "WORKFLOW.md"), workflow({ site, web, command }));
  return {
    ...{ root, api, web, site },
    dataDir: join(root, ".symphony"),
    workflowPath: join(root, "WORKFLOW.md"),
    cwd: root,
    env: { HOME: root, API_TOKEN: canary },
    async [Symbol.asyncDispose]() {
      await site[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function workflow(given: { site: GitSite; web: string; command: string }): string {
  return `---
tracker: { kind: local, provider: { states: [In Review] } }
workspace: { root: ./workspaces }
polling: { interval_ms: 60000 }
git:
  repositories:
    - name: api
      url: http://$API_TOKEN@${given.site.host}/origin.git
      match: { labels: [api] }
      branch_template: agent/{{ issue.identifier }}
    - name: web
      url: ${given.web}
hooks: { after_create: "git log --oneline | wc -l > ../../commits-$SYMPHONY_ISSUE_IDENTIFIER; env > ../../hook-env.txt" }
codex: { command: ${JSON.stringify(given.command)}, read_timeout_ms: 30000, env_passthrough: [API_TOKEN] }
---
Do {{ issue.identifier }}
`;
}

test("two issues go to two repositories, which are cloned, changed and shown, without any credential in the output", async () => {
  await using place = await project();
  await using server = await Served.start(place);
  const { client } = server;
  const before = await client.git.context();
  assert.deepEqual(
    before.repositories.map(({ name, url, branches }) => [name, url, branches]),
    [
      ["api", `http://${place.site.host}/origin.git`, []],
      ["web", place.web, []],
    ],
  );
  for (const labels of [["api"], []]) {
    const made = await symphony(place, "issue", "create", "--title", "One", ...labelled(labels));
    assert.equal(made.code, 0, made.stderr);
  }
  for (const id of ["LOCAL-1", "LOCAL-2"]) {
    await eventually(`${id} is worked on`, async () => {
      const { attempts } = await client.issues.attempts({ params: { id } });
      return attempts.some(({ status }) => status === "succeeded");
    });
  }
  const context = await eventually("both are looked at", async () => {
    const found = await client.git.context();
    return found.complete && found;
  });
  assert.deepEqual(
    context.repositories.map(({ name, branches }) => [
      name,
      branches.map((branch) => [branch.issue_identifier, branch.name, branch.ahead]),
    ]),
    [
      ["api", [["LOCAL-1", "agent/LOCAL-1", 1]]],
      ["web", [["LOCAL-2", "symphony/LOCAL-2-one", 1]]],
    ],
  );
  for (const name of ["LOCAL-1", "LOCAL-2"]) {
    const git = gitIn(join(place.root, "workspaces", name));
    assert.equal(git("log", "-1", "--format=%s"), `Work on ${name}`);
    assert.match(await readFile(join(place.root, `commits-${name}`), "utf8"), /^\s*2\n$/);
  }
  const shown = await symphony(place, "git", "LOCAL-1");
  assert.match(shown.stdout, /LOCAL-1: a new workspace is a clone of api on branch agent\/LOCAL-1/);
  const rules = await symphony(place, "git");
  assert.match(rules.stdout, /label api +api +\(default\) +agent\/\{\{ issue\.identifier \}\}/);
  const events = (await Promise.all(["LOCAL-1", "LOCAL-2"].map((id) => server.events(id)))).flat();
  const messages = events.map(({ message }) => message);
  assert.ok(
    messages.some((line) => /^cloned api in \d+ ms, on the new branch agent\/LOCAL/.test(line)),
  );
  const config = await symphony(place, "config", "get", "--json");
  await server.stop();
  const sinks = [server.log, JSON.stringify([context, events]), shown.stdout, config.stdout];
  const files = ["agent-env.txt", "hook-env.txt", "workspaces/LOCAL-1/.git/config"];
  sinks.push(...files.map((name) => readFileSync(join(place.root, name), "utf8")));
  for (const sink of sinks) assert.ok(sink !== "" && !sink.includes(canary), sink.slice(0, 200));
  assert.ok(place.site.logins.includes(`x-access-token:${canary}`));
});

test("a clone that fails is retried, leaves no files, and reports the reason", async () => {
  await using place = await project();
  await using server = await Served.start({ ...place, env: { HOME: place.root, API_TOKEN: "no" } });
  await symphony(place, "issue", "create", "--title", "One", ...labelled(["api"]));
  const attempt = await eventually("the attempt has failed", async () => {
    const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
    return attempts.find(({ status }) => status === "failed");
  });
  assert.equal(attempt.error?.code, "clone_failed");
  assert.match(attempt.error?.message ?? "", /^the repository api \(http:.*Authentication failed/);
  const issue = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.equal(issue.status, "retrying");
  const left = await readdir(join(place.root, "workspaces"));
  assert.deepEqual(left, [".symphony-root"]);
});

function labelled(labels: readonly string[]): string[] {
  return labels.flatMap((label) => ["--label", label]);
}
