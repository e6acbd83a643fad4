import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  type DeliveryProject,
  deliveryProject,
  greet,
} from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const bin = fileURLToPath(new URL("../../bin/symphony.js", import.meta.url));
const onTerminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
const noTerminal =
  spawnSync("python3", ["-c", "import pty, os; os.waitstatus_to_exitcode"]).status === 0
    ? false
    : "needs python3 for a terminal";
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

/** One command on a terminal, on which `answer` is typed to the question about a note. */
async function typed(
  { cwd, env, dataDir }: DeliveryProject,
  { answer, shell }: { readonly answer: string; readonly shell: string },
  ...args: string[]
) {
  const command = [process.execPath, bin, ...args, "--data-dir", dataDir];
  const child = spawn("python3", [onTerminal, "A note", answer, ...command], {
    cwd,
    env: { ...process.env, ...env, NO_COLOR: "1", SHELL: shell },
    stdio: ["ignore", "pipe", "inherit"],
  });
  assert.ok(child.stdout);
  const [shown, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
  return { code, shown };
}

/** A person's shell: edits a file of the workspace, adds one, and leaves with a failure. */
const editing = `#!/bin/sh
echo "by hand, for $SYMPHONY_ISSUE_IDENTIFIER" > by-hand.txt
echo 'echo "Good day, $1!"' > greet.sh
exit 3
`;

test("attach: what a person changed in the workspace, and their note, are the agent's next turn", {
  skip: noTerminal,
}, async () => {
  const second = [
    { do: "edit", path: "told.txt", content: "{{prompt}}" },
    { do: "say", text: "Built on the change." },
  ] as const;
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet, second] } });
  await using server = await Served.start(place);
  await inReview(place, server);
  const shell = join(place.root, "shell");
  await writeFile(shell, editing, { mode: 0o755 });
  const done = await typed(place, { answer: "Keep my greeting.", shell }, "attach", "LOCAL-1");
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
});

test("attach: without a terminal it holds, survives a crash of the server, and is handed back with --done", async () => {
  const second = [{ do: "edit", path: "told.txt", content: "{{prompt}}" }] as const;
  await using place = await deliveryProject({ issues: { "LOCAL-1": [greet, second] } });
  {
    await using server = await Served.start(place);
    await inReview(place, server);
    const early = await symphony(place, "attach", "LOCAL-1", "--done");
    assert.equal(early.code, 7);
    assert.match(early.stderr, /nobody is attached to LOCAL-1/);
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
