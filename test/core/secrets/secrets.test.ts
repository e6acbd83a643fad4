import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { z } from "zod";
import { keysFrom, type SealedSecret, seal, unseal } from "../../../src/core/secrets/cipher.ts";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import { durableJson } from "../../../src/core/store/durable.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";

const canary = "canary-4f1c9f0b2d";
const master = "correct horse battery staple";

async function vault(t: TestContext, env: Readonly<Record<string, string>> = {}) {
  const dir = temporaryDir(t);
  const redactor = createRedactor();
  const clock = new FakeClock();
  const open = (over: Readonly<Record<string, string>> = env) =>
    openSecrets({ dir, env: over, clock, redactor });
  return { dir, file: join(dir, "secrets.json"), key: join(dir, "secrets.key"), redactor, open };
}

/** Every byte of the directory, by file. */
async function bytesIn(dir: string): Promise<Record<string, string>> {
  const names = (await readdir(dir)).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(dir, name), "latin1")));
  return Object.fromEntries(names.map((name, at) => [name, texts[at] ?? ""]));
}

test("X-8: a stored secret exists after a restart, encrypted, and only its owner can read the files", async (t) => {
  const { dir, file, key, open, redactor } = await vault(t);
  const secrets = await open();
  assert.deepEqual([secrets.names(), await readdir(dir)], [[], []]);
  assert.equal((await secrets.put("LINEAR_API_KEY", canary)).created, true);
  assert.equal((await secrets.put("A", "first value")).created, true);
  assert.equal((await secrets.put("A", "second value")).created, false);
  const again = await open();
  assert.deepEqual(again.names(), ["A", "LINEAR_API_KEY"]);
  assert.deepEqual([again.lookup("LINEAR_API_KEY"), again.lookup("A")], [canary, "second value"]);
  assert.equal(again.lookup("toString"), undefined);
  for (const path of [file, key]) assert.equal((await stat(path)).mode & 0o777, 0o600, path);
  const everything = JSON.stringify(await bytesIn(dir));
  for (const form of [
    canary,
    Buffer.from(canary).toString("base64"),
    Buffer.from(canary).toString("hex"),
  ]) {
    assert.ok(!everything.includes(form));
  }
  assert.equal(redactor.redact(`key: ${canary}`), "key: [redacted]");
});

test("X-2: a value is redacted from the moment it is given or read, saved or not", async (t) => {
  const { dir, file, open } = await vault(t);
  await (await open()).put("A", canary);
  const redactor = createRedactor();
  const again = await openSecrets({ dir, env: {}, clock: new FakeClock(), redactor });
  assert.equal(redactor.redact(`key: ${canary}`), "key: [redacted]");
  const putting = again.put("B", "another-canary-77");
  assert.equal(redactor.redact("another-canary-77"), "[redacted]");
  await putting;
  // A directory at the path of the next file: nothing more can be written.
  await rm(file);
  await mkdir(join(file, "in the way"), { recursive: true });
  await assert.rejects(again.put("C", "third-canary-88"));
  assert.equal(redactor.redact("third-canary-88"), "[redacted]");
  assert.deepEqual([again.names(), again.lookup("C")], [["A", "B"], undefined]);
  await assert.rejects(again.remove("A"));
  assert.equal(again.lookup("A"), canary, "what is still on disk is still there");
  await rm(file, { recursive: true });
  await again.put("D", "fourth-canary-99");
  assert.deepEqual((await open()).names(), ["A", "B", "D"], "a refused change does not come later");
});

test("a removed secret is gone permanently, also from the file", async (t) => {
  const { open } = await vault(t);
  const secrets = await open();
  await secrets.put("A", canary);
  await secrets.remove("A");
  assert.deepEqual([secrets.names(), secrets.lookup("A")], [[], undefined]);
  await assert.rejects(secrets.remove("A"), { code: "secret_not_found" });
  assert.deepEqual((await open()).names(), []);
});

test("concurrent changes are all kept", async (t) => {
  const { open } = await vault(t);
  const secrets = await open();
  const names = ["A", "B", "C", "D"];
  await Promise.all(names.map((name) => secrets.put(name, `value of ${name}`)));
  const again = await open();
  assert.deepEqual(
    names.map((name) => again.lookup(name)),
    names.map((name) => `value of ${name}`),
  );
});

test("a wrong, lost or short key fails to open, and changes no byte", async (t) => {
  const { dir, key, open } = await vault(t);
  await (await open()).put("A", canary);
  const before = await bytesIn(dir);
  const wrong = randomBytes(32).toString("base64");
  await assert.rejects(
    open({ SYMPHONY_MASTER_KEY: wrong }),
    coded("secrets_key_invalid", /another key/),
  );
  await assert.rejects(open({ SYMPHONY_MASTER_KEY: "short" }), coded("secrets_key_invalid"));
  assert.deepEqual(await bytesIn(dir), before);
  await rename(key, `${key}.away`);
  await assert.rejects(open(), coded("secrets_key_invalid", /is gone/));
  await writeFile(key, `${wrong}\n`, { mode: 0o600 });
  await assert.rejects(open(), coded("secrets_key_invalid", /another key/));
  await rename(`${key}.away`, key);
  assert.deepEqual(await bytesIn(dir), before);
  assert.equal((await open()).lookup("A"), canary);
});

test("a key file that others can read, a link, or a file without a key is refused", async (t) => {
  const { key, open } = await vault(t);
  await (await open()).put("A", canary);
  for (const mode of [0o640, 0o604, 0o620, 0o602]) {
    await chmod(key, mode);
    await assert.rejects(
      open(),
      coded("secrets_key_invalid", /read by other users/),
      mode.toString(8),
    );
  }
  await chmod(key, 0o600);
  await rename(key, `${key}.away`);
  await symlink(`${key}.away`, key);
  await assert.rejects(open(), coded("secrets_key_invalid", /is a link/));
  await rm(key);
  await writeFile(key, "not a key\n", { mode: 0o600 });
  await assert.rejects(open(), coded("secrets_key_invalid", /holds no key/));
});

test("a master key of the environment needs no key file: 32 bytes, or a passphrase", async (t) => {
  for (const value of [randomBytes(32).toString("base64"), master]) {
    const { dir, open, redactor } = await vault(t, { SYMPHONY_MASTER_KEY: value });
    await (await open()).put("A", canary);
    assert.equal((await open()).lookup("A"), canary);
    assert.deepEqual(
      (await readdir(dir)).filter((name) => name.endsWith(".key")),
      [],
    );
    assert.doesNotMatch(redactor.redact(`a ${value} b`), new RegExp(RegExp.escape(value)));
    await assert.rejects(open({}), coded("secrets_key_invalid"));
  }
});

/** Rewrites the file's content with a valid checksum, as an attacker who knows the format could. */
async function tamper(file: string, change: (document: Document) => void): Promise<void> {
  const adapter = durableJson(file, 1, z.any());
  const document: Document = await adapter.read();
  change(document);
  await adapter.write(document);
}

interface Document {
  last_ver: number;
  records: SealedSecret[];
}

test("a record that was swapped, reverted, removed or renamed is detected", async (t) => {
  const { file, open } = await vault(t);
  const secrets = await open();
  await secrets.put("A", "value of A");
  const old = JSON.parse(await readFile(file, "utf8")).data.records[0];
  await secrets.put("A", "newer value");
  await secrets.put("B", "value of B");
  const good = await readFile(file);
  const attacks: ((document: Document) => void)[] = [
    ({ records }) => records.splice(0, 1, old),
    ({ records }) => records.splice(0, 1),
    ({ records: [a, b] }) => Object.assign(a ?? {}, { ct: b?.ct, nonce: b?.nonce, tag: b?.tag }),
    ({ records: [a] }) => Object.assign(a ?? {}, { name: "C" }),
    ({ records: [a] }) => Object.assign(a ?? {}, { ct: "AAAA" }),
    ({ records: [a] }) => Object.assign(a ?? {}, { updated_at: 1 }),
    (document) => Object.assign(document, { last_ver: 1 }),
  ];
  for (const attack of attacks) {
    await writeFile(file, good);
    await tamper(file, attack);
    await assert.rejects(open(), coded("storage_corrupt", /altered/), attack.toString());
  }
  await writeFile(file, good);
  assert.equal((await open()).lookup("A"), "newer value");
});

test("every value is restored unchanged, and a flipped bit or a short tag is refused", () => {
  const keys = keysFrom(randomBytes(32));
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1 }), fc.nat(), (value, at) => {
      const record = seal({ name: "A", ver: 1, value, updatedAt: 0 }, keys);
      assert.equal(unseal(record, keys), value);
      for (const field of ["ct", "tag", "nonce"] as const) {
        const bytes = Buffer.from(record[field], "base64");
        const index = at % bytes.length;
        bytes[index] = (bytes[index] ?? 0) ^ (1 << (at % 8));
        assert.throws(() => unseal({ ...record, [field]: bytes.toString("base64") }, keys));
      }
      const short = Buffer.from(record.tag, "base64").subarray(0, 4).toString("base64");
      assert.throws(() => unseal({ ...record, tag: short }, keys));
      for (const moved of [{ name: "B" }, { ver: 2 }, { kid: "00" }]) {
        assert.throws(() => unseal({ ...record, ...moved }, keys));
      }
    }),
    { numRuns: 50 },
  );
});
