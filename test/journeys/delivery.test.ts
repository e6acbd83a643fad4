import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { mergingFile } from "../../src/core/workspace/place.ts";
import {
  type DeliveryProject,
  deliveryProject,
  greet,
} from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

async function create(place: DeliveryProject, title: string): Promise<void> {
  const made = await symphony(place, "issue", "create", "--title", title);
  assert.equal(made.code, 0, made.stderr);
}

async function statusOf(server: Served, id: string) {
  return (await server.client.issues.detail({ params: { id } })).status;
}

const completed = (server: Served) =>
  eventually("it is completed", async () => (await statusOf(server, "LOCAL-1")) === "completed");

const pushed = (server: Served, id = "LOCAL-1") =>
  eventually(`${id} is pushed`, async () => {
    const { delivery } = await server.client.issues.detail({ params: { id } });
    return delivery?.pushed;
  });

const branch = "symphony/LOCAL-1-greet-people-by-name";

test("delivery: what an agent left is committed and pushed, waits in review, and is done once it is merged", async () => {
  const states = "  active_states: [Todo, In Progress]\n  provider: { states: [In Review] }";
  await using place = await deliveryProject({ tracker: states });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  const detail = await eventually("it is in review", async () => {
    const found = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return found.status === "review" && found.delivery?.pushed ? found : undefined;
  });
  assert.equal(detail.delivery?.branch, branch);
  const log = gitIn(place.bare)("log", "-1", "--format=%B", branch);
  assert.match(log, /^Greet people by name\n\nIssue: LOCAL-1$/m);
  assert.equal(gitIn(place.bare)("show", `${branch}:greet.sh`), 'echo "Hello, $1!"');
  assert.equal(gitIn(place.workspace("LOCAL-1"))("status", "--porcelain"), "");
  assert.match(gitIn(place.workspace("LOCAL-1"))("log", "--format=%s"), /^Greet people by name\n/);
  await eventually("it is moved", async () => {
    const { issue } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return issue.state === "In Review";
  });
  const state = await symphony(place, "state");
  assert.match(state.stdout, /LOCAL-1 +review/);
  assert.match(state.stdout, /waits for a person to merge/);
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.equal(attempts.length, 1, "no poll starts it again");
  gitIn(place.bare)("update-ref", "refs/heads/main", branch);
  const delivered = await symphony(place, "deliver", "LOCAL-1");
  assert.equal(delivered.code, 0, delivered.stderr);
  await completed(server);
  await eventually(
    "its workspace is released",
    async () => !existsSync(place.workspace("LOCAL-1")),
  );
  const diff = await symphony(place, "diff", "LOCAL-1");
  assert.match(diff.stdout, /^\+echo "Hello, \$1!"$/m, "also after the end");
  await eventually("it is Done in the tracker", async () => {
    const { issue } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return issue.state === "Done";
  });
});

test("delivery: symphony refresh looks at delivered branches too, and does not wait for their interval", async () => {
  await using place = await deliveryProject({ delivery: "  poll_interval_ms: 3600000" });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  await pushed(server);
  gitIn(place.bare)("update-ref", "refs/heads/main", branch);
  const refreshed = await symphony(place, "refresh", "--wait");
  assert.equal(refreshed.code, 0, refreshed.stderr);
  await completed(server);
});

/** A file that the people of the repository keep in git LFS. */
function putInLfs(place: DeliveryProject, name: string, content: string): void {
  const seed = join(place.root, "repository/seed");
  const git = gitIn(seed);
  git("lfs", "install", "--local");
  writeFileSync(join(seed, ".gitattributes"), `${name} filter=lfs diff=lfs merge=lfs -text\n`);
  writeFileSync(join(seed, name), content);
  git("add", "-A");
  git("commit", "-q", "-m", name);
  git("remote", "add", "origin", place.bare);
  git("push", "-q", "origin", "main");
}

test("delivery: an agent that closes its issue itself has its branch pushed, with its contents of git LFS, before its workspace goes", async (t) => {
  const closing = [
    [
      ...greet,
      { do: "edit", path: "art.bin", content: "newer\n" },
      { do: "tool", name: "issue_move", arguments: { state: "Done" } },
    ],
  ] as const;
  const isLfs = process.env["CI"] || spawnSync("git-lfs", ["version"]).status === 0;
  const repository = isLfs ? "      lfs: true" : "";
  await using place = await deliveryProject({ issues: { "LOCAL-1": closing }, repository });
  if (isLfs) putInLfs(place, "art.bin", "older\n");
  // The operator's own git signs each commit, with a program that is not there.
  const signs = "[commit]\n\tgpgsign = true\n[gpg]\n\tprogram = /nonexistent/gpg\n";
  writeFileSync(join(place.root, ".gitconfig"), signs);
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  await completed(server);
  await eventually(
    "its workspace is released",
    async () => !existsSync(place.workspace("LOCAL-1")),
  );
  assert.equal(gitIn(place.bare)("show", `${branch}:greet.sh`), 'echo "Hello, $1!"');
  if (!isLfs) return t.diagnostic("git-lfs is missing: without a file of git LFS");
  assert.match(
    gitIn(place.bare)("show", `${branch}:art.bin`),
    /^oid sha256:[0-9a-f]{64}\nsize 6$/m,
  );
  gitIn(place.root)("clone", "-q", "--branch", branch, place.bare, "person");
  const person = gitIn(join(place.root, "person"));
  person("lfs", "install", "--local");
  person("lfs", "pull");
  assert.equal(readFileSync(join(place.root, "person/art.bin"), "utf8"), "newer\n");
});

test("DELIVERY-36: what cannot be signed is not committed and held with what to type; mended, it is signed and pushed without a turn", async (t) => {
  if (!process.env["CI"] && spawnSync("ssh-keygen", ["-?"]).error !== undefined)
    return t.skip("ssh-keygen is missing");
  await using place = await deliveryProject({
    delivery: "  poll_interval_ms: 1000\n  sign_commits: true",
  });
  const key = join(place.root, "key");
  const settings = `[gpg]\n\tformat = ssh\n[user]\n\tsigningkey = ${key}.pub\n`;
  writeFileSync(join(place.root, ".gitconfig"), settings);
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  await eventually("it is held", async () => (await statusOf(server, "LOCAL-1")) === "held");
  const { held } = await server.client.system.state({});
  assert.match(held[0]?.reason ?? "", /cannot be signed: .*; next: .*symphony deliver LOCAL-1$/);
  const tooSoon = await symphony(place, "deliver", "LOCAL-1");
  assert.equal(tooSoon.code, 7, tooSoon.stderr);
  assert.match(tooSoon.stderr, /cannot be signed: .*; next: .*symphony deliver LOCAL-1$/m);
  assert.equal(gitIn(place.bare)("branch", "--list", "symphony/*"), "");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  const delivered = await symphony(place, "deliver", "LOCAL-1");
  assert.equal(delivered.code, 0, delivered.stderr);
  const found = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.deepEqual([found.status, found.delivery?.pushed], ["review", found.delivery?.head]);
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.equal(attempts.length, 1, "no turn");
  const commit = gitIn(place.bare)("cat-file", "commit", branch);
  assert.match(commit, /^gpgsig -----BEGIN SSH SIGNATURE-----$/m);
});

test("delivery.checks: the third red one holds the issue with what it printed; mended in the workspace, it is delivered without a turn", async (t) => {
  if (!process.env["CI"] && spawnSync("bwrap", ["--version"]).status !== 0)
    return t.skip("bubblewrap is missing");
  const counted = [{ do: "tokens", input: 100, output: 20 }, ...greet] as const;
  await using place = await deliveryProject({
    issues: { "LOCAL-1": [counted, counted, counted, counted] },
    delivery: `  poll_interval_ms: 1000
  checks: ["grep -q tested one.txt || { echo not ok 7 - one is untested; exit 1; }"]`,
  });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  await eventually("it is held", async () => (await statusOf(server, "LOCAL-1")) === "held");
  const explained = await symphony(place, "explain", "LOCAL-1");
  assert.match(
    explained.stdout.replaceAll(/\s+/g, " "),
    /the check `grep .*` fails \(delivery\.checks\): not ok 7 - one is untested; next: mend it in .*, then symphony deliver LOCAL-1, or symphony transition LOCAL-1 queued/,
  );
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.deepEqual(
    attempts.map(({ turn_count: turns }) => turns),
    [4],
    "the first turn and three that read the output",
  );
  assert.equal(gitIn(place.bare)("branch", "--list", "symphony/*"), "");
  const red = await symphony(place, "deliver", "LOCAL-1");
  assert.match(red.stderr, /not ok 7 - one is untested/);
  writeFileSync(join(place.workspace("LOCAL-1"), "one.txt"), "tested\n");
  const delivered = await symphony(place, "deliver", "LOCAL-1");
  assert.equal(delivered.code, 0, delivered.stderr);
  assert.equal(await statusOf(server, "LOCAL-1"), "review");
  assert.equal(gitIn(place.bare)("show", `${branch}:one.txt`), "tested");
  const after = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.equal(after.attempts.length, 1, "no turn");
  // What its agent counted in all of its turns led to work in review, and then to merged work.
  const spent = async () => {
    const used = await symphony(place, "usage", "--by", "template", "--outcome", "--json");
    return JSON.parse(used.stdout).rows.map(
      ({ key, outcome, tokens }: { key: string; outcome: string; tokens: object }) => [
        ...[key, outcome, tokens],
      ],
    );
  };
  const tokens = after.attempts[0]?.tokens;
  assert.equal(tokens?.total_tokens, 480);
  assert.deepEqual(await spent(), [["workflow", "in_review", tokens]]);
  gitIn(place.bare)("update-ref", "refs/heads/main", branch);
  await symphony(place, "deliver", "LOCAL-1");
  await eventually("it is merged", async () => (await statusOf(server, "LOCAL-1")) === "completed");
  assert.deepEqual(await spent(), [["workflow", "merged", tokens]]);
});

test("delivery: a turn that changed nothing holds its issue with what to do", async () => {
  await using place = await deliveryProject({
    issues: { "LOCAL-1": [[{ do: "say", text: "It greets already." }]] },
  });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  await eventually("it is held", async () => (await statusOf(server, "LOCAL-1")) === "held");
  const explained = await symphony(place, "explain", "LOCAL-1");
  assert.match(explained.stdout, /no_changes/);
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.deepEqual(
    attempts.map(({ status }) => status),
    ["no_changes"],
  );
  assert.equal(gitIn(place.bare)("branch", "--list", "symphony/*"), "");
});

test("delivery: a repository that git cannot use any more holds the issue after one attempt, with what to type", async () => {
  const broken: Readonly<Record<string, readonly [command: string, reason: RegExp]>> = {
    "LOCAL-1": ["rm -rf .git", /no repository of its own; next: mend the \.git of .*LOCAL-1/],
    "LOCAL-2": [
      "echo x > new.txt; find .git/objects -type f -delete",
      /nothing was committed: .*; next: mend the \.git of .*LOCAL-2/,
    ],
    "LOCAL-3": ["echo garbage > .git/HEAD", /no repository of its own; next: mend/],
    "LOCAL-4": [
      'rm -rf "$PWD"',
      /its workspace is gone, .*; next: symphony transition LOCAL-4 queued/,
    ],
  };
  const issues = Object.fromEntries(
    Object.entries(broken).map(([id, [command]]) => [id, [[{ do: "run", command } as const]]]),
  );
  await using place = await deliveryProject({ issues });
  for (const id of Object.keys(broken)) await create(place, `Break ${id}`);
  await using server = await Served.start(place);
  for (const [id, [, reason]] of Object.entries(broken)) {
    const held = await eventually(`${id} is held`, async () => {
      const state = await server.client.system.state({});
      return state.held.find(({ issue_identifier }) => issue_identifier === id);
    });
    assert.match(held.reason, reason);
    const { attempts } = await server.client.issues.attempts({ params: { id } });
    assert.deepEqual(
      attempts.map(({ turn_count }) => turn_count),
      [1],
    );
  }
});

test("delivery: a history of its own, which nothing could merge, is the agent's next turn", async () => {
  const commit = "git -c user.name=a -c user.email=a@b commit -q -m anew";
  const turns = [
    [
      {
        do: "run",
        command: `echo x > new.txt; git checkout -q --orphan fresh; git add -A; ${commit}`,
      },
    ],
    [{ do: "run", command: "git reset -q --soft symphony/LOCAL-1-start-anew" }],
  ] as const;
  await using place = await deliveryProject({ issues: { "LOCAL-1": turns } });
  await create(place, "Start anew");
  await using server = await Served.start(place);
  await pushed(server);
  const git = gitIn(place.bare);
  assert.ok(git("merge-base", "main", "symphony/LOCAL-1-start-anew"));
  assert.equal(git("show", "symphony/LOCAL-1-start-anew:new.txt"), "x");
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.deepEqual(
    attempts.map(({ turn_count }) => turn_count),
    [2],
  );
});

test("DELIVERY-27: work on two branches, or in a stash, holds its issue and is named; brought together it is delivered without a turn", async () => {
  const commit = "git add -A; git -c user.name=a -c user.email=a@b commit -q -m work";
  const run = (command: string) => [[{ do: "run", command }]] as const;
  const issues = {
    "LOCAL-1": run(`echo x > x; ${commit}; git checkout -q -b side HEAD~1; echo y > y; ${commit}`),
    "LOCAL-2": run("echo z >> one.txt; git -c user.name=a -c user.email=a@b stash -q"),
  };
  await using place = await deliveryProject({ issues });
  await create(place, "Apart");
  await create(place, "Stashed");
  await using server = await Served.start(place);
  const held = await eventually("both are held", async () => {
    const { held: all } = await server.client.system.state({});
    return all.length === 2 ? all.map(({ reason }) => reason).sort() : undefined;
  });
  assert.match(held[0] ?? "", /symphony\/LOCAL-1-apart has commits that the commit checked out/);
  assert.match(held[1] ?? "", /^nothing is offered: what was made is in a stash of its workspace/);
  assert.equal(gitIn(place.bare)("branch", "--list", "symphony/*"), "");
  const git = gitIn(place.workspace("LOCAL-1"));
  git("merge", "-q", "--no-edit", "symphony/LOCAL-1-apart");
  gitIn(place.workspace("LOCAL-2"))("stash", "pop", "-q");
  for (const [id, file] of [
    ["LOCAL-1", "symphony/LOCAL-1-apart:x"],
    ["LOCAL-2", "symphony/LOCAL-2-stashed:one.txt"],
  ] as const) {
    const { code, stderr } = await symphony(place, "deliver", id);
    assert.equal(code, 0, stderr);
    assert.match(gitIn(place.bare)("show", file), /[xz]$/);
    await eventually("it is in review", async () => (await statusOf(server, id)) === "review");
  }
});

test("delivery: a file with a secret is not pushed; the issue is held with its path, and the file stays", async () => {
  const leak = [
    [{ do: "edit", path: ".env", content: "TOKEN=canary-6f1d2c3b4a\n" }, ...greet],
  ] as const;
  await using place = await deliveryProject({
    issues: { "LOCAL-1": leak },
    env: { DEPLOY_TOKEN: "canary-6f1d2c3b4a" },
  });
  await create(place, "Greet people by name");
  await using server = await Served.start(place);
  await eventually("it is held", async () => (await statusOf(server, "LOCAL-1")) === "held");
  const { held } = await server.client.system.state({});
  assert.match(held[0]?.reason ?? "", /\.env \(secret/);
  assert.doesNotMatch(JSON.stringify(held), /canary/);
  assert.ok(existsSync(join(place.workspace("LOCAL-1"), ".env")));
  assert.equal(gitIn(place.bare)("branch", "--list", "symphony/*"), "");
});

test("delivery: two issues that change the same line: the second branch becomes a merge after one turn", async () => {
  const change = (word: string) =>
    [
      { do: "edit", path: "one.txt", content: `${word}\n` },
      { do: "say", text: word },
    ] as const;
  await using place = await deliveryProject({
    issues: { "LOCAL-1": [change("first")], "LOCAL-2": [change("second"), change("both")] },
  });
  await using server = await Served.start(place);
  for (const [id, title] of [
    ["LOCAL-1", "First"],
    ["LOCAL-2", "Second"],
  ] as const) {
    await create(place, title);
    await pushed(server, id);
  }
  await eventually("the conflict is told", async () => {
    const { conflicts } = await server.client.system.state({});
    return conflicts.length === 1;
  });
  const listed = await symphony(place, "conflicts");
  assert.match(listed.stdout, /conflict +LOCAL-1 +1 +LOCAL-2 +1 +one\.txt/, listed.stderr);
  const state = await symphony(place, "state");
  assert.match(state.stdout, /LOCAL-2 conflicts with LOCAL-1 in one\.txt/);
  const git = gitIn(place.bare);
  const [first, second] = ["symphony/LOCAL-1-first", "symphony/LOCAL-2-second"];
  const before = git("rev-parse", second);
  git("update-ref", "refs/heads/main", first);
  await eventually("the second branch has both", async () => git("rev-parse", second) !== before);
  assert.equal(git("log", "-1", "--format=%P", second), `${before} ${git("rev-parse", first)}`);
  assert.equal(git("show", `${second}:one.txt`), "both");
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-2" } });
  assert.equal(attempts.length, 2, "once for this head and base");
  const heard = await symphony(place, "events", "--type", "feedback.received", "--json");
  assert.match(heard.stdout, /The branch conflicts with main/);
  const told = await symphony(place, "events", "--type", "conflict.found", "--json");
  assert.equal(told.stdout.trim().split("\n").length, 1, told.stdout);
  await eventually("the conflict is over", async () => {
    const { conflicts } = await server.client.system.state({});
    return conflicts.length === 0;
  });
});

test("delivery.conflicts order: the second branch is pushed after the first is merged, with both changes", async () => {
  const change = (word: string) =>
    [
      { do: "edit", path: "one.txt", content: `${word}\n` },
      { do: "say", text: word },
    ] as const;
  await using place = await deliveryProject({
    delivery: "  poll_interval_ms: 1000\n  conflicts: order",
    issues: { "LOCAL-1": [change("first")], "LOCAL-2": [change("second"), change("both")] },
  });
  await create(place, "First");
  await using server = await Served.start(place);
  const deliveryOf = async (id: string) =>
    (await server.client.issues.detail({ params: { id } })).delivery;
  await eventually("the first is pushed", async () => (await deliveryOf("LOCAL-1"))?.pushed);
  await create(place, "Second");
  await eventually(
    "the second waits",
    async () =>
      /the end of LOCAL-1/.test((await deliveryOf("LOCAL-2"))?.waiting_for ?? "") ||
      (await symphony(place, "explain", "LOCAL-2")).stdout.includes("after the end of LOCAL-1"),
  );
  const git = gitIn(place.bare);
  assert.equal(git("branch", "--list", "symphony/LOCAL-2*"), "");
  // Its branch is compared while its agent still works, too.
  await eventually(
    "its turn is over",
    async () => (await statusOf(server, "LOCAL-2")) === "review",
  );
  git("update-ref", "refs/heads/main", "symphony/LOCAL-1-first");
  await eventually("the second is pushed", async () => (await deliveryOf("LOCAL-2"))?.pushed);
  const branch = "symphony/LOCAL-2-second";
  assert.equal(git("show", `${branch}:one.txt`), "both");
  assert.equal(git("log", "-1", "--format=%P", branch).split(" ")[1], git("rev-parse", "main"));
  // Work that waited is compared with its own base, also when it is merged and its workspace is gone.
  await eventually("the first one's own change is shown", async () => {
    const { stderr } = await symphony(place, "diff", "LOCAL-1", "--stat");
    return /LOCAL-1: 1 file changed since \w+/.test(stderr);
  });
});

test("delivery: kill -9 after the decision; the next server pushes once, and the issue stays in review", async () => {
  await using place = await deliveryProject();
  await create(place, "Greet people by name");
  const hook = join(place.bare, "hooks", "pre-receive");
  await writeFile(hook, "#!/bin/sh\nsleep 30\n", { mode: 0o755 });
  {
    await using server = await Served.start(place);
    await eventually("its work is offered", async () => {
      const detail = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
      return detail.status === "review" && detail.delivery !== null;
    });
    await server.crash();
  }
  await writeFile(hook, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  await using server = await Served.start(place);
  await eventually("its branch is pushed", async () => {
    const { delivery } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return delivery?.pushed;
  });
  assert.equal(await statusOf(server, "LOCAL-1"), "review");
  assert.equal(gitIn(place.bare)("rev-list", "--count", `main..${branch}`), "1");
  const { attempts } = await server.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.equal(attempts.length, 1);
});

test("delivery: a refused push keeps the work, says why and what to type, and is tried again by hand", async () => {
  await using place = await deliveryProject();
  await create(place, "Greet people by name");
  const hook = join(place.bare, "hooks", "pre-receive");
  await writeFile(hook, "#!/bin/sh\necho no pushes today >&2\nexit 1\n", { mode: 0o755 });
  await using server = await Served.start(place);
  const problem = await eventually("it says why", async () => {
    const { delivery } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return delivery?.problem ?? undefined;
  });
  assert.match(problem, /^push refused: .*; next: symphony deliver LOCAL-1$/);
  assert.equal(await statusOf(server, "LOCAL-1"), "review");
  const state = await symphony(place, "state");
  assert.match(state.stdout, /push refused/);
  await writeFile(hook, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  const delivered = await symphony(place, "deliver", "LOCAL-1", "--json");
  assert.equal(delivered.code, 0, delivered.stderr);
  assert.equal(JSON.parse(delivered.stdout).delivery.problem, null);
  assert.equal(gitIn(place.bare)("rev-list", "--count", `main..${branch}`), "1");
});

test("delivery: while an issue is in review, every command says what it waits for", async () => {
  await using place = await deliveryProject({
    issues: {
      "LOCAL-1": [[...greet, { do: "edit", path: ".git /x", content: "x\n" }]],
      "LOCAL-2": [[{ do: "say", text: "Nothing to do" }]],
    },
  });
  await create(place, "Greet people by name");
  await create(place, "Change nothing");
  await using server = await Served.start(place);
  const waited = await symphony(place, "wait", "LOCAL-1", "--for", "review", "--timeout", "60s");
  assert.equal(waited.code, 0, waited.stderr);
  assert.match(waited.stderr, /LOCAL-1 is in review/);
  await eventually("it is pushed", async () => {
    const { delivery } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return delivery?.pushed != null;
  });
  const leftOut = "left out: .git /x: git does not allow this name";
  const line = `branch ${branch}; waits for a person to merge it into main; ${leftOut}`;
  const explained = await symphony(place, "explain", "LOCAL-1");
  assert.ok(explained.stdout.includes(`no  not_in_review: ${line}`), explained.stdout);
  assert.match(explained.stdout, /rounds +0 of 5/);
  const shown = await symphony(place, "issue", "show", "LOCAL-1");
  assert.ok(shown.stdout.includes(line), shown.stdout);
  const unchanged = await symphony(place, "wait", "LOCAL-2", "--for", "review", "--timeout", "60s");
  assert.equal(unchanged.code, 6, "a held issue does not get to review by itself");
  const inbox = await symphony(place, "inbox", "--json");
  const items: { issue_identifier: string; kind: string; prompt: string; next: string }[] =
    JSON.parse(inbox.stdout).items;
  const [offered, held] = items;
  assert.deepEqual(
    [offered?.issue_identifier, offered?.kind, offered?.prompt, offered?.next],
    ["LOCAL-1", "review", line, "symphony diff LOCAL-1"],
  );
  assert.deepEqual([held?.issue_identifier, held?.kind], ["LOCAL-2", "held"]);
  const audit = await symphony(place, "audit", "--json", "--issue", "LOCAL-1");
  assert.match(audit.stdout, /"work.committed"/);
  assert.match(audit.stdout, /"branch.pushed"/);
  // A record of a merge that a damaged disk has cut.
  const record = mergingFile(place.workspace("LOCAL-1"));
  writeFileSync(record, "{");
  const refused = await symphony(place, "deliver", "LOCAL-1");
  assert.equal(refused.code, 7, refused.stderr);
  assert.match(refused.stderr, /merging\.json, the record of a merge .* cannot be read/s);
  assert.match(
    refused.stderr.replaceAll(/\s+/g, " "),
    /next: look at git status in .*, move .* away/,
  );
  rmSync(record);
  assert.equal((await symphony(place, "deliver", "LOCAL-1")).code, 0);
});
