import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { borrowSession } from "../../src/commands/claude-record.ts";

const id = "11111111-2222-4333-8444-555555555555";
const slug = "-srv-workspaces-ENG-1";

async function places() {
  const root = await mkdtemp(join(tmpdir(), "symphony-record-"));
  const home = join(root, "agent");
  const mine = join(root, "mine");
  await mkdir(join(home, "projects", slug), { recursive: true });
  return {
    ...{ root, home, mine },
    agents: join(home, "projects", slug, `${id}.jsonl`),
    own: join(mine, "projects", slug, `${id}.jsonl`),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

test("a session's record is lent to the person and returned with their turns", async () => {
  await using at = await places();
  await writeFile(at.agents, "the agent's turn\n");
  const borrowed = await borrowSession({ id, home: at.home }, at.mine);
  assert.equal(await readFile(at.own, "utf8"), "the agent's turn\n");
  await writeFile(at.own, "the agent's turn\nthe person's turn\n");
  await borrowed?.giveBack();
  assert.equal(await readFile(at.agents, "utf8"), "the agent's turn\nthe person's turn\n");
  assert.deepEqual(await readdir(join(at.mine, "projects", slug)), [], "no second copy stays");
});

test("a longer record, from a terminal that was lost, stays", async () => {
  await using at = await places();
  await writeFile(at.agents, "the agent's turn\n");
  await borrowSession({ id, home: at.home }, at.mine);
  await writeFile(at.own, "the agent's turn\nthe person's turn\n");
  await borrowSession({ id, home: at.home }, at.mine);
  assert.match(await readFile(at.own, "utf8"), /the person's turn/);
});

test("a link of an agent is neither followed nor written through", async () => {
  await using at = await places();
  const secret = join(at.root, "secret");
  await writeFile(secret, "canary\n");
  await symlink(secret, at.agents);
  assert.equal(await borrowSession({ id, home: at.home }, at.mine), null);
  await rm(at.agents);
  await writeFile(at.agents, "the agent's turn\n");
  const borrowed = await borrowSession({ id, home: at.home }, at.mine);
  await rm(at.agents);
  await symlink(secret, at.agents);
  await borrowed?.giveBack();
  assert.equal(await readFile(secret, "utf8"), "canary\n");
  assert.equal(await readFile(at.agents, "utf8"), "the agent's turn\n");
});

test("an id that is no id of a session, and a session without a record, give none", async () => {
  await using at = await places();
  await writeFile(join(at.root, "agent", "x.jsonl"), "");
  assert.equal(await borrowSession({ id: "../../x", home: at.home }, at.mine), null);
  assert.equal(await borrowSession({ id, home: at.home }, at.mine), null);
  assert.equal(await borrowSession({ id, home: join(at.root, "none") }, at.mine), null);
});
