import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Step } from "../../src/demo/script.ts";
import { deliveryWorld } from "../support/worlds/delivery-world.ts";
import { eventually } from "../support/worlds/symphony.ts";

const slow = { do: "sleep", ms: 300 } as const;
/** A turn that is killed is played again, so each changes something. */
const turn: readonly Step[] = [
  slow,
  { do: "edit", path: "greet.txt", append: "greets\n" },
  { do: "say", text: "[1] Mended.\n[2] It says why now." },
];

/** Numbers that look random and are the same each time. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

for (const seed of [1]) {
  test(`delivery: kill -9 at any time (seed ${seed}): one branch, one pull request, each answer once`, async () => {
    await using world = await deliveryWorld({
      issues: { "LOCAL-1": [turn] },
      github: { ci: "manual" },
    });
    const { github } = world;
    const next = numbers(seed);
    /** Kills the server several times while it works. */
    const crashes = async (times: number) => {
      for (let time = 0; time < times; time++) {
        await delay(next() * 2_500);
        await world.crash();
      }
    };
    await world.create();
    await world.serve();
    await crashes(2);
    const number = (await world.offered(1)).delivery?.pull_request?.number ?? 0;
    await github.act({ do: "ci", conclusion: "success" });
    await github.act({
      ...{ do: "review", as: "grace", event: "request_changes", body: "See below" },
      comments: [{ path: "greet.txt", line: 1, body: "Why?" }],
    });
    await crashes(2);
    await world.offered(2);
    await world.answered(number, 2);
    await github.act({ do: "ci", conclusion: "failure", log: "not ok 1 - sum" });
    await crashes(1);
    await world.asked("actions/re-run-workflow-failed-jobs");
    await github.act({ do: "ci", conclusion: "failure", log: "not ok 1 - sum" });
    await crashes(1);
    await world.offered(3);
    await github.act({ do: "ci", conclusion: "success" });
    await github.act({ do: "review", as: "grace", event: "approve" });
    await world.until("it may be merged", ({ delivery }) =>
      /merge/.test(delivery?.waiting_for ?? ""),
    );
    await github.act({ do: "merge", as: "grace" });
    await crashes(1);
    await world.until("it is done", ({ issue }) => issue.state === "Done");
    await eventually("its workspace is gone", async () => !world.hasWorkspace());
    await world.once({ number, answers: 2, attempts: null });
    assert.equal(
      github.requests.filter(({ operation }) => /re-run/.test(operation ?? "")).length,
      1,
    );
  });
}
