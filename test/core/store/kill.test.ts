import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openStore } from "../../../src/core/open.ts";
import { verifyAudit } from "../../../src/core/store/audit-verify.ts";
import { lockDataDir } from "../../../src/core/store/lock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const child = join(import.meta.dirname, "../../support/fakes/ledger-child.ts");
const kills = 10;

test(`FAULT-1: ${kills} times kill -9 in mid-write: nothing acknowledged is lost, nothing is torn`, async (t) => {
  const dir = temporaryDir(t);
  const acknowledged: string[] = [];
  for (let run = 0; run < kills; run++) {
    const writer = spawn(process.execPath, [child, dir, `run${run}`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.after(() => writer.kill("SIGKILL"));
    acknowledged.push(...(await killAfter(writer, 9 + run * 5)));
    // FAULT-11: the lock is free at once.
    const lock = await lockDataDir(dir);
    await check(dir, acknowledged);
    await lock.release();
  }
  assert.ok(acknowledged.length > kills * 9);
});

/** The lines that the child wrote before it died; it is killed during the work after line `count`. */
async function killAfter(writer: ChildProcess, count: number): Promise<string[]> {
  const lines: string[] = [];
  assert.ok(writer.stdout);
  const exited = once(writer, "exit");
  for await (const line of createInterface({ input: writer.stdout })) {
    lines.push(line);
    if (lines.length === count) writer.kill("SIGKILL");
  }
  await exited;
  assert.ok(lines.length >= count, "the child ended by itself");
  return lines;
}

async function check(dir: string, acknowledged: readonly string[]): Promise<void> {
  assert.equal(verifyAudit(dir).fault, null);
  const store = await openStore(dir);
  const seqs: number[] = [];
  for (;;) {
    const page = store.history.events({ afterSeq: seqs.at(-1) ?? 0, limit: 500 });
    if (page.length === 0) break;
    seqs.push(...page.map(({ seq }) => seq));
  }
  assert.deepEqual(
    seqs,
    seqs.map((_, index) => index + 1),
    "events without a gap",
  );
  const steers = new Set(store.history.undelivered("id-ENG-1").map(({ id }) => id));
  const audited = auditActions(dir);
  const promised = new Map<string, string>();
  let lastTemplate = "";
  for (const line of acknowledged) {
    const [kind, id = "", model = ""] = line.split(" ");
    if (kind === "event") assert.ok(seqs.length >= Number(id), line);
    else if (kind === "steer") assert.ok(steers.has(id), line);
    else if (kind === "audit") assert.ok(audited.has(id), line);
    else if (kind === "template") lastTemplate = id;
    else promised.set(id, model);
  }
  for (const [id, model] of promised) {
    // The write in flight at the kill may have succeeded without being acknowledged.
    const found = store.records.all().get(id)?.model ?? "";
    assert.ok(found === model || isLater(found, model), `${id}: ${found} instead of ${model}`);
  }
  const template = store.templates.all()[0]?.id ?? "";
  const kept = template === lastTemplate || isLater(template, lastTemplate);
  assert.ok(kept, `${template} instead of ${lastTemplate}`);
  await store.close();
}

function auditActions(dir: string): ReadonlySet<string> {
  const db = new DatabaseSync(join(dir, "history.db"), { readOnly: true });
  const rows = db.prepare("SELECT action FROM audit").all();
  db.close();
  return new Set(rows.map((row) => String(row["action"])));
}

function isLater(found: string, promised: string): boolean {
  const numbers = (text: string) => text.replace("run", "").split("-").map(Number);
  const [runA = 0, roundA = 0] = numbers(found);
  const [runB = 0, roundB = 0] = numbers(promised);
  return runA > runB || (runA === runB && roundA > roundB);
}
