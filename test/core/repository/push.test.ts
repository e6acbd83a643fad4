import assert from "node:assert/strict";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseGitAddress } from "../../../src/core/config/git.ts";
import {
  type PushOrder,
  pushCommit,
  RemoteFailure,
  readRemote,
} from "../../../src/core/repository/push.ts";
import { smartGitSite } from "../../support/fakes/smart-git-site.ts";
import { gitIn, setTraps } from "../../support/makers/git-repository.ts";
import { cloneWorld } from "../../support/worlds/clone-world.ts";

const canary = "canary-7f3a-token";
const branch = "symphony/ENG-1-title-of-eng-1";

/** A workspace with a commit of its own, and the order that pushes it. */
async function pushWorld(t: TestContext) {
  const world = cloneWorld(t);
  const { path, git, mirror } = await world.clone();
  git("commit", "-q", "--allow-empty", "-m", "work");
  const order = (more: Partial<PushOrder> = {}): PushOrder => ({
    path,
    borrowed: [mirror],
    commit: git("rev-parse", "HEAD"),
    branch,
    expected: null,
    address: addressOf(world.bare),
    credential: null,
    env: { PATH: process.env["PATH"], HOME: world.dir },
    runId: `test/${world.dir}`,
    timeoutMs: 60_000,
    signal: new AbortController().signal,
    ...more,
  });
  return { ...world, path, git, order, remote: gitIn(world.bare) };
}

function addressOf(written: string) {
  const address = parseGitAddress(written);
  if (!("protocol" in address)) throw new Error(address.problem);
  return address;
}

/** A remote that refuses each push with these lines. */
function refuse(bare: string, lines: readonly string[]): void {
  const hooks = join(bare, "hooks");
  mkdirSync(hooks, { recursive: true });
  const said = lines.map((line) => `echo '${line}' >&2\n`).join("");
  writeFileSync(join(hooks, "pre-receive"), `#!/bin/sh\n${said}exit 1\n`);
  chmodSync(join(hooks, "pre-receive"), 0o755);
}

test("a commit is pushed once; a second push of it finds it there", async (t) => {
  const { git, order, remote, bare } = await pushWorld(t);
  assert.deepEqual(await pushCommit(order()), { outcome: "pushed" });
  const first = git("rev-parse", "HEAD");
  assert.equal(remote("rev-parse", branch), first);
  // As after a crash before the answer was recorded: the branch was not there then.
  assert.deepEqual(await pushCommit(order()), { outcome: "already_there" });
  git("commit", "-q", "--amend", "--allow-empty", "-m", "rewritten");
  assert.deepEqual(await pushCommit(order({ expected: first })), { outcome: "pushed" });
  const heads = new Map([
    ["main", remote("rev-parse", "main")],
    [branch, git("rev-parse", "HEAD")],
  ]);
  const { signal } = new AbortController();
  assert.deepEqual(await readRemote({ ...order(), address: addressOf(bare), signal }), {
    heads,
    head: "main",
  });
});

test("a branch that another party wrote to or removed is not overwritten", async (t) => {
  const { order, remote, git } = await pushWorld(t);
  const main = remote("rev-parse", "main");
  remote("branch", branch, main);
  assert.deepEqual(await pushCommit(order()), { outcome: "moved", found: main });
  assert.equal(remote("rev-parse", branch), main);
  const ours = git("rev-parse", "HEAD~1");
  remote("branch", "-f", branch, "main~1");
  const person = remote("rev-parse", "main~1");
  assert.deepEqual(await pushCommit(order({ expected: ours })), {
    outcome: "moved",
    found: person,
  });
  remote("branch", "-D", branch);
  assert.deepEqual(await pushCommit(order({ expected: ours })), { outcome: "moved", found: null });
});

test("a commit on top of what another party added to the branch overwrites nothing and is pushed", async (t) => {
  const { order, remote, git } = await pushWorld(t);
  const ours = git("rev-parse", "HEAD");
  await pushCommit(order());
  git("commit", "-q", "--allow-empty", "-m", "theirs");
  const theirs = git("rev-parse", "HEAD");
  await pushCommit(order({ expected: ours }));
  git("commit", "-q", "--allow-empty", "-m", "next");
  // Symphony knows only of its own push.
  assert.deepEqual(await pushCommit(order({ expected: ours })), { outcome: "pushed" });
  assert.equal(remote("rev-parse", `${branch}~1`), theirs);
});

test("a branch that a person set back stays so; one that a person rewrote is pushed to once the commit has both", async (t) => {
  const { order, remote, git } = await pushWorld(t);
  const first = git("rev-parse", "HEAD");
  git("commit", "-q", "--allow-empty", "-m", "second");
  const ours = git("rev-parse", "HEAD");
  await pushCommit(order());
  remote("update-ref", `refs/heads/${branch}`, first);
  git("commit", "-q", "--allow-empty", "-m", "third");
  const back = await pushCommit(order({ expected: ours }));
  assert.deepEqual(back, { outcome: "moved", found: first }, "the second commit was taken out");

  git("checkout", "-q", "--detach", first);
  git("commit", "-q", "--allow-empty", "--amend", "-m", "rewritten by a person");
  const theirs = git("rev-parse", "HEAD");
  git("push", "-q", "--force", remote("rev-parse", "--absolute-git-dir"), `HEAD:${branch}`);
  const main = git("rev-parse", branch);
  const before = await pushCommit(order({ commit: main, expected: ours }));
  assert.deepEqual(before, { outcome: "moved", found: theirs });
  git("checkout", "-q", branch);
  git("merge", "-q", "--no-edit", theirs);
  assert.deepEqual(await pushCommit(order({ expected: ours })), { outcome: "pushed" });
  assert.equal(remote("rev-parse", `${branch}^2`), theirs);
});

test("THREAT-15: a push runs no hook and no program of the workspace, and reads none of its addresses", async (t) => {
  const { dir, path, git, order, remote } = await pushWorld(t);
  const marks = join(dir, "marks");
  const commit = git("rev-parse", "HEAD");
  setTraps(path, marks);
  git("config", "url./nowhere/.insteadOf", "/");
  git("config", "url./nowhere/.pushInsteadOf", "/");
  git("config", "push.followTags", "true");
  git("config", "core.sshCommand", `touch ${marks}/ssh`);
  assert.deepEqual(await pushCommit(order({ commit })), { outcome: "pushed" });
  assert.equal(remote("rev-parse", branch), commit);
  assert.deepEqual(readdirSync(marks), []);
});

test("THREAT-16: nothing is pushed from a workspace that borrows what it was not lent", async (t) => {
  const { dir, path, order } = await pushWorld(t);
  const secret = gitIn(dir);
  secret("init", "-q", "secret");
  const other = join(dir, "secret", ".git", "objects");
  const alternates = join(path, ".git", "objects", "info", "alternates");
  const lent = readFileSync(alternates, "utf8");
  writeFileSync(alternates, `${lent}${other}\n`);
  await assert.rejects(pushCommit(order()), /borrows objects of another repository/);
  writeFileSync(alternates, lent);
  symlinkSync(other, join(path, ".git", "objects", "ff-link"));
  await assert.rejects(pushCommit(order()), /has objects outside of the workspace/);
});

test("what the remote refuses is told in its own words", async (t) => {
  const { bare, dir, order, remote } = await pushWorld(t);
  const cases = [
    ["error: GH001: Large files detected.", "file_size", true],
    ["error: GH006: Protected branch update failed for refs/heads/x.", "protected", true],
    ["error: GH013: Repository rule violations found for refs/heads/x.", "rule", true],
    [
      "refusing to allow an OAuth App to create or update workflow `x.yml` without `workflow` scope",
      "workflow_scope",
      true,
    ],
    ["This repository was archived so it is read-only.", "permission", true],
    ["GitLab: You are not allowed to push code to protected branches.", "protected", true],
    ["no reason", "rule", true],
  ] as const;
  for (const [words, category, final] of cases) {
    refuse(bare, ["---", words, "see https://example.org"]);
    const result = await pushCommit(order());
    const reason =
      words === "no reason"
        ? "[remote rejected] (pre-receive hook declined): --- no reason see https://example.org"
        : words.replace("error: ", "");
    assert.partialDeepStrictEqual(result, { outcome: "refused", category, final, reason });
  }
  writeFileSync(join(bare, "hooks/pre-receive"), "#!/bin/sh\n");
  const [above = ""] = branch.split("/");
  for (const other of [above, `${branch}/more`]) {
    remote("branch", other, "main");
    const refused = await pushCommit(order());
    const reason = `the remote has a branch ${other}, and git allows no ${branch} next to it: rename or delete it there`;
    assert.deepEqual(refused, { outcome: "refused", category: "other", final: false, reason });
    remote("branch", "-D", other);
  }
  const gone = await pushCommit(order({ address: addressOf(join(dir, "gone.git")) }));
  assert.partialDeepStrictEqual(gone, { outcome: "refused", category: "not_found", final: false });
  const closed = await pushCommit(order({ address: addressOf("http://127.0.0.1:1/a.git") }));
  assert.partialDeepStrictEqual(closed, { outcome: "refused", category: "network", final: false });
});

test("T-2: the credential of a push reaches only its site, and no file or message has it", async (t) => {
  const { dir, path, git, order, remote } = await pushWorld(t);
  await using site = await smartGitSite({ dir, password: canary });
  remote("config", "http.receivepack", "true");
  const address = addressOf(`http://${site.host}/origin.git`);
  const credential = { user: "x-access-token", password: canary };
  const wrong = await pushCommit(
    order({ address, credential: { user: "ada", password: "canary-x" } }),
  );
  assert.partialDeepStrictEqual(wrong, { outcome: "refused", category: "permission" });
  assert.doesNotMatch(JSON.stringify(wrong), /canary/);
  assert.deepEqual(await pushCommit(order({ address, credential })), { outcome: "pushed" });
  assert.equal(remote("rev-parse", branch), git("rev-parse", "HEAD"));
  assert.ok(site.logins.includes(`x-access-token:${canary}`));
  const files = readdirSync(join(path, ".git"), { recursive: true, withFileTypes: true });
  for (const file of files.filter((each) => each.isFile())) {
    const text = readFileSync(join(file.parentPath, file.name), "latin1");
    assert.ok(!text.includes(canary), file.name);
  }
  const twoLines = order({ address, credential: { user: "ada", password: `${canary}\nhost=x` } });
  await assert.rejects(readRemote(twoLines), RemoteFailure);
  assert.partialDeepStrictEqual(await pushCommit(twoLines), {
    outcome: "refused",
    category: "permission",
  });
});

test("a redirect takes no credential to another site, and one that leads nowhere is said and final", async (t) => {
  const { order } = await pushWorld(t);
  const seen: (string | undefined)[] = [];
  const site = async (answer: RequestListener) => {
    const server = createServer(answer).listen(0, "127.0.0.1");
    t.after(() => server.close());
    await once(server, "listening");
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const other = await site((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(401, { "www-authenticate": "Basic" }).end();
  });
  for (const to of [(url = "") => other + url, (url = "") => url, () => "https://127.0.0.1:1/"]) {
    const from = await site(({ url, headers }, response) => {
      if (headers.authorization) response.writeHead(301, { location: to(url) }).end();
      else response.writeHead(401, { "www-authenticate": "Basic" }).end();
    });
    const credential = { user: "ada", password: canary };
    const answer = await pushCommit(order({ address: addressOf(`${from}/a.git`), credential }));
    const isOther = to("") === other;
    const category = isOther ? "permission" : "redirected";
    assert.partialDeepStrictEqual(answer, { outcome: "refused", category, final: !isOther });
  }
  assert.ok(seen.length > 0);
  assert.deepEqual(new Set(seen), new Set([undefined]));
});

test("a push whose answer is lost is recognised: the remote has the commit", async (t) => {
  const { dir, git, order, remote } = await pushWorld(t);
  await using site = await smartGitSite({ dir, password: canary });
  remote("config", "http.receivepack", "true");
  const address = addressOf(`http://${site.host}/origin.git`);
  site.dropAnswers("git-receive-pack");
  const credential = { user: "ada", password: canary };
  assert.deepEqual(await pushCommit(order({ address, credential })), { outcome: "already_there" });
  assert.equal(remote("rev-parse", branch), git("rev-parse", "HEAD"));
});
