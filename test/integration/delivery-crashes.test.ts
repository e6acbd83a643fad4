import assert from "node:assert/strict";
import { test } from "node:test";
import type { Step } from "../../src/demo/script.ts";
import { type DeliveryWorld, deliveryWorld } from "../support/worlds/delivery-world.ts";
import { eventually } from "../support/worlds/symphony.ts";

/** A turn that is killed is played again, so each changes something. */
const turn: readonly Step[] = [
  { do: "edit", path: "greet.txt", append: "greets\n" },
  { do: "sleep", ms: 500 },
  { do: "say", text: "[1] Mended.\n[2] It says why now." },
];

/** Shorter than the start of a server: it happens before the next one asks. */
const lateMs = 400;

/**
 * Kills the server while GitHub carries out a call that `cause` leads to: it is done a little later,
 * and its answer is never read. `cause` may be a kill, right after which the call may come.
 */
async function crashIn(
  world: DeliveryWorld,
  operation: string,
  cause: () => Promise<unknown> = async () => {},
): Promise<void> {
  const { faults } = world.github;
  faults.add({ kind: "slow", ms: lateMs, match: { operation } });
  const fault = faults.list.at(-1);
  await cause();
  // A kill in `cause` may be right after the call, which is then made again.
  await eventually(operation, async () => (fault?.matched ?? 0) >= 1);
  await world.crash();
}

/** Kills the server while the agent works. */
async function crashInTurn(world: DeliveryWorld): Promise<void> {
  await world.until("the agent works", ({ status }) => status === "running");
  await world.crash();
}

test("delivery: kill -9 in each step from the issue to its merge: one branch, one pull request, each answer once", async () => {
  await using world = await deliveryWorld({
    issues: { "LOCAL-1": [turn] },
    github: { ci: "manual" },
  });
  const { github } = world;
  const push = "git-receive-pack";
  await world.create();
  await world.serve();
  await crashIn(world, push, () => crashInTurn(world));
  await crashIn(world, "pulls/create");
  const number = (await world.offered(1)).delivery?.pull_request?.number ?? 0;
  await world.crash();
  await github.act({ do: "ci", conclusion: "success" });
  await github.act({
    ...{ do: "review", as: "grace", event: "request_changes", body: "See below" },
    comments: [{ path: "greet.txt", line: 1, body: "Why?" }],
  });
  await world.crash();
  await crashIn(world, "pulls/create-reply-for-review-comment", () => crashInTurn(world));
  await world.offered(2);
  await world.answered(number, 2);
  const fail = () => github.act({ do: "ci", conclusion: "failure", log: "not ok 1 - sum" });
  await crashIn(world, "actions/re-run-workflow-failed-jobs", fail);
  await eventually("it is run again", async () => reruns(world) === 1);
  await fail();
  await crashIn(world, push, () => world.crash());
  await world.offered(3);
  await github.act({ do: "ci", conclusion: "success" });
  await github.act({ do: "review", as: "grace", event: "approve" });
  await world.crash();
  await world.until("it may be merged", ({ delivery }) =>
    /merge/.test(delivery?.waiting_for ?? ""),
  );
  await github.act({ do: "merge", as: "grace" });
  await world.crash();
  await world.until("it is done", ({ issue }) => issue.state === "Done");
  await world.crash();
  await eventually("its workspace is gone", async () => !world.hasWorkspace());
  await world.once({ number, answers: 2, attempts: null });
  assert.equal(reruns(world), 1);
});

function reruns({ github }: DeliveryWorld): number {
  const made = github.requests.filter(({ operation, status }) => {
    return operation === "actions/re-run-workflow-failed-jobs" && status < 300;
  });
  return made.length;
}
