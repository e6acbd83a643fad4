import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startFakeLinear } from "../support/fakes/fake-linear.ts";
import { startTokenEndpoint } from "../support/fakes/token-endpoint.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, finished, launch, Served, symphony } from "../support/worlds/symphony.ts";

test("symphony as an app of Linear: its tokens are renewed under a running agent, kept over a kill, and a spent one is said with what mends it", async (t) => {
  await using linear = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  let onToken = () => {};
  await using tokens = await startTokenEndpoint((access) => {
    linear.accept(`Bearer ${access}`);
    onToken();
  });
  const root = temporaryDir(t);
  const oauth = {
    ...{ client_id: "app", client_secret: "$LINEAR_CLIENT_SECRET", token_url: tokens.url },
    refresh_token: "$LINEAR_REFRESH_TOKEN",
  };
  const provider = { endpoint: linear.url, project_slug: linear.project, oauth };
  await writeFile(
    join(root, "WORKFLOW.md"),
    `---
tracker: { kind: linear, provider: ${JSON.stringify(provider)} }
polling: { interval_ms: 1000 }
agent: { kind: command }
command: { line: "sleep 600" }
host: { min_memory: 0, max_load: 0 }
---
Work on {{ issue.identifier }}
`,
  );
  const place = {
    ...{ cwd: root, env: { HOME: root }, dataDir: join(root, ".symphony") },
    workflowPath: join(root, "WORKFLOW.md"),
  };
  const store = async (name: string, value: string) => {
    const child = launch(place, ["secrets", "add", name, "--data-dir", place.dataDir], "pipe");
    child.stdin?.end(value);
    const { code, stderr } = await finished(child);
    assert.equal(code, 0, stderr);
  };
  await store("LINEAR_CLIENT_SECRET", "app-secret");
  await store("LINEAR_REFRESH_TOKEN", tokens.refresh);
  // A life of 2 s ends after 1.6, so that polls renew it.
  tokens.lifeSeconds = 2;
  const outputs: string[] = [];
  const polled = (server: Served) => async () => {
    const { polling, running } = await server.client.system.state({});
    return polling.last_error === null && running.length === 1 ? polling.last_poll_at : null;
  };
  {
    await using server = await Served.start(place);
    await eventually("the agent runs", polled(server));
    await eventually("tokens are renewed", async () => tokens.asked.length >= 3);
    tokens.lifeSeconds = 86_400;
    const before = tokens.asked.length;
    await eventually("and once more, for a day", async () => tokens.asked.length > before);
    const seen = await eventually("a poll", polled(server));
    await eventually("the next poll", async () => (await polled(server)()) !== seen);
    const [attempt, ...more] = (await server.client.issues.attempts({ params: { id: "ENG-1" } }))
      .attempts;
    assert.deepEqual([attempt?.status, more.length], ["running", 0], "one agent, undisturbed");
    await server.crash();
    outputs.push(server.log);
  }
  const used = tokens.asked.length;
  {
    await using server = await Served.start(place);
    await eventually("the agent runs again", polled(server));
    assert.equal(tokens.asked.length, used, "the stored token is still good");
    // The operator removes the app's permission: the next token comes, and the server dies before it has it.
    onToken = () => server.child.kill("SIGKILL");
    linear.accept("Bearer none");
    await eventually("it is killed", async () => server.child.signalCode === "SIGKILL");
    outputs.push(server.log);
  }
  onToken = () => {};
  await using server = await Served.start(place);
  const failed = await eventually("the refusal is said", async () => {
    return (await server.client.system.state({})).polling.last_error;
  });
  assert.match(failed.message, /Linear gave the app no token \(HTTP 400: invalid_grant\)/);
  const { stderr, stdout, code } = await symphony(place, "doctor");
  assert.notEqual(code, 0, stdout);
  assert.match(
    stdout,
    /the server cannot read linear: .*invalid_grant[\s\S]*authorize the app again/,
  );
  await store("LINEAR_REFRESH_TOKEN", tokens.refresh);
  await eventually("it works again, without a restart", polled(server));
  outputs.push(server.log, stderr, stdout);
  outputs.push(await readFile(join(place.dataDir, "secrets.json"), "utf8"));
  for (const secret of [tokens.access, tokens.refresh, "app-secret"])
    assert.ok(!outputs.join("\n").includes(secret), "no token is said or readable on disk");
});
