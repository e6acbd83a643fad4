import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { agentKinds } from "../../../src/core/agent/kinds.ts";
import { placeRecord, readRecord } from "../../../src/core/agent/records.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";

const id = "01a21bd1-88d9-78f1-9da4-1d41f0dafa83";
const name = `2026/11/27/rollout-2026-11-27T07-04-06-${id}.jsonl`;
const dir = mkdtempSync(join(tmpdir(), "symphony-records-"));
const here = { root: join(dir, "here"), directoryFor: (directory: string) => directory };
const there = { root: join(dir, "there"), directoryFor: (directory: string) => directory };
const put = (root: string, path: string, text: string) => {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
};
beforeEach(() => {
  for (const { root } of [here, there]) {
    rmSync(root, { recursive: true, force: true });
    mkdirSync(root);
  }
});
after(() => rmSync(dir, { recursive: true, force: true }));

async function sent() {
  put(here.root, name, "one\n");
  const record = await readRecord(here, id);
  assert.ok(record);
  return record;
}

test("29: the record of a thread is at the same place on the other machine, and replaces one that is ahead", async () => {
  const record = await sent();
  assert.equal(record.name, name);
  put(there.root, name, "one\nlost with a worker\n");
  const drafts = [0, 1].map((one) => join(dirname(name), `.${randomUUID().slice(0, -1)}${one}`));
  for (const draft of drafts) put(there.root, draft, "a process was killed here");
  utimesSync(join(there.root, drafts[0] ?? ""), 0, 0);
  assert.equal(await placeRecord(there, id, record), true);
  assert.equal(readFileSync(join(there.root, name), "utf8"), "one\n");
  // One that is new may be of another process.
  const left = drafts.map((draft) => existsSync(join(there.root, draft)));
  assert.deepEqual(left, [false, true]);
});

test("29: no link is followed for a record, on either side", async () => {
  put(dir, `elsewhere/${id}.jsonl`, "a secret");
  const links: [string, string][] = [
    [join(dir, "elsewhere"), "2026"],
    [join(dir, `elsewhere/${id}.jsonl`), `${id}.jsonl`],
  ];
  for (const [target, path] of links) {
    symlinkSync(target, join(here.root, path));
    assert.equal(await readRecord(here, id), null);
    rmSync(join(here.root, path));
  }
  const record = await sent();
  symlinkSync(join(dir, "elsewhere"), join(there.root, "2026"));
  await assert.rejects(placeRecord(there, id, record), { code: "workspace_error" });
});

test("29: a record with a name of another form or of another thread is refused", async () => {
  const { data } = await sent();
  const names = [
    ...[
      `../${id}.jsonl`,
      `/${id}.jsonl`,
      `a/../../${id}.jsonl`,
      `.x/${id}.jsonl`,
      `${id}.jsonl/..`,
    ],
    ...[
      `a//${id}.jsonl`,
      `1/2/3/4/${id}.jsonl`,
      "config.toml",
      `${id}.json`,
      "2026/other.jsonl",
      "",
    ],
  ];
  for (const one of names) {
    await assert.rejects(
      placeRecord(there, id, { name: one, data }),
      { code: "workspace_error" },
      one,
    );
  }
  await assert.rejects(placeRecord(there, "../../etc", { name, data }), {
    code: "workspace_error",
  });
  const torn = data.subarray(0, 5);
  await assert.rejects(placeRecord(there, id, { name, data: torn }), { code: "workspace_error" });
});

test("29: each kind with records has them where its program on this machine looks", async () => {
  const workspace = join(dir, "work.space", "LOCAL-1");
  const deps = { env: { HOME: dir }, dataDir: dir, clock: new FakeClock(), workspace };
  const found: string[] = [];
  for (const { kind, section, records } of agentKinds) {
    const settings = section.schema.safeParse({}).data ?? {};
    const own = await records?.({ home: "private", ...settings }, deps);
    if (own) found.push(`${kind} ${own.root.slice(dir.length)} ${own.directoryFor("")}`);
  }
  assert.equal(found.length, 3);
  const [codex = "", claude = "", openai = ""] = found;
  assert.match(codex, /^codex \/\.symphony\/codex\/\w+\/home\/sessions $/);
  const encoded = workspace.replaceAll(/[/.]/g, "-");
  assert.match(claude, /^claude \/\.symphony\/claude\/\w+\/\w+\/config\/projects /);
  assert.ok(claude.endsWith(` ${encoded}`), claude);
  assert.equal(openai, "openai /threads ");
});
