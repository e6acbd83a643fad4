import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { commitWork } from "../../../src/core/repository/commit.ts";
import { operatorSigner, SigningFailure } from "../../../src/core/repository/signing.ts";
import { setTraps } from "../../support/makers/git-repository.ts";
import { cloneWorld } from "../../support/worlds/clone-world.ts";

// Where every program must be, its absence is a failure.
const isHere = process.env["CI"] || spawnSync("ssh-keygen", ["-?"]).error === undefined;
const skip = isHere ? false : "ssh-keygen is missing";

test("DELIVERY-36: a commit is signed with the key of the operator's git; nothing that an agent wrote is run, and a program that fails commits nothing", {
  skip,
}, async (t) => {
  const { dir, clone } = cloneWorld(t);
  const { path, git } = await clone();
  const key = join(dir, "key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  const settings = ["[gpg]", "\tformat = ssh", "[user]", `\tsigningkey = ${key}.pub`];
  writeFileSync(join(dir, ".gitconfig"), `${settings.join("\n")}\n`);
  const signer = await operatorSigner({ PATH: process.env["PATH"], HOME: dir });
  setTraps(path, join(dir, "ran"));
  const evil = join(dir, "evil");
  writeFileSync(evil, `#!/bin/sh\ntouch ${join(dir, "ran/signed")}\n`);
  chmodSync(evil, 0o755);
  git("config", "gpg.ssh.program", evil);
  git("config", "gpg.program", evil);
  const base = git("rev-parse", "HEAD");
  const commit = async (name: string, one: typeof signer) => {
    writeFileSync(join(path, name), `${name}\n`);
    return commitWork({
      ...{ path, signer: one, base, settled: [], message: "Ä title\n\nIssue: ENG-1\n" },
      ...{ author: { name: "Ada Ö", email: "ada@example.org" }, wall: 1_700_000_000_000 },
      signal: new AbortController().signal,
    });
  };
  assert.equal((await commit("new.txt", signer)).outcome, "committed");
  writeFileSync(
    join(dir, "allowed"),
    `ada@example.org ${execFileSync("cat", [`${key}.pub`], { encoding: "utf8" })}`,
  );
  git("config", "--unset", "gpg.ssh.program");
  const verify = ["-c", `gpg.ssh.allowedSignersFile=${join(dir, "allowed")}`];
  git(...verify, "verify-commit", "HEAD");
  const shown = git("log", "-1", "--no-show-signature", "--format=%an|%ae|%cn|%at|%B");
  assert.equal(shown, "Ada Ö|ada@example.org|Ada Ö|1700000000|Ä title\n\nIssue: ENG-1");
  assert.ok(!existsSync(join(dir, "ran/signed")));
  const before = [git("rev-parse", "HEAD"), git("for-each-ref")];
  const missing = {
    ...signer,
    settings: [...signer.settings, ["user.signingkey", join(dir, "no-key")] as const],
  };
  await assert.rejects(commit("three.txt", missing), (error) => {
    return error instanceof SigningFailure && /no-key: No such file/.test(error.message);
  });
  assert.deepEqual([git("rev-parse", "HEAD"), git("for-each-ref")], before);
  assert.equal((await commit("three.txt", signer)).outcome, "committed");
});

test("a key with a passphrase fails at once, without a question on a terminal; what the operator signs by default is not signed", {
  skip,
}, async (t) => {
  const { dir, clone } = cloneWorld(t);
  const { path, git } = await clone();
  const key = join(dir, "key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "a passphrase", "-f", key]);
  const ssh = ["[gpg]", "\tformat = ssh", "[user]", `\tsigningkey = ${key}`];
  const always = ["[commit]", "\tgpgsign = true", "[gpg]", "\tprogram = /nonexistent/gpg"];
  writeFileSync(join(dir, ".gitconfig"), `${[...ssh, ...always].join("\n")}\n`);
  const signer = await operatorSigner({ PATH: process.env["PATH"], HOME: dir });
  const base = git("rev-parse", "HEAD");
  writeFileSync(join(path, "new.txt"), "new\n");
  const order = {
    ...{ path, base, settled: [], message: "Title\n", wall: 1_700_000_000_000 },
    author: { name: "Ada", email: "ada@example.org" },
    signal: new AbortController().signal,
  };
  await assert.rejects(commitWork({ ...order, signer }), (error) => {
    return error instanceof SigningFailure && /passphrase/.test(error.message);
  });
  assert.equal(git("rev-parse", "HEAD"), base);
  assert.equal((await commitWork({ ...order, signer: null })).outcome, "committed");
  assert.doesNotMatch(git("cat-file", "commit", "HEAD"), /gpgsig/);
});
