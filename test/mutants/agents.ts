import { faults, type Mutant } from "./mutant.ts";

const bridge = "test/core/agent/bridge.test.ts";
const rows = "test/core/agent/acp/rows.test.ts";

/** Faults of the bridge to the tracker's tools and of the agents that use it. */
export const ofTheAgents: readonly Mutant[] = [
  ...faults(
    { file: "src/core/agent/bridge.ts", tests: [bridge], only: "the token of one attempt" },
    [
      "the token of another attempt opens the tools of this one",
      "isTrusted = sameText(line, token);",
      "isTrusted = token.length > 0;",
    ],
  ),
  ...faults({ file: "src/core/agent/bridge.ts", tests: [bridge], only: "an agent that asks" }, [
    "answers that no agent reads fill the server",
    "socket.pause();",
    "socket.resume();",
  ]),
  ...faults({ file: "src/core/agent/bridge.ts", tests: [bridge], only: "with the end of" }, [
    "the tools stay reachable after the attempt",
    "for (const one of connections) one.destroy();\n",
    "if (connections.size > 0) return;\n",
  ]),
  ...faults({ file: "src/core/agent/acp/session.ts", tests: [rows], only: "A13" }, [
    "a replayed history is told as new work",
    '    if (!this.#wasPrompted || params["sessionId"] !== this.threadId) return;\n',
    "",
  ]),
  ...faults({ file: "src/core/agent/acp/usage.ts", tests: [rows], only: "A8" }, [
    "an agent without a count uses no tokens",
    "return largest.total === 0 ? null : largest;",
    "return largest;",
  ]),
  ...faults({ file: "src/core/agent/acp/permissions.ts", tests: [rows], only: "A20" }, [
    "an option that approves and rejects is taken as approval",
    "return rejects === allows ? null : allows;",
    "return allows;",
  ]),
  ...faults({ file: "src/core/agent/acp/runtime.ts", tests: [rows], only: "gemini trusts" }, [
    "gemini trusts a workspace whose files it obeys",
    "opens: isPlain && known.agents.size === 1",
    'opens: known.agents.has("gemini")',
  ]),
];
