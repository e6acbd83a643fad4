import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { serve } from "../support/worlds/server.ts";

const hostile = '<img src=x onerror=alert(1)>"&\u001b[31m.txt';
const shown = '<img src=x onerror=alert(1)>"&.txt';

/** ENG-1 is done, and its agent left a file of the given name. */
async function finished() {
  const root = await realpath(await mkdtemp(join(tmpdir(), "symphony-kept-")));
  const world = await createWorld({
    issues: [issue("ENG-1")],
    config: config({ workspace: { root } }),
  });
  const { scheduler, workspaces, core } = world;
  const workspace = await workspaces.ensure(issue("ENG-1"), new AbortController().signal);
  const run = scheduler.run("ENG-1");
  run.reports.entered("building_prompt", workspace);
  writeFileSync(join(workspace.path, hostile), "x");
  const ended = new Promise<void>((resolve) => {
    core.bus.subscribe({ filter: { types: ["workspace.kept"] } }, () => resolve());
  });
  scheduler.set(issue("ENG-1", { state: "Done" }));
  await scheduler.advance(30_000);
  await run.end({ kind: "stopped" });
  await ended;
  return {
    ...{ world, path: workspace.path, attemptId: run.order.attemptId },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true });
    },
  };
}

test("a kept workspace is in the state, the issue, its attempt, its event and the list, with the command to type", async () => {
  await using done = await finished();
  await using server = await serve(done.world);
  const expected = {
    key: "ENG-1",
    path: done.path,
    holds: [{ kind: "new_files", count: 1, examples: [shown] }],
    summary: `1 new file (${shown})`,
    next: ["symphony diff ENG-1", "symphony workspaces remove ENG-1 --force"],
  };
  const first = await server.ask("/api/v1/state");
  const state = api.system.state.reply.parse(first.json());
  assert.partialDeepStrictEqual(state.kept, [
    { ...expected, issue_id: "id-ENG-1", issue_identifier: "ENG-1" },
  ]);
  assert.equal(state.kept_total, 1);
  const detail = api.issues.detail.reply.parse((await server.ask("/api/v1/ENG-1")).json());
  assert.partialDeepStrictEqual(detail.kept, expected);
  const aid = `/api/v1/attempts/${done.attemptId}`;
  const attempt = api.attempts.detail.reply.parse((await server.ask(aid)).json());
  assert.partialDeepStrictEqual(attempt.kept, expected);
  const event = attempt.events.find(({ type }) => type === "workspace.kept");
  assert.deepEqual(event?.data["holds"], expected.holds);
  assert.equal(event?.message, `workspace kept, it holds 1 new file (${shown})`);
  const list = api.workspaces.list.reply.parse((await server.ask("/api/v1/workspaces")).json());
  assert.partialDeepStrictEqual(list.workspaces[0]?.kept, expected);
  const refused = await server.ask("/api/v1/workspaces/ENG-1", { method: "DELETE" });
  assert.equal(refused.status, 409);
  assert.partialDeepStrictEqual(refused.json().error, {
    code: "workspace_dirty",
    details: { path: done.path, holds: expected.holds },
  });
  const diff = api.git.diff.reply.parse((await server.ask("/api/v1/ENG-1/diff")).json());
  assert.deepEqual([diff.path, diff.base, diff.not_shown], [done.path, null, []]);
  const gone = await server.ask("/api/v1/workspaces/ENG-1?force=true", { method: "DELETE" });
  assert.equal(gone.status, 204);
  const later = await server.ask("/api/v1/state");
  assert.deepEqual([later.json().kept, later.json().kept_total], [[], 0]);
  assert.notEqual(later.headers.etag, first.headers.etag);
});

test("names that an agent gave its files are plain text on the page and on the terminal", async () => {
  await using done = await finished();
  await using server = await serve(done.world);
  const { text } = await server.ask("/");
  assert.match(text, /Kept workspaces <span>1</);
  assert.ok(text.includes("&lt;img src=x onerror=alert(1)&gt;&quot;&amp;.txt"));
  assert.doesNotMatch(text, /<img/);
  const env = { SYMPHONY_URL: `http://127.0.0.1:${server.listening.port}` };
  for (const args of [
    ["state"],
    ["issue", "show", "ENG-1"],
    ["diff", "ENG-1", "--stat"],
    ["workspaces", "list"],
    ["workspaces", "remove", "ENG-1"],
  ]) {
    const { stdout, stderr } = await symphony(args, { env });
    assert.ok(`${stdout}${stderr}`.includes("<img src=x"), args.join(" "));
    assert.ok(!`${stdout}${stderr}`.includes("\u001b"), args.join(" "));
  }
});

test("a workspace of an unknown issue is shown by its key", async () => {
  await using done = await finished();
  await using server = await serve(done.world);
  const root = done.world.config.workspace.root;
  const made = await done.world.workspaces.ensure(issue("OLD-7"), new AbortController().signal);
  assert.equal(made.path, join(root, "OLD-7"));
  writeFileSync(join(made.path, "work.txt"), "x\n");
  const diff = api.git.diff.reply.parse((await server.ask("/api/v1/OLD-7/diff")).json());
  assert.deepEqual([diff.issue_identifier, diff.files[0]?.path], ["OLD-7", "work.txt"]);
  const unknown = await server.ask("/api/v1/OLD-8/diff");
  assert.deepEqual([unknown.status, unknown.json().error.code], [404, "issue_not_found"]);
  const elsewhere = await server.ask("/api/v1/OLD-8/diff?path=/no/OLD-8");
  assert.equal(elsewhere.json().error.code, "workspace_not_found");
  assert.match(elsewhere.json().error.message, /no workspace \/no\/OLD-8/);
});

test("a kept directory of an earlier root is listed separately from the issue's workspace; a query selects one of the two", async () => {
  await using done = await finished();
  const { world, path: old } = done;
  const root = await realpath(await mkdtemp(join(tmpdir(), "symphony-root-")));
  world.config = config({ workspace: { root } });
  world.scheduler.config = world.config;
  world.scheduler.set(issue("ENG-1"));
  await world.scheduler.advance(30_000);
  const now = await world.workspaces.ensure(issue("ENG-1"), new AbortController().signal);
  world.scheduler.run("ENG-1").reports.entered("building_prompt", now);
  writeFileSync(join(now.path, "new.txt"), "x\n");
  await using server = await serve(world);
  const detail = api.issues.detail.reply.parse((await server.ask("/api/v1/ENG-1")).json());
  assert.equal(detail.workspace.path, now.path);
  assert.deepEqual(
    [detail.kept, detail.kept_elsewhere.map(({ path, next }) => [path, next[1]])],
    [null, [[old, `symphony workspaces remove ${old} --force`]]],
  );
  const list = api.workspaces.list.reply.parse((await server.ask("/api/v1/workspaces")).json());
  assert.deepEqual(
    list.workspaces.map(({ path, in_use, kept }) => [path, in_use, kept?.path ?? null]),
    [
      [now.path, true, null],
      [old, false, old],
    ],
  );
  await world.scheduler.run("ENG-1").end({ kind: "stopped" });
  const remove = (query: string) =>
    server.ask(`/api/v1/workspaces/ENG-1${query}`, { method: "DELETE" });
  const both = await remove("?force=true");
  assert.equal(both.status, 409);
  assert.partialDeepStrictEqual(both.json().error, {
    code: "workspace_ambiguous",
    details: { paths: [now.path, old] },
  });
  const selector = `?path=${encodeURIComponent(old)}`;
  const shown = async (query: string) => {
    const { path, files } = (await server.ask(`/api/v1/ENG-1/diff${query}`)).json();
    return [path, files.length];
  };
  assert.deepEqual(await shown(""), [now.path, 1]);
  assert.deepEqual(await shown(selector), [old, 1]);
  const strange = `?force=true&path=${encodeURIComponent(join(root, ".."))}`;
  assert.equal((await remove(strange)).status, 404);
  assert.equal((await remove(selector)).status, 409, "it holds work");
  assert.equal((await remove(`${selector}&force=true`)).status, 204);
  assert.deepEqual([existsSync(old), existsSync(now.path)], [false, true]);
  await rm(root, { recursive: true });
});
