import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  type DeliveryProject,
  deliveryProject,
  greet,
} from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import { noTerminal, onItsTerminal } from "../support/worlds/terminal.ts";

const branch = "symphony/LOCAL-1-greet-people-by-name";

async function inReview(place: DeliveryProject, server: Served): Promise<void> {
  const made = await symphony(place, "issue", "create", "--title", "Greet people by name");
  assert.equal(made.code, 0, made.stderr);
  await reviewed(server, 1);
  assert.equal(gitIn(place.bare)("rev-list", "--count", `main..${branch}`), "1");
}

/** LOCAL-1 is in review after this many attempts, and its branch is pushed. */
function reviewed(server: Served, attempts: number) {
  return eventually(`attempt ${attempts} is in review`, async () => {
    const found = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    const { status, delivery } = found;
    const isPushed = delivery !== null && delivery.pushed === delivery.head;
    return status === "review" && found.attempts.count === attempts && isPushed ? found : undefined;
  });
}

/** A person's shell: edits a file of the workspace, adds one, and leaves with a failure. */
const editing = `#!/bin/sh
echo "by hand, for $SYMPHONY_ISSUE_IDENTIFIER" > by-hand.txt
echo 'echo "Good day, $1!"' > greet.sh
exit 3
`;

test("attach: what a person changed in the workspace, their note, and what the commit left out are the agent's next turn", {
  skip: noTerminal,
}, async () => {
  const second = [
    { do: "edit", path: "told.txt", content: "{{prompt}}" },
    { do: "say", text: "Built on the change." },
  ] as const;
  const nested =
    "git init -q tool && touch tool/x && git -C tool add x && git -C tool -c user.name=a -c user.email=a@b commit -qm x";
  const first = [{ do: "run", command: nested } as const, ...greet];
  await using place = await deliveryProject({ issues: { "LOCAL-1": [first, second] } });
  await using server = await Served.start(place);
  await inReview(place, server);
  const shell = join(place.root, "shell");
  await writeFile(shell, editing, { mode: 0o755 });
  const typing = [["A note", "Keep my greeting.\r"]] as const;
  const done = await onItsTerminal(place, { typing, own: { SHELL: shell } }, "attach", "LOCAL-1");
  assert.equal(done.code, 0, done.shown);
  assert.match(done.shown, /2 changed files will be in the agent's next turn/);
  await reviewed(server, 2);
  const git = gitIn(place.bare);
  assert.equal(git("rev-list", "--count", `main..${branch}`), "2");
  assert.equal(git("show", `${branch}:by-hand.txt`), "by hand, for LOCAL-1");
  assert.equal(git("show", `${branch}:greet.sh`), 'echo "Good day, $1!"');
  const told = git("show", `${branch}:told.txt`);
  assert.match(told, /Their note: Keep my greeting\./);
  assert.match(told, /\+by hand, for LOCAL-1/);
  assert.match(told, /\+echo "Good day, \$1!"/);
  assert.match(told, /did not take these files[\s\S]*\n- tool: it is a repository of its own\n/);
});

test("attach: without a terminal it holds, survives a crash of the server, and is handed back with --done", async () => {
  const second = [{ do: "edit", path: "told.txt", content: "{{prompt}}" }] as const;
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet, second] } });
  {
    await using server = await Served.start(place);
    await inReview(place, server);
    const early = await symphony(place, "attach", "LOCAL-1", "--done");
    assert.equal(early.code, 7);
    assert.match(early.stderr, /no person is attached to LOCAL-1/);
    const refused = await symphony(place, "attach", "LOCAL-1");
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /no terminal .*\n.*symphony attach LOCAL-1 --done/);
    const { status } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    assert.equal(status, "review", "a refusal changes nothing");
    const attached = await symphony(place, "attach", "LOCAL-1", "--json");
    const { path, branch: name, base, uncommitted } = JSON.parse(attached.stdout);
    assert.deepEqual([path, name, uncommitted], [place.workspace("LOCAL-1"), branch, false]);
    assert.equal(base, gitIn(place.bare)("rev-parse", branch));
    await server.crash();
  }
  await using server = await Served.start(place);
  const git = gitIn(place.workspace("LOCAL-1"));
  await writeFile(join(place.workspace("LOCAL-1"), "one.txt"), "committed by hand\n");
  git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qam", "By hand");
  const again = await symphony(place, "attach", "LOCAL-1", "--json");
  assert.notEqual(
    JSON.parse(again.stdout).base,
    git("rev-parse", "HEAD"),
    "the first commit stays",
  );
  const explained = await symphony(place, "explain", "LOCAL-1");
  assert.match(explained.stdout, /symphony attach LOCAL-1 --done continues it/);
  const inbox = await symphony(place, "inbox");
  assert.match(inbox.stdout, /LOCAL-1 .*symphony attach LOCAL-1 --done$/m);
  const done = await symphony(place, "attach", "LOCAL-1", "--done", "--note", "See my commit.");
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stderr, /1 changed file will be/);
  await reviewed(server, 2);
  const told = gitIn(place.bare)("show", `${branch}:told.txt`);
  assert.match(told, /Their note: See my commit\.[\s\S]*\+committed by hand/);
  const log = gitIn(place.bare)("log", "--format=%s", `main..${branch}`);
  assert.match(log, /\nBy hand\n/, "the person's commit is delivered as it is");
});

/** A program of the person by this name: it leaves its arguments and its home in the workspace, and a change. */
async function ownProgram(place: DeliveryProject, name: string): Promise<string> {
  const bin = join(place.root, "own-bin");
  await mkdir(bin, { recursive: true });
  const text = `#!/bin/sh
printf '%s\\n' "$@" "home: $CODEX_HOME" > ${place.root}/${name}.args
echo "by ${name}" > by-${name}.txt
`;
  await writeFile(join(bin, name), text);
  await chmod(join(bin, name), 0o755);
  return `${bin}:${process.env["PATH"]}`;
}

test("attach: the person's own agent opens, on the thread where the agent was that program", {
  skip: noTerminal,
}, async () => {
  const again = [
    { do: "edit", path: "told.txt", content: "{{prompt}}" },
    { do: "say", text: "Built on it." },
  ] as const;
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet, again, again] } });
  await using server = await Served.start(place);
  await inReview(place, server);
  const { latest } = (await server.client.issues.detail({ params: { id: "LOCAL-1" } })).attempts;
  const thread = latest[0]?.thread_id ?? "";
  const typing = [["A note", "\r"]] as const;
  const attach = async (name: string) => {
    // What an agent may have put where a PATH with relative places finds it.
    const planted = join(place.workspace("LOCAL-1"), ".git", "bin");
    await mkdir(planted, { recursive: true });
    await writeFile(join(planted, name), "#!/bin/sh\nexit 7\n", { mode: 0o755 });
    const own = { PATH: [".git/bin", "", planted, await ownProgram(place, name)].join(":") };
    const done = await onItsTerminal(place, { typing, own }, "attach", "LOCAL-1", "--with", name);
    assert.equal(done.code, 0, done.shown);
    assert.match(done.shown, /1 changed file will be in the agent's next turn/);
    const args = (await readFile(join(place.root, `${name}.args`), "utf8")).trim().split("\n");
    return { shown: done.shown, args };
  };
  const codex = await attach("codex");
  const home = codex.args.at(-1)?.replace("home: ", "") ?? "";
  assert.match(home, /\.symphony\/codex\/\w+\/home$/, "where the agent's codex has its threads");
  assert.deepEqual(codex.args.slice(0, -1), [
    ...["resume", thread, "-c"],
    `projects={"${place.workspace("LOCAL-1")}"={trust_level="untrusted"}}`,
  ]);
  assert.doesNotMatch(codex.shown, /begins a new session/);
  assert.match(codex.shown, /command that you approve in codex runs in your home/);
  await reviewed(server, 2);
  const git = gitIn(place.bare);
  assert.equal(git("show", `${branch}:by-codex.txt`), "by codex");
  assert.match(git("show", `${branch}:told.txt`), /\+by codex/);
  const claude = await attach("claude");
  assert.match(
    claude.shown,
    /claude begins a new session: the issue's agent was not claude but codex/,
  );
  assert.deepEqual(claude.args, ["--setting-sources", "user", "home:"]);
  await reviewed(server, 3);
});

test("attach: a program that is missing leaves the issue held and names the way back", {
  skip: noTerminal,
}, async () => {
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet] } });
  await using server = await Served.start(place);
  await inReview(place, server);
  const own = { PATH: join(place.root, "no-bin") };
  const done = await onItsTerminal(
    place,
    { typing: [], own },
    "attach",
    "LOCAL-1",
    "--with",
    "claude",
  );
  assert.equal(done.code, 2);
  assert.match(done.shown, /"claude" cannot be run: .*ENOENT/);
  assert.match(done.shown, /LOCAL-1 is still held: symphony attach LOCAL-1 --done hands it back/);
  const { status } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
  assert.equal(status, "held");
});

test("attach: what a person had not committed is copied before the workspace of a closed issue goes", async () => {
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet] } });
  await using server = await Served.start(place);
  await inReview(place, server);
  assert.equal((await symphony(place, "attach", "LOCAL-1", "--json")).code, 0);
  const path = place.workspace("LOCAL-1");
  await writeFile(join(path, "by-hand.txt"), "by hand\n");
  await writeFile(join(path, "committed.txt"), "committed by hand\n");
  const git = gitIn(path);
  git("add", "committed.txt");
  git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "By hand");
  const moved = await symphony(place, "issue", "move", "LOCAL-1", "Done");
  assert.equal(moved.code, 0, moved.stderr);
  await eventually("its workspace is gone", async () => !existsSync(path));
  const into = join(place.root, "restored");
  const restored = await symphony(place, "workspaces", "restore", "LOCAL-1", "--to", into);
  assert.equal(restored.code, 0, restored.stderr);
  assert.equal(await readFile(join(into, "by-hand.txt"), "utf8"), "by hand\n");
  assert.equal(await readFile(join(into, "committed.txt"), "utf8"), "committed by hand\n");
  const late = await symphony(place, "attach", "LOCAL-1", "--done");
  assert.equal(late.code, 7);
  assert.match(late.stderr, /no person is attached to LOCAL-1/);
});
