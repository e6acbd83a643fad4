import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SymphonyEvent } from "../src/core/model/event.ts";
import { openHistory } from "../src/core/store/history.ts";
import { quantile, report, summary } from "./kit.ts";

// A million events of 500 issues: what storing one costs, a step of the removal of old ones, and a page at any depth.
// `node bench/history.ts [EVENTS]`

const count = Number(process.argv[2] ?? 1_000_000);
const issues = 500;
const removedAtOnce = 250;
const steps = 1_000;

const dir = mkdtempSync(join(tmpdir(), "symphony-bench-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const history = openHistory(join(dir, "history.db"));

function event(seq: number): SymphonyEvent {
  const issue = seq % issues;
  return {
    ...{ seq, type: "agent.message", at: seq, sessionId: `thread-${issue}-turn-1` },
    issueId: `iss_9e49ea82-9e4a-403d-a4ad-${String(issue).padStart(12, "0")}`,
    issueIdentifier: `LOCAL-${issue}`,
    attemptId: `att_0mwyl${issue}`,
    message: "I read the tests of the module and change the second one",
    data: { text: "I read the tests of the module and change the second one" },
  };
}

/** CPU time of `work`, and the time on the wall, in ms. */
function timed(work: () => unknown): { readonly cpu: number; readonly wall: number } {
  const [cpu, started] = [process.cpuUsage(), performance.now()];
  work();
  const { user, system } = process.cpuUsage(cpu);
  return { cpu: (user + system) / 1_000, wall: performance.now() - started };
}

const filled = timed(() => {
  for (let at = 0; at < count; at += 250)
    history.appendEvents(Array.from({ length: 250 }, (_, n) => event(at + n + 1)));
});
report({
  name: "an event, 250 at once",
  value: (filled.cpu / count) * 1_000,
  unit: "1",
  note: "µs of CPU",
});
const removal = { before: Number.MAX_SAFE_INTEGER, limit: removedAtOnce };
const removals = Array.from({ length: steps }, () => timed(() => history.removeOldEvents(removal)));
const cpu = removals.map((one) => one.cpu);
const longest = Math.max(...removals.map(({ wall }) => wall));
report({
  name: `retention, a step of ${removedAtOnce} of ${count} events`,
  ...summary(cpu),
  unit: "ms",
  aim: { atMost: 8 },
  note: `of CPU; p99 ${quantile(cpu, 0.99).toFixed(1)}, longest on the wall ${longest.toFixed(0)} ms`,
});
for (const [name, work] of Object.entries({
  "200 of an issue, from the first": () =>
    history.events({ afterSeq: 0, limit: 200, issueIdentifiers: ["local-7"] }),
  "the newest 200 of an issue": () =>
    history.recentEvents("iss_9e49ea82-9e4a-403d-a4ad-000000000007", 200),
  "an issue without events": () => history.recentEvents("iss_none", 200),
}))
  report({
    name,
    ...summary(Array.from({ length: 20 }, () => timed(work).cpu)),
    unit: "ms",
    note: "of CPU",
  });
history.close();
