// What agents do that the protocol does not say.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { outcomeOf } from "../../../../src/core/agent/acp/permissions.ts";
import { firstStartIn } from "../../../../src/core/agent/first-start.ts";
import { type AcpScript, type AcpStep, piece } from "../../../support/fakes/acp-script.ts";
import { type AcpBenchOptions, acpBench } from "../../../support/worlds/acp-bench.ts";

const plain = { model: null };
const ask = { approvals: "ask", timeoutMs: 600_000 } as const;

async function played(script: AcpScript, options: AcpBenchOptions = {}) {
  const bench = await acpBench(script, options);
  await using session = await bench.start();
  await session.turn("please", plain);
  return bench;
}

const request = (id: string, options: unknown): AcpStep => {
  const params = { sessionId: "s-1", toolCall: { toolCallId: id, title: id }, options };
  const line = { jsonrpc: "2.0", id, method: "session/request_permission", params };
  return { do: "write", line: JSON.stringify(line) };
};
const known = [
  { optionId: "y", name: "Yes", kind: "allow_once" },
  { optionId: "n", name: "No", kind: "reject_once" },
];

describe("permissions", () => {
  test("the options are found in the names that other agents give their fields", () => {
    const forms = [
      [{ id: "yes", label: "Allow" }, { id: "no", label: "Reject" }, "yes", "no"],
      [{ id: "a", title: "x", kind: "allow-once" }, { id: "b", kind: "reject-once" }, "a", "b"],
      [{ id: "a", kind: "allowOnce" }, { id: "b", kind: "REJECT_ONCE" }, "a", "b"],
      [{ value: "yes", label: "Allow" }, { value: "no", label: "Deny" }, "yes", "no"],
      [{ optionId: 1, name: "Allow" }, { optionId: 2, name: "Reject" }, 1, 2],
      ["allow", "reject", "allow", "reject"],
    ] as const;
    for (const [first, second, allowed, rejected] of forms) {
      const chosen = [true, false].map((approve) => {
        const { outcome } = outcomeOf({ options: [first, second] }, approve);
        return outcome.outcome === "selected" ? outcome.optionId : null;
      });
      assert.deepEqual(chosen, [allowed, rejected], JSON.stringify(first));
    }
  });

  test("a request that no decision fits asks no person, and its command is not said to have started", async () => {
    const toolCall = { toolCallId: "c", title: "ls", kind: "execute" } as const;
    for (const approvals of ["auto", "ask"] as const) {
      await using b = await acpBench({
        turns: [{ steps: [{ do: "ask", toolCall, options: [] }] }],
      });
      await using session = await b.start({ askPolicy: { ...ask, approvals } });
      await session.turn("please", plain);
      assert.deepEqual(await b.got("permission"), [{ outcome: { outcome: "cancelled" } }]);
      assert.deepEqual(
        b.types().filter((type) => type === "approval.requested" || type === "command"),
        [],
      );
      assert.match(JSON.stringify(b.events), /offered no option that fits/);
    }
  });

  test("of two open requests each gets its own answer, and one that the turn's end leaves open is withdrawn and fails no later turn", async () => {
    await using b = await acpBench({
      turns: [
        { steps: [request("p-1", known), request("p-2", known), piece("I gave up.")] },
        { steps: [piece("Again.")] },
      ],
    });
    await using session = await b.start({ askPolicy: ask });
    const turn = session.turn("please", plain);
    await turn;
    const asked = b.events.flatMap((event) =>
      event.type === "approval.requested" && event.ask ? [event.ask.id] : [],
    );
    const gone = b.events.flatMap((event) =>
      event.type === "approval.resolved" ? [event.askId, event.decision] : [],
    );
    assert.equal(asked.length, 2);
    assert.deepEqual(
      gone,
      asked.flatMap((id) => [id, "withdrawn by the agent"]),
    );
    await session.turn("continue", plain);
    assert.deepEqual(b.said, ["I gave up.", "Again."]);
  });
});

describe("what it writes", () => {
  test("its first answer is read behind a mark, a colour or words without a line break", async () => {
    for (const before of ["\\xef\\xbb\\xbf", "\\033[?25l", "Loading... "]) {
      const turns = [{ steps: [piece("up")] }];
      await using b = await played({ turns }, { before: `printf '${before}'; ` });
      assert.deepEqual(b.said, ["up"], before);
    }
  });

  test("an update or other output of more than 10 MiB is left out, and the turn continues", async () => {
    const update = { sessionUpdate: "tool_call_update", toolCallId: "c", rawOutput: "" };
    const start = JSON.stringify({
      ...{ jsonrpc: "2.0", method: "session/update" },
      params: { sessionId: "s-1", update },
    });
    const long = "x".repeat(10.6 * 1024 * 1024);
    const lines = [long, start.replace('"rawOutput":""', `"rawOutput":"${long}"`)];
    const steps = lines.map((line): AcpStep => ({ do: "write", line }));
    await using b = await played({ turns: [{ steps: [...steps, piece("Done.")] }] });
    assert.deepEqual(b.said, ["Done."]);
    assert.equal(b.logs.filter((line) => line.includes("was left out")).length, 2);
  });

  test("a message is read whose content is text alone or a list", async () => {
    const chunk = (content: unknown): AcpStep => ({
      do: "update",
      update: { sessionUpdate: "agent_message_chunk", content } as never,
    });
    const steps = [chunk("One, "), chunk([{ type: "text", text: "two." }])];
    await using b = await played({ turns: [{ steps }] });
    assert.deepEqual(b.said, ["One, two."]);
  });

  test("a turn that ends with an error has failed, with what the agent says of it", async () => {
    const end = { stopReason: "error", message: "the model is gone" };
    await assert.rejects(played({ turns: [{ steps: [], end }] }), {
      code: "turn_failed",
      message: /error: the model is gone/,
    });
  });
});

describe("logins", () => {
  const hello = { authMethods: [{ id: "key", name: "Key" }] };
  const start = async (script: Partial<AcpScript>, options: AcpBenchOptions = {}) => {
    await using b = await acpBench({ hello, turns: [], ...script }, options);
    await using _ = await b.start();
  };

  test("a missing login is the provider's refusal wherever the agent says it, so that no issue spends a retry", async () => {
    const code = "provider_refused";
    const missing = { code: -32_000, message: "Authentication required" };
    await assert.rejects(start({ refuses: { initialize: missing } }), { code });
    const inWords = { code: -32_603, message: "Internal error", data: "auth_required" };
    const hint = /it offers: key/;
    await assert.rejects(start({ refuses: { "session/new": inWords } }), { code, hint });
    const faulty = { code: -32_602, message: "no such method" };
    const config = { authMethod: "other" };
    await assert.rejects(start({ refuses: { authenticate: faulty } }, { config }), { code, hint });
  });

  test("a session that cannot be loaded is begun anew, also for want of a login", async () => {
    for (const error of [
      { code: -32_000, message: "Authentication required" },
      { code: -32_603, message: "Internal error", data: { details: "no such session" } },
    ]) {
      await using b = await acpBench({
        hello: { agentCapabilities: { loadSession: true } },
        refuses: { "session/load": error },
        turns: [{ steps: [piece("new")] }],
      });
      await using session = await b.start({ resumeThreadId: "s-1" });
      assert.equal(session.resumed, false);
      await session.turn("please", plain);
      assert.deepEqual(b.said, ["new"]);
    }
  });
});

test("a version of the protocol as text is its number", async () => {
  await using b = await played({
    hello: { protocolVersion: "1" },
    turns: [{ steps: [piece("up")] }],
  });
  assert.deepEqual(b.said, ["up"]);
});

test("the tokens of gemini and opencode are estimated in mid-turn, so that what a killed turn used is counted", async () => {
  for (const program of ["gemini", "opencode"] as const) {
    const call = { toolCallId: "c", title: "ls", kind: "execute", status: "pending" };
    const steps: AcpStep[] = [
      { do: "update", update: { sessionUpdate: "tool_call", ...call } as never },
      { do: "cancelled" },
    ];
    await using b = await acpBench({ turns: [{ steps }] }, { program });
    await using session = await b.start();
    const turn = session.turn("please", plain).catch(() => {});
    const { total } = await b.until("tokens");
    assert.ok(total.input >= 8_000 && total.input < 9_000, JSON.stringify(total));
    assert.match(JSON.stringify(b.events), /until the end of a turn they are estimated/);
    await session[Symbol.asyncDispose]();
    await turn;
  }
});

test("of several first starts of opencode in one home only one runs at a time, until one has opened its session", async () => {
  const firsts: string[] = [];
  const home = "/home/of-this-test";
  const opened = Promise.withResolvers<string>();
  const start = (name: string, answer: Promise<string>) =>
    firstStartIn(home).run(new AbortController().signal, () => {
      firsts.push(name);
      return answer;
    });
  const failed = assert.rejects(start("a", Promise.reject(new Error("no database"))));
  const second = start("b", opened.promise);
  const later = [start("c", Promise.resolve("c")), start("d", Promise.resolve("d"))];
  await failed;
  await setImmediate();
  assert.deepEqual(firsts, ["a", "b"]);
  const aborted = firstStartIn(home).run(AbortSignal.abort(), () => Promise.resolve("e"));
  await assert.rejects(aborted, { name: "AbortError" });
  opened.resolve("b");
  assert.deepEqual(await Promise.all([second, ...later]), ["b", "c", "d"]);
});
