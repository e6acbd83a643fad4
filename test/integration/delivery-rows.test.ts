import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Step } from "../../src/demo/script.ts";
import { branch, type DeliveryWorld, deliveryWorld } from "../support/worlds/delivery-world.ts";
import { eventually } from "../support/worlds/symphony.ts";

/** Each turn changes something, and keeps what it was told. */
const turn: readonly Step[] = [
  { do: "edit", path: "greet.txt", append: "greets\n" },
  { do: "edit", path: "told-{{turn}}.txt", content: "{{prompt}}\n" },
  { do: "say", text: "[1] Mended." },
];
const one = { issues: { default: [turn] } };

/** What the agent was told, turn by turn. */
function told(world: DeliveryWorld): readonly string[] {
  const dir = world.place.workspace("LOCAL-1");
  const names = readdirSync(dir).filter((name) => name.startsWith("told-"));
  return names.sort().map((name) => readFileSync(join(dir, name), "utf8"));
}

async function reviewed(world: DeliveryWorld): Promise<number> {
  await world.create();
  await world.serve();
  return (await world.offered(1)).delivery?.pull_request?.number ?? 0;
}

const waits = (world: DeliveryWorld, wanted: RegExp) =>
  world.until(`waits for ${wanted}`, ({ delivery }) => wanted.test(delivery?.waiting_for ?? ""));

async function heldFor(world: DeliveryWorld): Promise<string> {
  await world.until("it is held", ({ status }) => status === "held");
  const { held } = await world.server.client.system.state({});
  return held[0]?.reason ?? "";
}

describe("delivery with the real server", { concurrency: 2 }, () => {
  test("DELIVERY-4: merged into another base, the issue is done all the same and not built again", async () => {
    await using world = await deliveryWorld(one);
    const { github } = world;
    const number = await reviewed(world);
    await github.act({ do: "push", as: "grace", branch: "release", files: { "a.txt": "x\n" } });
    await world.rest(`PATCH /repos/acme/app/pulls/${number}`, { base: "release" }, "grace");
    await world.until("it is for release", ({ delivery }) => delivery?.base === "release");
    await github.act({ do: "merge", as: "grace" });
    await world.until(
      "it is done",
      ({ issue, status }) => issue.state === "Done" && status === "completed",
    );
    await world.once({ number, answers: 0, attempts: 1 });
  });

  test("DELIVERY-5: an issue that is closed before the pull request gets none, and its work is kept", async () => {
    await using world = await deliveryWorld(one);
    const { github } = world;
    await world.create();
    github.faults.add({ kind: "slow", ms: 3_000, match: { operation: "git-receive-pack" } });
    await world.serve();
    await world.asked("git-receive-pack");
    const closed = await world.symphony("issue", "move", "LOCAL-1", "Canceled");
    assert.equal(closed.code, 0, closed.stderr);
    await eventually("it is pushed", async () => world.commits() === 1);
    await world.until("it is over", ({ delivery }) => delivery?.waiting_for === null);
    assert.deepEqual(await world.pulls(), []);
    assert.match(
      world.server.log,
      /no pull request: the issue is Canceled; its work is on symphony/,
    );
  });

  test("DELIVERY-6, DELIVERY-35: what an agent writes names nobody and closes nothing", async () => {
    const words = "Does not close #1. Fixes #2, thanks @mallory and &#64;acme/team.";
    const says = [
      [
        { do: "edit", path: "greet.txt", append: "x\n" },
        { do: "say", text: words },
      ],
    ] as const;
    await using world = await deliveryWorld({
      issues: { default: says },
      delivery: '  commit_template: "{{ issue.title }}: {{ work.summary }}"',
    });
    const { github } = world;
    const states = () =>
      Promise.all(
        [1, 2].map(async (at) => (await world.rest(`GET /repos/acme/app/issues/${at}`)).state),
      );
    for (const issue of [1, 2]) await github.act({ do: "reopen", as: "grace", issue });
    const before = await states();
    await world.create("Fix #1 for @mallory");
    await world.serve();
    const { delivery } = await world.until(
      "it is open",
      (found) => found.delivery?.pull_request != null,
    );
    const number = delivery?.pull_request?.number;
    await github.act({ do: "comment", as: "grace", issue: number, body: "Why?" });
    const answers = await world.answered(number ?? 0, 1);
    const [pull] = await world.pulls();
    const commits = (await world.rest(`GET /repos/acme/app/pulls/${number}/commits`)) as {
      commit: { message: string };
    }[];
    const texts = [
      pull?.title,
      pull?.body,
      answers[0]?.body,
      ...commits.map(({ commit }) => commit.message),
    ];
    for (const text of texts) {
      assert.doesNotMatch(text ?? "", /(^|[^`\w])@\w|&#64;|(close|fix)e?s? #\d/i);
    }
    await github.act({ do: "merge", as: "grace", method: "squash" });
    await world.until("it is done", ({ issue }) => issue.state === "Done");
    assert.deepEqual(await states(), before);
  });

  test("DELIVERY-14: a bot that always finds something new is heard so often and then held with its last word", async () => {
    await using world = await deliveryWorld({
      ...one,
      delivery: '  max_rounds: 2\n  feedback_from: ["symphony[bot]"]',
    });
    const { github } = world;
    const number = await reviewed(world);
    const comment = (body: string) =>
      github.act({ do: "comment", as: "symphony[bot]", issue: number, body });
    await comment("nit 1");
    await world.offered(2);
    await world.crash();
    await comment("nit 2");
    await world.offered(3);
    await comment("nit 3");
    const reason = await heldFor(world);
    assert.match(reason, /^2 rounds of feedback without a word of a person .*nit 3/);
    const { issue } = await world.detail();
    assert.equal(issue.state, "In Review");
    const again = await world.symphony("deliver", "LOCAL-1");
    assert.equal(again.code, 0, again.stderr);
    await world.offered(4);
    assert.match(told(world).at(-1) ?? "", /nit 3/, "by hand there is a new allowance of rounds");
    await github.act({ do: "comment", as: "grace", issue: number, body: "Skip the nits." });
    await world.offered(5);
    assert.match(told(world).at(-1) ?? "", /Skip the nits\./);
  });

  test("DELIVERY-36: the text stands in the repository's own template, and commits are signed off", async () => {
    await using world = await deliveryWorld({
      ...one,
      delivery: "  sign_off: true\n  author: { name: symphony, email: bot@example.com }",
    });
    const { github } = world;
    const frame = "## What\n<!-- say it -->\n\n## Checklist\n- [ ] tests\n";
    const files = { ".github/PULL_REQUEST_TEMPLATE.md": frame };
    await github.act({ do: "push", as: "grace", branch: "main", files });
    const number = await reviewed(world);
    const [pull] = await world.pulls();
    assert.match(
      pull?.body ?? "",
      /## What\n<!-- say it -->\n\n.*Mended\.[^#]*Issue: LOCAL-1[^#]*## Checklist\n- \[ \] tests/s,
    );
    const commits = (await world.rest(`GET /repos/acme/app/pulls/${number}/commits`)) as {
      commit: { message: string };
    }[];
    assert.deepEqual(
      commits.map(({ commit }) => commit.message.trim().split("\n").slice(-2)),
      [["Issue: LOCAL-1", "Signed-off-by: symphony <bot@example.com>"]],
    );
  });

  test("DELIVERY-23, DELIVERY-25: a draft that a person made and a base that a person set are holds on merging, and are not undone", async () => {
    await using world = await deliveryWorld({
      ...one,
      delivery: "  merge: when_approved",
      github: { ci: "auto" },
    });
    const { github } = world;
    const number = await reviewed(world);
    const [{ node_id: id } = { node_id: "" }] = (await world.rest(
      "GET /repos/acme/app/pulls?state=open",
    )) as { node_id: string }[];
    const change = (name: string) =>
      github.act({
        as: "grace",
        graphql: `mutation { ${name}(input: { pullRequestId: "${id}" }) { clientMutationId } }`,
      });
    await change("convertPullRequestToDraft");
    await waits(world, /a person to mark it as ready/);
    await github.act({ do: "comment", as: "grace", issue: number, body: "And this" });
    await world.offered(2);
    await github.act({ do: "review", as: "grace", event: "approve" });
    await waits(world, /a person to mark it as ready/);
    assert.equal((await world.pulls())[0]?.draft, true);
    const { sha } = await world.rest("GET /repos/acme/app/commits/main");
    const release = { ref: "refs/heads/release", sha };
    await world.rest("POST /repos/acme/app/git/refs", release);
    const files = { "release.txt": "1.0\n" };
    const tip = await github.act({ do: "push", as: "ada", branch: "release", files });
    await world.rest(`PATCH /repos/acme/app/pulls/${number}`, { base: "release" }, "grace");
    await change("markPullRequestReadyForReview");
    // The new base is merged in without a turn, and checked; the approval was one of another change.
    await waits(world, /^a review of its change to release$/);
    assert.ok(world.has(tip.sha));
    assert.match((await world.symphony("explain", "LOCAL-1")).stdout, /its change to release/);
    await github.act({ do: "review", as: "grace", event: "approve" });
    await world.until("it is merged", ({ issue }) => issue.state === "Done");
    assert.equal((await world.attempts()).length, 2);
  });

  test("DELIVERY-16, DELIVERY-18: what each conclusion, commit status and unstarted workflow means is shown, and a failure becomes a turn", async () => {
    await using world = await deliveryWorld({ ...one, github: { ci: "none" } });
    const { github } = world;
    await reviewed(world);
    const check = (name: string, conclusion: string) =>
      github.act({ do: "check", name, conclusion });
    const status = (state: string, description = "") =>
      github.act({ do: "commit-status", context: "ci/old", state, description });
    const inbox = async () =>
      JSON.parse((await world.symphony("inbox", "--json")).stdout).items as readonly {
        prompt: string;
        next: string | null;
      }[];
    // A token may not run a check of an app again, nor a run that is too old.
    for (const operation of ["checks/rerequest-run", "actions/re-run-workflow"]) {
      const match = { operation };
      github.faults.add({ kind: "status", status: 403, message: "No.", match, times: 99 });
    }

    await check("lint", "neutral");
    await check("docs", "skipped");
    const passed = await world.until("it passed", ({ delivery }) => {
      return delivery?.pull_request?.checks === "passed";
    });
    assert.equal(passed.delivery?.waiting_for, "a review");
    await status("pending");
    const open = await waits(world, /^the check ci\/old$/);
    assert.deepEqual(
      [open.delivery?.pull_request?.checks, open.delivery?.needs_person],
      ["running", false],
    );
    await status("error", "The disk is full");
    await world.offered(2);
    assert.match(
      told(world).at(-1) ?? "",
      /The check "ci\/old" failed on \w+\.[>\s]+The disk is full/,
    );

    await check("deploy", "action_required");
    const asks = await waits(world, /^a person to allow the check deploy$/);
    assert.equal(asks.delivery?.needs_person, true);
    assert.match((await inbox())[0]?.prompt ?? "", /waits for a person to allow the check deploy/);
    await check("build", "timed_out");
    await world.offered(3);
    assert.match(
      told(world).at(-1) ?? "",
      /"build" failed [^.]*\.[>\s]+Its conclusion is timed_out\./,
    );

    // A workflow file that GitHub cannot read: a run without a job, so without a check run.
    await github.act({ do: "ci-mode", ci: { jobs: [] } });
    const unstarted = async (conclusion: string) => {
      await github.act({ do: "ci" });
      const run = github.world.repo("acme", "app").runs.at(-1) ?? {};
      Object.assign(run, { status: "completed", conclusion });
    };
    await unstarted("startup_failure");
    await world.offered(4);
    assert.match(
      told(world).at(-1) ?? "",
      /"CI" failed [^.]*\.[>\s]+No job of this workflow began/,
    );

    await unstarted("stale");
    assert.match(await heldFor(world), /^the check CI was cancelled or given up, /);
    const [item] = await inbox();
    assert.equal(item?.next, "symphony transition LOCAL-1 queued");
    assert.equal((await world.attempts()).length, 4);
  });

  test("DELIVERY-2, DELIVERY-8, DELIVERY-10, DELIVERY-34: our pull request and no other, each comment once, over restarts and edits", async () => {
    await using world = await deliveryWorld(one);
    const { github } = world;
    await github.act({ as: "margaret", rest: "POST /repos/acme/app/forks" });
    const push = { do: "push", as: "margaret", repo: "margaret/app", branch };
    await github.act({ ...push, files: { "a.txt": "x\n" } });
    const mine = { title: "Mine", head: `margaret:${branch}`, base: "main", body: "" };
    const open = { as: "margaret", rest: "POST /repos/acme/app/pulls", body: mine };
    const theirs = (await github.act(open)).body.number;
    const number = await reviewed(world);
    assert.notEqual(number, theirs);
    const edit = { title: "Ours", body: "Our words" };
    await world.rest(`PATCH /repos/acme/app/pulls/${number}`, edit, "grace");
    const comment = (body: string, as = "grace", issue = number) =>
      github.act({ do: "comment", as, issue, body });
    await comment("word-X", "grace", theirs);
    await comment("word-A");
    await world.offered(2);
    await world.server.stop();
    await comment("word-B");
    await comment("word-C");
    await world.serve();
    await world.offered(3);
    // GitHub lists a hundred on one page.
    for (let at = 0; at < 101; at++) await comment(`+${at}`, "margaret");
    await comment("word-D");
    await world.offered(4);
    const all = told(world);
    for (const word of ["word-A", "word-B", "word-C", "word-D"]) {
      assert.equal(all.filter((text) => text.includes(word)).length, 1, word);
    }
    assert.doesNotMatch(all.join(), /word-X|\+1/);
    await world.once({ number, answers: 4, attempts: 4 });
    const [pull] = await world.pulls();
    assert.deepEqual([pull?.title, pull?.body], ["Ours", "Our words"]);
  });

  test("DELIVERY-4: closed by a person is a no, until a person says otherwise; merged by another way it is said", async () => {
    await using world = await deliveryWorld({
      issues: { default: [[{ do: "edit", path: "greet.txt", content: "hi\n" }]] },
    });
    const number = await reviewed(world);
    const close = () =>
      world.rest(`PATCH /repos/acme/app/pulls/${number}`, { state: "closed" }, "grace");
    await close();
    assert.match(
      await heldFor(world),
      /^pull request #\d+ was closed by grace; next: .*symphony deliver LOCAL-1 to open it again/,
    );
    await world.symphony("issue", "edit", "LOCAL-1", "--title", "Greet everybody");
    await delay(1_500);
    assert.equal((await world.attempts()).length, 1);
    const delivered = await world.symphony("deliver", "LOCAL-1");
    assert.equal(delivered.code, 0, delivered.stderr);
    const [pull] = await world.pulls();
    assert.deepEqual([pull?.number, pull?.state], [number, "open"]);
    await world.until("it is in review again", ({ status }) => status === "review");
    const same = { "greet.txt": "hi\n" };
    await world.github.act({ do: "push", as: "grace", branch: "main", files: same });
    // The edit made a turn when the work was offered again, and that is pushed too.
    const isPushed = () => world.server.log.match(/is pushed to hello/g)?.length === 3;
    await eventually("it is pushed again", async () => isPushed());
    await world.github.act({ do: "delete-branch", as: "grace", branch });
    assert.match(await heldFor(world), /was closed by grace, and main has its content; next: /);
    const { delivery } = await world.detail();
    assert.deepEqual([delivery?.needs_person, delivery?.pull_request?.state], [true, "closed"]);
    const inbox = JSON.parse((await world.symphony("inbox", "--json")).stdout);
    assert.equal(inbox.items[0].next, "symphony transition LOCAL-1 completed");
    assert.equal((await world.pulls()).length, 1);
    // By hand the branch is made again, and a new pull request where the site does not open the first one.
    const again = await world.symphony("deliver", "LOCAL-1");
    assert.equal(again.code, 0, again.stderr);
    await world.until("it is in review again", ({ status }) => status === "review");
    const states = (await world.pulls()).map((one) => [one.number > number, one.state]);
    assert.deepEqual(states.sort(), [
      [false, "closed"],
      [true, "open"],
    ]);
  });

  test("delivery: a repository that is renamed in mid-delivery is followed, by git and a large commit too, and its webhooks by its new name are taken", async () => {
    const large = { do: "run", command: "head -c 3000000 /dev/urandom > large.bin" } as const;
    const secret = "a secret of webhooks";
    await using world = await deliveryWorld({
      issues: { default: [turn, [large, ...turn]] },
      // What follows comes by webhooks.
      pollMs: 3_600_000,
      env: { GITHUB_WEBHOOK_SECRET: secret },
    });
    const { github } = world;
    const number = await reviewed(world);
    world.hook(secret);
    await github.act({ do: "rename", name: "better" });
    world.repository = "better";
    await github.act({ do: "comment", as: "grace", repo: "acme/better", issue: number, body: "?" });
    await world.offered(2);
    await world.create("Another one");
    await world.offered(1, "LOCAL-2", "symphony/LOCAL-2-another-one");
    const dry = await world.symphony("serve", world.place.workflowPath, "--dry-run");
    assert.equal(dry.code, 0);
    const said =
      "acme/app is acme/better now; next: write acme/better instead of acme/app in the url";
    assert.ok(dry.stderr.includes(`${said} of hello in git.repositories`), dry.stderr);
    await github.act({ do: "merge", as: "grace", repo: "acme/better", pr: number });
    await world.until("it is done", ({ status }) => status === "completed");
  });

  test("delivery: the token of an app reads a private repository too, and may end between two rounds", async () => {
    await using world = await deliveryWorld({ ...one, app: true, github: { appTokenMs: 2_000 } });
    const number = await reviewed(world);
    const minted = () =>
      world.github.requests.filter(({ operation }) => /create-installation-access/.test(operation));
    const before = minted().length;
    await world.github.act({ do: "comment", as: "grace", issue: number, body: "Why?" });
    await world.offered(2);
    assert.ok(minted().length > before);
    await world.github.act({ do: "merge", as: "grace", pr: number });
    await world.until("it is done", ({ status }) => status === "completed");
  });

  test("DELIVERY-39: a locked conversation and an archived repository are final and said; others continue", async () => {
    await using world = await deliveryWorld(one);
    const { github } = world;
    const number = await reviewed(world);
    const message = "Unable to create comment because issue is locked.";
    for (const operation of ["issues/create-comment", "pulls/create-reply-for-review-comment"])
      github.faults.add({ kind: "status", status: 403, message, match: { operation } });
    const comments = [{ path: "greet.txt", line: 1, body: "Whom?" }];
    await github.act({ do: "review", as: "grace", event: "comment", body: "Why?", comments });
    const said = await world.until("it says so", ({ delivery }) => delivery?.problem != null);
    assert.match(
      said.delivery?.problem ?? "",
      /issue is locked.*; next: symphony deliver LOCAL-1$/,
    );
    await world.create("Another one");
    await world.offered(1, "LOCAL-2", "symphony/LOCAL-2-another-one");
    await world.symphony("deliver", "LOCAL-1");
    const answers = await world.answered(number, 2);
    assert.equal(answers.filter((one) => one.in_reply_to_id !== undefined).length, 1);
    assert.equal((await world.detail()).delivery?.problem, null);

    await github.act({ do: "settings", settings: { archived: true } });
    await world.crash();
    await eventually("it is logged", async () => /acme\/app is archived/.test(world.server.log));
    const dry = await world.symphony("serve", world.place.workflowPath, "--dry-run");
    assert.match(dry.stderr, /no pull requests for hello: acme\/app is archived; unarchive it/);
    assert.equal(dry.code, 0);
    await github.act({
      do: "push-rule",
      message: "This repository was archived so it is read-only.",
    });
    await world.create("A third one");
    const third = await world.until(
      "refused",
      (found) => found.delivery?.problem != null,
      "LOCAL-3",
    );
    assert.match(
      third.delivery?.problem ?? "",
      /^push refused: .*; next: symphony deliver LOCAL-3$/,
    );
    assert.ok(world.hasWorkspace("LOCAL-3"));
  });
});
