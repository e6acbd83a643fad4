import { writeSync } from "node:fs";
import { openStore } from "../../../src/core/open.ts";
import { lockDataDir } from "../../../src/core/store/lock.ts";
import { event, record, steer } from "../makers/storage.ts";

// Writes to a store indefinitely and prints each acknowledged write on stdout; a test kills it.

const dir = process.argv[2] ?? "";
const run = process.argv[3] ?? "";
await lockDataDir(dir);
const { history, records, templates } = await openStore(dir);
const acknowledge = (line: string) => writeSync(1, `${line}\n`);

for (let round = 0; ; round++) {
  const first = history.lastSeq() + 1;
  history.appendEvents([event(first), event(first + 1)]);
  acknowledge(`event ${first + 1}`);
  const id = `${run}-${round}`;
  history.addSteer(steer(id, { key: id }));
  acknowledge(`steer ${id}`);
  const entry = { at: round, actor: "api", action: id, target: null, outcome: "ok", detail: {} };
  history.audit({ ...entry, actor: "api" });
  acknowledge(`audit ${id}`);
  await records.put(`issue-${round % 5}`, record("ENG-1", { model: id }));
  acknowledge(`record issue-${round % 5} ${id}`);
  await templates.change(() => [{ id, name: "only", body: id, createdAt: 0, updatedAt: round }]);
  acknowledge(`template ${id}`);
}
