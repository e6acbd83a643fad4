import assert from "node:assert/strict";
import { test } from "node:test";
import { NetworkRules, targetOf } from "../../../src/core/egress/addresses.ts";

const at443 = (host: string) => targetOf(`${host}:443`)?.host ?? null;

test("a target has one form: other ways to write an address become that address", () => {
  for (const [written, host] of [
    ["Example.COM", "example.com"],
    ["example.com.", "example.com"],
    ["127.1", "127.0.0.1"],
    ["2130706433", "127.0.0.1"],
    ["0x7f000001", "127.0.0.1"],
    ["0177.0.0.1", "127.0.0.1"],
    ["127.0.0.1.", "127.0.0.1"],
    ["[::1]", "::1"],
    ["[0:0:0:0:0:0:0:1]", "::1"],
    ["[::ffff:127.0.0.1]", "127.0.0.1"],
    ["[::ffff:7f00:1]", "127.0.0.1"],
  ] as const) {
    assert.equal(at443(written), host, written);
  }
});

test("what is not a host and a port is no target", () => {
  for (const written of [
    ...["", ":443", "example.com", "example.com:", "example.com:0", "example.com:65536"],
    ...["user@example.com:443", "example.com:443@evil.test:443", "example.com:443/path"],
    ...["example.com#.allowed.test:443", "example.com%2eallowed.test:443", "a b:443", "..:443"],
    ...[".example.com:443", "example..com:443", "example.com..:443", "[fe80::1%eth0]:443"],
    ...["exa\u0000mple.com:443", "ｅxample.com:443", "[::1:443", "1.2.3.4.5.999:443"],
  ]) {
    assert.equal(targetOf(written), null, written);
  }
  assert.deepEqual(targetOf("example.com", 80), { host: "example.com", port: 80 });
});

test("names are allowed exactly, below a suffix, and at their ports", () => {
  const rules = new NetworkRules(["registry.npmjs.org", "*.Example.com", "git.test:22"]);
  const allows = (authority: string) => {
    const target = targetOf(authority);
    return target !== null && rules.allows(target);
  };
  for (const authority of [
    ...["registry.npmjs.org:443", "REGISTRY.npmjs.org.:443", "registry.npmjs.org:80"],
    ...["a.example.com:443", "a.b.example.com:443", "git.test:22"],
  ]) {
    assert.ok(allows(authority), authority);
  }
  for (const authority of [
    ...["evil-registry.npmjs.org:443", "registry.npmjs.org.evil.test:443", "npmjs.org:443"],
    ...["example.com:443", "badexample.com:443", "registry.npmjs.org:22", "git.test:443"],
    ...["1.1.1.1:443", "[2606:4700::1111]:443", "127.1:443", "localhost:443"],
  ]) {
    assert.ok(!allows(authority), authority);
  }
});

test("inner addresses are reached only when the list has the address itself", () => {
  const none = new NetworkRules(["internal.test"]);
  for (const address of [
    ...["127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255"],
    ...["192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1"],
    ...["255.255.255.255", "::1", "::", "::ffff:10.0.0.1", "::ffff:a00:1", "fe80::1", "fd00::1"],
    ...["64:ff9b::a00:1", "2002:7f00:1::", "ff02::1", "not an address", ""],
  ]) {
    assert.ok(!none.reaches(address), address);
  }
  for (const address of ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]) {
    assert.ok(none.reaches(address), address);
  }
  const some = new NetworkRules(["10.0.0.0/8", "[::1]", "192.168.1.7"]);
  for (const address of ["10.1.2.3", "::1", "192.168.1.7", "::ffff:10.0.0.1"]) {
    assert.ok(some.reaches(address), address);
  }
  assert.ok(!some.reaches("192.168.1.8"));
  assert.ok(some.allows({ host: "10.9.9.9", port: 8080 }));
  assert.ok(!some.allows({ host: "11.0.0.1", port: 443 }));
});
