import assert from "node:assert/strict";
import { test } from "node:test";
import { checkConfig } from "../../src/core/config/check.ts";
import type { Problem } from "../../src/core/config/finding.ts";
import { createLogger } from "../../src/core/events/log.ts";
import { sections } from "../../src/core/kinds.ts";
import { followMachine } from "../../src/core/machine-checks.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";

test("a state that gets another name is said within a minute of the poll that has no issues any more", async () => {
  const clock = new FakeClock();
  const text = "---\ntracker: { kind: linear, active_states: [Todo] }\n---\nhi";
  const { effective } = await checkConfig(Buffer.from(text), {
    ...{ sections, workflowPath: "/srv/WORKFLOW.md", env: {}, flags: {} },
  });
  const states = ["Todo", "Done"];
  const reported: string[][] = [];
  let polled: (event: never) => void = () => {};
  const watch = followMachine({
    ...{ clock, kinds: [], env: {}, dataDir: "/nowhere", version: "1.2.3" },
    workflowPath: "/srv/WORKFLOW.md",
    lookup: () => undefined,
    redactor: { add() {} },
    log: createLogger({ level: "error", format: "json", sinks: [], clock, redact: (text) => text }),
    trackers: {
      tracker: {
        secretEnvNames: [],
        scopeNames: async () => ({ teams: new Map([["ENG", [...states]]]), labels: null }),
      },
    },
    bus: {
      subscribe({ filter }, listener) {
        assert.deepEqual(filter?.types, ["poll.completed"]);
        polled = listener;
        return () => {};
      },
    },
    config: {
      current: effective,
      watch: () => () => {},
      report(found: readonly Problem[]) {
        reported.push(found.map(({ message }) => message));
        return [];
      },
    } as never,
  });
  await watch.settled();
  assert.equal(reported.join(), "");
  states[0] = "Ready";
  const completed = (queued: number) => polled({ data: { queued } } as never);
  completed(3);
  clock.advance(60_000);
  await watch.settled();
  assert.equal(reported.length, 1, "there is work: nothing is asked");
  completed(0);
  clock.advance(1);
  await watch.settled();
  assert.match(reported[1]?.[0] ?? "", /no team knows "Todo"/);
  states[0] = "Todo";
  clock.advance(60_000);
  await watch.settled();
  assert.deepEqual(reported[2], []);
  completed(0);
  completed(0);
  clock.advance(59_000);
  await watch.settled();
  assert.equal(reported.length, 3, "at most once a minute");
  watch.stop();
});
