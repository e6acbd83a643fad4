import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Confinement } from "../../../src/core/agent/confinement.ts";
import type { ProviderWay } from "../../../src/core/agent/provider-way.ts";
import { openWayOut, proxiesShared } from "../../../src/core/agent/way-out.ts";

const env = {
  ...{ HTTPS_PROXY: "http://proxy:8080", http_proxy: "http://proxy:8080", no_proxy: ".example" },
  ALL_PROXY: "http://me:canary@proxy:8080",
};
const named = ["HTTPS_PROXY", "http_proxy", "no_proxy"];

describe("D2: the proxy of the operator, for every kind of agent but codex", () => {
  const provider: ProviderWay = {
    ...{ upstream: new URL("https://provider.example"), header: "x-api-key" },
    key: async () => "sk-x",
    ...{ addressVariable: "MODEL_URL", keyVariable: "MODEL_KEY" },
  };

  test("reaches a program that shares the machine's network, and none in a network of its own", () => {
    const of = (
      level: "safe" | "networked" | "danger",
      network: readonly string[] | null,
      way: ProviderWay | null,
    ) => proxiesShared({ spec: { level, network }, provider: way, env });
    assert.deepEqual(of("danger", null, null), named);
    assert.deepEqual(of("networked", null, null), named);
    assert.deepEqual(of("networked", null, provider), named);
    assert.deepEqual(of("networked", ["git.example"], null), []);
    assert.deepEqual(of("safe", null, provider), []);
    assert.deepEqual(of("safe", null, null), []);
  });

  test("is among the variables that a program inherits at level danger, once and without a password", async () => {
    await using way = await openWayOut({
      spec: { level: "danger", onEvent() {} },
      ...{ provider: null, confinement: null, env },
      passthrough: ["MODEL_KEY", "HTTPS_PROXY"],
    });
    assert.deepEqual(way.passthrough, ["MODEL_KEY", "HTTPS_PROXY", "http_proxy"]);
    const direct = ".example,127.0.0.1,localhost,::1";
    assert.deepEqual(way.proxies, { NO_PROXY: direct, no_proxy: direct });
    assert.match(way.lines.join("\n"), /^export NO_PROXY='?\.example,127\.0\.0\.1/);
  });

  test("that is asked for no host at all is asked for none", async () => {
    await using way = await openWayOut({
      spec: { level: "danger", onEvent() {} },
      ...{ provider: null, confinement: null, env: { ...env, no_proxy: "*" }, passthrough: [] },
    });
    assert.equal(way.proxies["NO_PROXY"], "*");
  });

  test("is not asked for the address of this machine at which the provider is reached", async () => {
    await using way = await openWayOut({
      spec: { level: "networked", onEvent() {} },
      provider,
      confinement: { workspace: "/", shown: [], hidden: [] } as unknown as Confinement,
      ...{ env, passthrough: [] },
    });
    assert.deepEqual(way.passthrough, ["HTTPS_PROXY", "http_proxy"]);
    const text = way.lines.join("\n");
    assert.match(text, /NO_PROXY='?\.example,127\.0\.0\.1,localhost,::1'? no_proxy=/);
    assert.match(text, /MODEL_URL='?http:\/\/127\.0\.0\.1:\d+/);
  });
});
