import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { JsonRpcPeer } from "../../../src/core/agent/json-rpc.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";

function pair() {
  const clock = new FakeClock();
  const sent: unknown[] = [];
  const seen: unknown[] = [];
  const peer = new JsonRpcPeer({
    clock,
    timeoutMs: 5_000,
    write: (line) => {
      assert.ok(line.endsWith("\n"));
      sent.push(JSON.parse(line));
    },
    onNotification: (method, params) => seen.push(["note", method, params]),
    onRequest: ({ id, method, params }) => seen.push(["request", id, method, params]),
    onStray: (line, malformed) => seen.push(["stray", line, malformed]),
  });
  return { peer, clock, sent, seen };
}

describe("a JSON-RPC peer", () => {
  test("sends requests without the jsonrpc member and matches responses by id, in any order", async () => {
    const { peer, sent, clock } = pair();
    const first = peer.request("a", { x: 1 });
    const second = peer.request("b", {});
    assert.deepEqual(sent, [
      { id: 1, method: "a", params: { x: 1 } },
      { id: 2, method: "b", params: {} },
    ]);
    peer.receive('{"id":2,"result":"two"}');
    peer.receive('{"id":1,"result":null}');
    assert.deepEqual(await Promise.all([first, second]), [null, "two"]);
    assert.equal(clock.pending, 0);
  });

  test("A-7: no response in time is response_timeout, and unrelated lines do not count", async () => {
    const { peer, clock } = pair();
    const request = peer.request("initialize", {});
    clock.advance(4_999);
    peer.receive('{"method":"x","params":{}}');
    peer.receive('{"id":99,"result":{}}');
    clock.advance(1);
    await assert.rejects(request, { code: "response_timeout" });
    peer.receive('{"id":1,"result":{}}');
  });

  test("A-7: an error response is response_error with its reason, safe to display", async () => {
    const { peer } = pair();
    const request = peer.request("turn/start", {});
    peer.receive('{"id":1,"error":{"code":-32600,"message":"no \\u001b[31mthread"}}');
    await assert.rejects(request, {
      code: "response_error",
      message: "turn/start: no thread",
      details: { method: "turn/start", code: -32_600, reason: "no thread" },
    });
  });

  test("requests from the other side keep their own ids, 0 and strings included", () => {
    const { peer, sent, seen } = pair();
    void peer.request("mine", {}).catch(() => {});
    peer.receive('{"id":0,"method":"ask","params":{"q":1}}');
    peer.receive('{"id":"s","method":"ask"}');
    peer.receive('{"id":1,"method":"ask","params":{}}');
    peer.reply(0, { ok: true });
    peer.replyError("s", -32_601, "no");
    assert.deepEqual(seen, [
      ["request", 0, "ask", { q: 1 }],
      ["request", "s", "ask", {}],
      ["request", 1, "ask", {}],
    ]);
    assert.deepEqual(sent.slice(1), [
      { id: 0, result: { ok: true } },
      { id: "s", error: { code: -32_601, message: "no" } },
    ]);
  });

  test("a response is handled before the line after it", async () => {
    const { peer, seen } = pair();
    const request = peer.request("turn/start", {}, (result) => seen.push(["result", result]));
    peer.receive('{"id":1,"result":7}');
    peer.receive('{"method":"next"}');
    assert.deepEqual(seen, [
      ["result", 7],
      ["note", "next", {}],
    ]);
    assert.equal(await request, 7);
  });

  test("an error thrown by onResult rejects its request and nothing else", async () => {
    const { peer } = pair();
    const request = peer.request("a", {}, () => {
      throw new SymphonyError("response_error", "no id");
    });
    peer.receive('{"id":1,"result":{}}');
    await assert.rejects(request, { code: "response_error" });
  });

  test("A-10: a broken object is malformed, other text is stray, blank lines are ignored", () => {
    const { peer, seen } = pair();
    for (const line of ["{oops", "", "  ", "Welcome!", "[1]", "17", '{"id":null}'])
      peer.receive(line);
    assert.deepEqual(seen, [
      ["stray", "{oops", true],
      ["stray", "Welcome!", false],
      ["stray", "[1]", false],
      ["stray", "17", false],
      ["stray", '{"id":null}', false],
    ]);
  });

  test("closing rejects open and later requests, and writes no more", async () => {
    const { peer, sent, clock } = pair();
    const open = peer.request("a", {});
    peer.close(new SymphonyError("port_exit", "gone"));
    await assert.rejects(open, { code: "port_exit" });
    await assert.rejects(peer.request("b", {}), { code: "port_exit" });
    peer.notify("c");
    assert.equal(sent.length, 1);
    assert.equal(clock.pending, 0);
  });
});
