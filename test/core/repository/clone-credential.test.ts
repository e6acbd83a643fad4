import assert from "node:assert/strict";
import { chmodSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cloneInto } from "../../../src/core/repository/clone.ts";
import { gitSite } from "../../support/fakes/git-site.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

const canary = "canary-7f3a-token";

/** A git that records how it and its children were started. */
function recorder(dir: string, real: string): string {
  const bin = join(dir, "recording");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "git"),
    `#!/bin/sh\nprintf '%s\\n' "$*" >> ${dir}/argv\nPATH=${real} exec git "$@"\n`,
  );
  chmodSync(join(bin, "git"), 0o755);
  return `${bin}:${real}`;
}

test("T-2: a credential reaches only its own site: no file of the clone, no argument and no message has it", async (t) => {
  const { dir, bare, order, told } = cloneWorld(t);
  gitIn(bare)("update-server-info");
  await using site = await gitSite({ dir, password: canary });
  const { host, logins } = site;
  const real = process.env["PATH"] ?? "";
  for (const [login, user] of [
    ["$APP_TOKEN", "x-access-token"],
    ["ada:$APP_TOKEN", "ada"],
  ] as const) {
    const url = `http://${login}@${host}/origin.git`;
    const made = order({ url });
    const env = { PATH: login.startsWith("$") ? recorder(dir, real) : real, HOME: dir };
    await cloneInto({ ...made, env, lookup: () => ` ${canary}\n` });
    assert.ok(logins.includes(`${user}:${canary}`));
    const config = readFileSync(join(made.path, ".git", "config"), "utf8");
    assert.match(config, new RegExp(`url = http://${host}/origin\\.git\n`));
    const files = globSync("**/*", { cwd: join(made.path, ".git") })
      .map((name) => join(made.path, ".git", name))
      .filter((path) => statSync(path).isFile());
    assert.ok(files.length > 5);
    assert.ok(files.every((path) => !readFileSync(path, "latin1").includes(canary)));
  }
  const argv = readFileSync(join(dir, "argv"), "utf8");
  assert.match(argv, /^fetch /m);
  assert.ok(!`${argv}${told.join()}`.includes(canary));
});

test("a wrong credential, a redirect or a value of two lines reaches no other host, and no error shows it", async (t) => {
  const { dir, bare, order } = cloneWorld(t);
  gitIn(bare)("update-server-info");
  await using wrong = await gitSite({ dir, password: canary });
  await using other = await gitSite({ dir, password: canary });
  const elsewhere = `http://${other.host}`;
  await using away = await gitSite({ dir, password: canary, elsewhere });
  const ask = (host: string, value: string) => {
    const made = order({ url: `http://$APP_TOKEN@${host}/origin.git` });
    return refusalOf(cloneInto({ ...made, lookup: () => value }));
  };
  const refused = await ask(wrong.host, "canary-wrong");
  assert.match(refused.message, /Authentication failed/);
  assert.equal(refused.hint, "check the credential of app in git.repositories");
  assert.doesNotMatch(JSON.stringify([refused.message, refused.details]), /canary/);
  await ask(away.host, canary);
  assert.deepEqual(
    other.logins.filter((login) => login !== null),
    [],
  );
  const lines = await ask(wrong.host, `${canary}\nhost=evil.example`);
  assert.match(lines.message, /needs \$APP_TOKEN, which is not set or is not a single line/);
});
