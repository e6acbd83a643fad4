import assert from "node:assert/strict";
import { exec } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import {
  branch,
  type DeliveryWorld,
  deliveryWorld,
  round,
} from "../support/worlds/delivery-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const rounds = {
  "LOCAL-1": [
    round("greet.txt", "greet.txt greets."),
    round("greet.txt", "[1] It says why now."),
    round("greet.txt", "[1] And more."),
  ],
};

/** A world whose first pull request is open, with its number. */
async function reviewed(world: DeliveryWorld): Promise<number> {
  await world.create();
  await world.serve();
  return (await world.offered(1)).delivery?.pull_request?.number ?? 0;
}

/** The faults that were armed and have met no request. */
function unfired({ github }: DeliveryWorld): readonly string[] {
  return github.faults.list.filter(({ matched }) => matched === 0).map(({ kind }) => kind);
}

async function problem(world: DeliveryWorld): Promise<string> {
  const { delivery } = await world.until("a problem", (one) => one.delivery?.problem != null);
  return delivery?.problem ?? "";
}

describe("delivery when the site fails", { concurrency: 2 }, () => {
  test("delivery: lost, half and failed answers lead to one branch, one pull request and one answer", async () => {
    await using world = await deliveryWorld({ issues: rounds, github: { mergeableMs: 3_000 } });
    const { github } = world;
    await world.create();
    github.faults.add({ kind: "lost", match: { operation: "git-receive-pack" } });
    github.faults.add({ kind: "lost", match: { operation: "pulls/create" } });
    github.faults.add({ kind: "status", status: 502, match: { operation: "pulls/list" } });
    await world.serve();
    // What was lost is tried again after a minute, or by hand.
    const said = await eventually("the pull request", async () => {
      const found = await world.detail();
      if (found.delivery?.problem) await world.symphony("deliver", "LOCAL-1");
      return found.delivery?.pull_request ? found : undefined;
    });
    const number = said.delivery?.pull_request?.number ?? 0;
    assert.deepEqual(unfired(world), []);
    github.faults.add({ kind: "half", match: { operation: "pulls/get" } });
    github.faults.add({
      kind: "lost",
      match: { operation: "pulls/create-reply-for-review-comment" },
    });
    await github.act({
      ...{ do: "review", as: "grace", event: "comment", body: "" },
      comments: [{ path: "greet.txt", line: 1, body: "Why?" }],
    });
    await world.offered(2);
    await eventually("the answer is recorded", async () => {
      const { delivery } = await world.detail();
      if (delivery?.problem) await world.symphony("deliver", "LOCAL-1");
      return (await world.answers(number)).length === 1 && delivery?.problem === null;
    });
    assert.deepEqual(unfired(world), []);
    await world.once({ number, answers: 1, attempts: 2 });
  });

  test("DELIVERY-3: a secondary limit writes nothing, ends nothing, and the last facts stay with their age", async () => {
    await using world = await deliveryWorld({ issues: rounds });
    const { github } = world;
    await reviewed(world);
    github.faults.add({ kind: "secondary", retryAfter: 3, times: 50, match: { method: "GET" } });
    const before = await world.detail();
    await github.act({
      do: "comment",
      as: "grace",
      issue: before.delivery?.pull_request?.number,
      body: "Why?",
    });
    await eventually("it waits", async () => /rate limit/.test(world.server.log));
    assert.deepEqual(unfired(world), []);
    const during = await world.detail();
    assert.deepEqual(during.delivery?.pull_request, before.delivery?.pull_request);
    assert.equal(during.status, "review");
    github.configure({ clear: true });
    await world.offered(2);
  });

  test("delivery: a token that is revoked in mid-run is said with the command that mends it, and a new one is used at once", async () => {
    const long = [
      [{ do: "sleep", ms: 3_000 }, ...round("greet.txt", "greet.txt greets.")],
    ] as const;
    await using world = await deliveryWorld({ issues: { "LOCAL-1": long } });
    const { github } = world;
    await world.create();
    await world.serve();
    await eventually("it runs", async () => /msg="turn started"/.test(world.server.log));
    await github.act({ do: "revoke-token", as: "symphony-bot" });
    assert.match(
      await problem(world),
      /^push refused: .*; next: symphony secrets add GITHUB_TOKEN, then symphony deliver LOCAL-1$/,
    );
    assert.ok(world.hasWorkspace());
    const dry = await world.symphony("serve", world.place.workflowPath, "--dry-run");
    assert.match(
      dry.stderr,
      /Bad credentials.*; store another token: symphony secrets add GITHUB_TOKEN/,
    );
    const { token } = await github.act({ do: "token", as: "symphony-bot" });
    const added = await world.typed(token, "secrets", "add", "GITHUB_TOKEN");
    assert.equal(added.code, 0, added.stderr);
    const delivered = await world.symphony("deliver", "LOCAL-1");
    assert.equal(delivered.code, 0, delivered.stderr);
    await world.offered(1);
    assert.doesNotMatch(world.server.log, new RegExp(token));
  });

  test("delivery: protected branches and rules are final, and the work is kept", async () => {
    await using world = await deliveryWorld({ issues: rounds });
    const { github } = world;
    await world.create();
    await github.act({ do: "push-rule", message: "Push cannot contain secrets" });
    await world.serve();
    const said = await problem(world);
    assert.match(said, /^push refused: .*GH013.*; next: symphony deliver LOCAL-1$/);
    const pushes = () =>
      github.requests.filter(({ operation }) => operation === "git-receive-pack").length;
    const before = pushes();
    assert.ok(world.hasWorkspace());
    await github.act({ do: "push-rule", message: null });
    assert.equal((await world.detail()).delivery?.problem, said, "it is not tried again by itself");
    assert.equal(pushes(), before);
    const delivered = await world.symphony("deliver", "LOCAL-1");
    assert.equal(delivered.code, 0, delivered.stderr);
    await world.offered(1);
  });

  test("delivery: GH006, a protected branch, is final until it is delivered by hand", async () => {
    await using world = await deliveryWorld({ issues: rounds });
    const { github } = world;
    await world.create();
    const message = `error: GH006: Protected branch update failed for refs/heads/${branch}.`;
    github.faults.add({ kind: "push_refused", message, reason: "protected branch hook declined" });
    await world.serve();
    const said = await problem(world);
    assert.match(said, /^push refused: .*GH006.*; next: symphony deliver LOCAL-1$/);
    assert.deepEqual(unfired(world), []);
    const pushes = () =>
      github.requests.filter(({ operation }) => operation === "git-receive-pack").length;
    const before = pushes();
    assert.ok(world.hasWorkspace());
    // A restart tries again what waits for a later time; this does not.
    await world.crash();
    assert.equal((await world.detail()).delivery?.problem, said);
    assert.equal(pushes(), before);
    const delivered = await world.symphony("deliver", "LOCAL-1");
    assert.equal(delivered.code, 0, delivered.stderr);
    await world.offered(1);
  });

  test("delivery: no right to push and another site are said at the start and in the dry run, each with what mends it", async () => {
    await using world = await deliveryWorld({ issues: rounds });
    const { place, github } = world;
    const reader = github.describe().tokens["margaret"] ?? "";
    const asReader = { ...place, env: { ...place.env, GITHUB_TOKEN: reader } };
    const noRight =
      /no pull requests for hello: margaret, the user of the token, may not push to acme\/app; give it write access, or another token: symphony secrets add GITHUB_TOKEN/;
    const text = await readFile(place.workflowPath, "utf8");
    const elsewhere = text.replace(github.api, "https://github.example.org/api/v3");
    assert.notEqual(elsewhere, text);
    const otherSite =
      /no pull requests for hello: http:\S+ is not at the site of delivery\.github; set delivery\.github\.base_url, or delivery\.mode: branch/;
    const onlyBranch = text.replace("mode: pull_request", "mode: branch");
    const noPush =
      /pushes to hello would be refused: .*Permission to acme\/app\.git denied to margaret\..*; next: symphony secrets add GITHUB_TOKEN/;
    for (const [file, env, said] of [
      [text, asReader, noRight],
      [elsewhere, place, otherSite],
      // Where nothing but a branch is delivered, git is asked, with the credential of the address.
      [onlyBranch, asReader, noPush],
    ] as const) {
      await writeFile(place.workflowPath, file);
      const dry = await symphony(env, "serve", place.workflowPath, "--dry-run");
      assert.equal(dry.code, 0, dry.stderr);
      assert.match(dry.stderr, said);
      await using server = await Served.start(env);
      await eventually("the server says it", async () => said.test(server.log));
    }
  });

  test("delivery: with merge: when_approved exactly the reviewed head is merged", async () => {
    await using world = await deliveryWorld({
      issues: rounds,
      delivery: "  merge: when_approved",
      github: { ci: "auto" },
    });
    const { github } = world;
    const number = await reviewed(world);
    await github.act({ do: "review", as: "grace", event: "approve" });
    await world.until("it is done", ({ issue }) => issue.state === "Done");
    const [pull] = await world.pulls();
    assert.equal(pull?.number, number);
    assert.ok(pull?.merged_at);
    assert.equal(github.requests.filter(({ operation }) => operation === "pulls/merge").length, 1);
  });

  test("DELIVERY-15: what a person pushed to the branch is kept, judged apart, and said with who and what", async () => {
    await using world = await deliveryWorld({
      issues: rounds,
      delivery: "  merge: when_approved",
      github: { ci: "manual" },
    });
    const { github } = world;
    const number = await reviewed(world);
    await github.act({ do: "ci", conclusion: "success" });
    await world.until("checks pass", ({ delivery }) => delivery?.pull_request?.checks === "passed");
    const files = { "a.txt": "x\n" };
    const { sha } = await github.act({ do: "push", as: "grace", files, message: "Mend a typo" });
    await github.act({ do: "ci", conclusion: "failure" });
    await github.act({ do: "review", as: "grace", event: "approve" });
    const seen = await world.until("it is seen", ({ delivery }) =>
      /not by symphony/.test(delivery?.waiting_for ?? ""),
    );
    assert.equal(seen.delivery?.pull_request?.checks, "unknown");
    assert.equal((await world.attempts()).length, 1);
    await github.act({ do: "comment", as: "grace", issue: number, body: "Why?" });
    const held = await world.until("it is held", ({ status }) => status === "held");
    const said = held.delivery?.problem ?? "";
    assert.match(
      said,
      /^push refused: \w{10} \(Grace Hopper, "Mend a typo"\) was pushed to symphony/,
    );
    const [, pull = ""] =
      /; next: (git -C \S+ pull .*), then symphony transition LOCAL-1 queued$/.exec(said) ?? [];
    assert.equal((await world.pulls())[0]?.head.sha, sha, "nothing is overwritten");
    // As the person who reads it, with access of their own.
    const access = `http://grace:${github.describe().tokens["grace"]}@`;
    const who = "-c user.name=Grace -c user.email=grace@acme.test";
    await promisify(exec)(pull.replace("git ", `git ${who} `).replace("http://", access));
    const queued = await world.symphony("transition", "LOCAL-1", "queued");
    assert.equal(queued.code, 0, queued.stderr);
    await world.offered(4);
    const { delivery } = await world.detail();
    assert.equal(delivery?.problem, null);
    assert.ok(world.has(sha), "the person's commit is in the branch");
    await world.once({ number, answers: 1, attempts: null });
  });
});
