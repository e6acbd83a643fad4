import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { type TestContext, test } from "node:test";
import { cloneInto } from "../../src/core/workspace/clone.ts";
import { cloneWorld, refusalOf } from "../support/clone-world.ts";
import { gitIn } from "../support/git-repository.ts";

const canary = "canary-7f3a-token";

/** The files of `dir` over http, for who logs in with the canary; `elsewhere` is where it sends others' requests. */
async function site(t: TestContext, dir: string, elsewhere: string | null = null) {
  const logins: (string | null)[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://x");
    const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    const login = basic === undefined ? null : Buffer.from(basic, "base64").toString();
    logins.push(login);
    if (elsewhere !== null) {
      response.writeHead(302, { location: `${elsewhere}${request.url}` }).end();
    } else if (login?.endsWith(`:${canary}`) !== true) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else {
      const file = join(dir, normalize(pathname));
      const found = statSync(file, { throwIfNoEntry: false })?.isFile();
      response.writeHead(found ? 200 : 404).end(found ? readFileSync(file) : "");
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, logins };
}

/** A git that writes down what it and its children were started with. */
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

test("T-2: a credential reaches its site alone: no file of the clone, no argument, no word has it", async (t) => {
  const { dir, bare, order, told } = cloneWorld(t);
  gitIn(bare)("update-server-info");
  const { host, logins } = await site(t, dir);
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
  assert.match(argv, /^clone /m);
  assert.ok(!`${argv}${told.join()}`.includes(canary));
});

test("a wrong credential, a redirect and a value of two lines: nobody else hears it, no error shows it", async (t) => {
  const { dir, bare, order } = cloneWorld(t);
  gitIn(bare)("update-server-info");
  const wrong = await site(t, dir);
  const other = await site(t, dir);
  const away = await site(t, dir, `http://${other.host}`);
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
  assert.match(lines.message, /needs \$APP_TOKEN, which is not set or is no single line/);
});
