import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { keysFrom, seal, unseal } from "../../../src/core/secrets/cipher.ts";
import { resetSecrets } from "../../../src/core/secrets/rotation.ts";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

type Env = Readonly<Record<string, string>>;

const values = { A: "value of A, a canary", B: "value of B, a canary", C: "x".repeat(5_000) };
const newKey = () => randomBytes(32).toString("base64");

function openIn(dir: string, env: Env = {}, sealsPerKey?: number) {
  const redactor = createRedactor();
  const most = sealsPerKey === undefined ? {} : { sealsPerKey };
  return openSecrets({ dir, env, clock: new FakeClock(), redactor, ...most });
}

async function filled(t: TestContext, env: Env = {}) {
  const dir = temporaryDir(t);
  const secrets = await openIn(dir, env);
  for (const [name, value] of Object.entries(values)) await secrets.put(name, value);
  return { dir, secrets };
}

async function assertWhole(dir: string, env: Env = {}): Promise<void> {
  const secrets = await openIn(dir, env);
  const found = secrets.names().map((name) => [name, secrets.lookup(name)]);
  assert.deepEqual(Object.fromEntries(found), values);
}

const kidOf = async (file: string): Promise<string> =>
  JSON.parse(await readFile(file, "utf8")).data.kid;

test("rotate seals everything with a new key, and nothing of the old key or its seals remains", async (t) => {
  const { dir, secrets } = await filled(t);
  const file = join(dir, "secrets.json");
  const [oldKey, oldKid] = [await readFile(join(dir, "secrets.key"), "utf8"), await kidOf(file)];
  const { kid, previousKid, secrets: count } = await secrets.rotate();
  assert.deepEqual([previousKid, count, await kidOf(file)], [oldKid, 3, kid]);
  assert.notEqual(kid, oldKid);
  await assertWhole(dir);
  for (const name of await readdir(dir)) {
    const text = await readFile(join(dir, name), "utf8");
    assert.ok(!text.includes(oldKey.trim()) && !text.includes(oldKid), name);
    assert.equal((await stat(join(dir, name))).mode & 0o777, 0o600, name);
  }
  assert.equal((await readdir(dir)).length, 4);
  await secrets.put("A", "newer");
  await secrets.put("A", values.A);
  await secrets.rotate();
  await assertWhole(dir);
});

test("before the first secret there is no key to rotate", async (t) => {
  const dir = temporaryDir(t);
  await assert.rejects((await openIn(dir)).rotate(), coded("secret_not_found"));
  assert.deepEqual(await readdir(dir), []);
});

test("a key of the environment is replaced by SYMPHONY_MASTER_KEY_NEXT: bytes or a passphrase", async (t) => {
  const keys = [newKey(), "correct horse battery staple", "another long passphrase"];
  const [first = "", ...rest] = keys;
  const { dir } = await filled(t, { SYMPHONY_MASTER_KEY: first });
  let master = first;
  for (const next of rest) {
    const both = { SYMPHONY_MASTER_KEY: master, SYMPHONY_MASTER_KEY_NEXT: next };
    const alone = await openIn(dir, { SYMPHONY_MASTER_KEY: master });
    await assert.rejects(alone.rotate(), coded("needs_person", /no next key is set/));
    const same = await openIn(dir, { ...both, SYMPHONY_MASTER_KEY_NEXT: master });
    await assert.rejects(same.rotate(), coded("secrets_key_invalid", /in use already/));
    const secrets = await openIn(dir, both);
    await secrets.rotate();
    // The environment of a running process does not change.
    await secrets.put("A", values.A);
    await assertWhole(dir, both);
    await assertWhole(dir, { SYMPHONY_MASTER_KEY: next });
    await assert.rejects(
      openIn(dir, { SYMPHONY_MASTER_KEY: master }),
      coded("secrets_key_invalid", /another key/),
    );
    master = next;
  }
  assert.ok(!(await readdir(dir)).includes("secrets.key"));
});

test("a rotation from a key file to the environment removes the file", async (t) => {
  const { dir } = await filled(t);
  const next = newKey();
  await (await openIn(dir, { SYMPHONY_MASTER_KEY_NEXT: next })).rotate();
  assert.ok(!(await readdir(dir)).includes("secrets.key"));
  await assertWhole(dir, { SYMPHONY_MASTER_KEY: next });
  await assertWhole(dir, { SYMPHONY_MASTER_KEY_NEXT: next });
});

test("a short next key is refused, and nothing is changed", async (t) => {
  const { dir } = await filled(t);
  const before = await readFile(join(dir, "secrets.json"));
  const secrets = await openIn(dir, { SYMPHONY_MASTER_KEY_NEXT: "short" });
  await assert.rejects(secrets.rotate(), coded("secrets_key_invalid", /_NEXT is shorter/));
  assert.deepEqual(await readFile(join(dir, "secrets.json")), before);
});

test("a key that sealed its maximum number of values is rotated automatically", async (t) => {
  const dir = temporaryDir(t);
  const secrets = await openIn(dir, {}, 3);
  const rotations: number[] = [];
  for (let n = 1; n <= 8; n++) {
    const { rotated } = await secrets.put("A", `value ${n}`);
    if (rotated !== null) rotations.push(n);
  }
  // Sealing again counts as well.
  assert.deepEqual(rotations, [4, 6, 8]);
  assert.equal((await openIn(dir)).lookup("A"), "value 8");
});

const preload = join(import.meta.dirname, "../../support/fakes/die-at-step.ts");
const child = join(import.meta.dirname, "../../support/fakes/rotate-child.ts");

for (const [name, env] of Object.entries({
  "a key file": {},
  "the environment": { SYMPHONY_MASTER_KEY: newKey(), SYMPHONY_MASTER_KEY_NEXT: newKey() },
})) {
  test(`FAULT-1b: a kill before any write step of a rotation with ${name} leaves everything old or everything new`, async (t) => {
    const { dir: origin } = await filled(t, env);
    const oldKid = await kidOf(join(origin, "secrets.json"));
    const kids = new Set<string>();
    let steps = 0;
    for (let finished = false; !finished; steps++) {
      const dir = join(temporaryDir(t), "data");
      cpSync(origin, dir, { recursive: true });
      const { signal, status } = spawnSync(process.execPath, ["--import", preload, child, dir], {
        env: { ...env, PATH: process.env["PATH"], DIE_AT: String(steps + 1) },
      });
      finished = status === 0;
      assert.ok(finished || signal === "SIGKILL", `step ${steps + 1} ended with ${status}`);
      await assertWhole(dir, env);
      kids.add((await kidOf(join(dir, "secrets.json"))) === oldKid ? "old" : "new");
      const again = await openIn(dir, env);
      await again.settle();
      // There is one key, and the copy can be opened with it.
      const kid = await kidOf(join(dir, "secrets.json"));
      if (Object.keys(env).length === 0) {
        const text = await readFile(join(dir, "secrets.key"), "utf8");
        assert.equal(text.length, 45, `step ${steps + 1}`);
        assert.equal(await kidOf(join(dir, "secrets.json.bak")), kid, `step ${steps + 1}`);
      }
      await assertWhole(dir, env);
      if (kid === oldKid) await again.rotate();
      await assertWhole(dir, env);
    }
    assert.deepEqual([...kids].sort(), ["new", "old"]);
    assert.ok(steps > 15, `${steps} steps`);
  });
}

test("reset moves everything aside; with its key it can still be opened there", async (t) => {
  const { dir } = await filled(t);
  assert.deepEqual(await resetSecrets(join(dir, "absent"), 0), []);
  const moved = await resetSecrets(dir, 0);
  assert.deepEqual(moved, [
    "secrets.json.bak.reset-1970-01-01T000000000Z",
    "secrets.json.reset-1970-01-01T000000000Z",
    "secrets.key.reset-1970-01-01T000000000Z",
  ]);
  const fresh = await openIn(dir);
  assert.deepEqual(fresh.names(), []);
  await fresh.put("A", "new");
  const old = join(dir, "old");
  await mkdir(old);
  for (const name of moved) cpSync(join(dir, name), join(old, name.replace(/\.reset-.*/, "")));
  await chmod(join(old, "secrets.key"), 0o600);
  await assertWhole(old);
});

test("a record made by another implementation of AES-256-GCM and HKDF opens; with any bit changed it does not", () => {
  const keys = keysFrom(Buffer.from(Array.from({ length: 32 }, (_, at) => at)));
  assert.equal(keys.kid, "07abfaca5aeedd10");
  const record = {
    v: 1,
    kid: keys.kid,
    name: "LINEAR_API_KEY",
    ver: 7,
    nonce: "ZGVmZ2hpamtsbW5v",
    ct: "EqgsEvRzWFkSPY2gNslWoQ==",
    tag: "yHVmvYoZn+BXJyQ6JzbH9Q==",
    updated_at: 0,
  } as const;
  assert.equal(unseal(record, keys), "lin_api_ключ");
  for (const field of ["nonce", "ct", "tag"] as const) {
    const bytes = Buffer.from(record[field], "base64");
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      const at = Math.floor(bit / 8);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit % 8));
      assert.throws(() => unseal({ ...record, [field]: flipped.toString("base64") }, keys));
    }
    const cut = bytes.subarray(0, -1).toString("base64");
    assert.throws(() => unseal({ ...record, [field]: cut }, keys), field);
  }
});

test("no nonce is used twice", () => {
  const keys = keysFrom(randomBytes(32));
  const count = 20_000;
  const nonces = Array.from(
    { length: count },
    (_, ver) => seal({ name: "A", ver, value: "v", updatedAt: 0 }, keys).nonce,
  );
  assert.equal(new Set(nonces).size, count);
});

test("a changed byte or a truncated end of the file is refused or changes no value", async (t) => {
  const { dir } = await filled(t);
  const file = join(dir, "secrets.json");
  const good = await readFile(file);
  // Between these positions is the long value; its bytes are alike.
  const positions = Array.from(good.keys()).filter((at) => at < 900 || at > good.length - 400);
  let accepted = 0;
  for (const at of positions) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 1;
    await writeFile(file, bad);
    const opened = await openIn(dir).catch((error) => {
      assert.ok(coded("storage_corrupt")(error), `byte ${at}`);
      return null;
    });
    if (opened === null) continue;
    accepted += 1;
    await assertWhole(dir);
  }
  // The format number, which this release does not know.
  assert.equal(accepted, 1);
  for (const length of [0, 1, 100, good.length - 2]) {
    await writeFile(file, good.subarray(0, length));
    await assert.rejects(openIn(dir), coded("storage_corrupt"), `cut to ${length}`);
  }
});

const python = `
import base64, json, sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
root = base64.b64decode(open(sys.argv[1] + "/secrets.key").read())
key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"symphony secrets/v1").derive(root)
out = {}
for r in json.load(open(sys.argv[1] + "/secrets.json"))["data"]["records"]:
    b = {k: base64.b64decode(r[k]) for k in ("nonce", "ct", "tag")}
    aad = "symphony|v1|%s|%s|%d" % (r["kid"], r["name"], r["ver"])
    out[r["name"]] = AESGCM(key).decrypt(b["nonce"], b["ct"] + b["tag"], aad.encode()).decode()
print(json.dumps(out))
`;

test("a second implementation, in twenty lines of Python, opens the file after a rotation", async (t) => {
  const known = spawnSync("python3", ["-c", "import cryptography"]);
  if (known.status !== 0) return t.skip("needs python3 with the package cryptography");
  const { dir, secrets } = await filled(t);
  await secrets.rotate();
  const { stdout, stderr } = spawnSync("python3", ["-c", python, dir], { encoding: "utf8" });
  assert.equal(stderr, "");
  assert.deepEqual(JSON.parse(stdout), values);
});
