import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { acp, claude } from "../core/agent/abilities.ts";
import { agentContract } from "../core/agent/contract.ts";
import { type Act, type Acts, Stage } from "../support/worlds/agent-stage.ts";
import { realAgents } from "../support/worlds/real-agent.ts";
import { realClaude } from "../support/worlds/real-claude.ts";

// The contract of agents over the real Claude Code and claude-agent-acp, whose provider follows a script: the scenarios whose truth
// depends on the program. They need SYMPHONY_CLAUDE, SYMPHONY_CLAUDE_ACP and SYMPHONY_EQUIPMENT.

const untilReleased = "until [ -e go ]; do sleep 0.1; done";

/** What the provider answers to one request. */
function stepOf(act: Act): object {
  if (act === "guidance") return { type: "bash", cmd: untilReleased };
  if ("question" in act) {
    const options = act.options.map((label) => ({ label, description: label }));
    const question = { question: act.question, header: "Choice", options, multiSelect: false };
    return { type: "tool", name: "AskUserQuestion", input: { questions: [question] } };
  }
  if ("limitedUntil" in act) throw new Error("the limit of a login has a test of its own");
  const usage = act.used ? { usage: act.used } : {};
  if ("say" in act) return { type: "text", text: act.say, ...usage };
  return { type: "bash", cmd: act.run, ...usage };
}

/** It may ask its model for suggestions of the next prompt; this uses no step. */
const suggestions = {
  when: { userText: "[SUGGESTION MODE" },
  steps: [{ type: "text", text: "x" }],
};

async function stage(make: typeof realClaude | typeof realAgents.claude, turns: Acts) {
  const steps = turns.flat().map(stepOf);
  const bench = await make({ routes: [suggestions], steps, onEnd: "last" });
  return new Stage({
    bench,
    place: { root: bench.root, runId: bench.runId, url: bench.model.url },
    received: () => bench.model.requests(),
    release: () => writeFile(join(bench.workspace, "go"), ""),
  });
}

agentContract({
  abilities: claude,
  make: (turns) => stage(realClaude, turns),
  double: null,
  only: /^(?:start and turn|steer|resume|approve|decline|question|abort: disposing|interrupt|kill -9 of the agent|budget|usage|THREAT-18|THREAT-19)\b/,
});

// A question of this agent is refused in its own words. Its usage has tests of its own (acp-agents.test.ts): it also counts the
// suggestions that it may ask for, which are in no act.
agentContract({
  abilities: { ...acp, name: "acp: claude-agent-acp" },
  make: (turns) => stage(realAgents.claude, turns),
  double: null,
  only: /^(?:start and turn|steer|resume|approve|decline|abort: disposing|interrupt|kill -9 of the agent|THREAT-18|THREAT-19)\b/,
});
