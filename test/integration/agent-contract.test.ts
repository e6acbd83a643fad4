import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  realClaude as claude,
  realClaudeAcp as claudeAcp,
  realCodex as codex,
  gemini,
  opencode,
  type Program,
} from "../core/agent/abilities.ts";
import { agentContract } from "../core/agent/contract.ts";
import { type Act, type Acts, Stage } from "../support/worlds/agent-stage.ts";
import { realAgents } from "../support/worlds/real-agent.ts";
import { realClaude } from "../support/worlds/real-claude.ts";
import { realCodex } from "../support/worlds/real-codex.ts";

// The contract of agents over the real programs, whose provider follows a script: the scenarios whose truth depends on the program.
// What a program cannot do, and what a test
// of its own holds, is declared in abilities.ts and reported as skipped; SYMPHONY_CONTRACT=whole also runs the latter.
// They need SYMPHONY_CODEX, SYMPHONY_CLAUDE, SYMPHONY_CLAUDE_ACP, SYMPHONY_GEMINI, SYMPHONY_OPENCODE and SYMPHONY_EQUIPMENT.

const isWhole = process.env["SYMPHONY_CONTRACT"] === "whole";
const untilReleased = "until [ -e go ]; do sleep 0.1; done";

/** The steps of a scripted provider that depend on its agent. */
interface Words {
  run(cmd: string, asks: boolean): object;
  question(question: string, labels: readonly string[]): object;
  limit(resetsAt: number): object;
}

const never = (what: string) => () => {
  throw new Error(`${what} is declared as not run`);
};

/** What the provider answers to one request. */
function stepOf(act: Act, words: Words): object {
  if (act === "guidance") return words.run(untilReleased, false);
  if ("question" in act) return words.question(act.question, act.options);
  if ("limitedUntil" in act) return words.limit(act.limitedUntil);
  const usage = act.used ? { usage: act.used } : {};
  if ("say" in act) return { type: "text", text: act.say, ...usage };
  return { ...words.run(act.run, act.asks ?? false), ...usage };
}

const plain: Words = {
  run: (cmd) => ({ type: "bash", cmd }),
  question: never("a question"),
  limit: never("a limit"),
};

const claudeWords: Words = {
  ...plain,
  question(question, labels) {
    const options = labels.map((label) => ({ label, description: label }));
    const asked = { question, header: "Choice", options, multiSelect: false };
    return { type: "tool", name: "AskUserQuestion", input: { questions: [asked] } };
  },
};

const codexWords: Words = {
  run(cmd, asks) {
    const extra = { sandbox_permissions: "require_escalated", justification: "May I?" };
    return { type: "shell", cmd, ...(asks && { extra }) };
  },
  question(question, labels) {
    const options = labels.map((label) => ({ label, description: label }));
    const questions = [{ id: "choice", header: "Choice", question, options }];
    return { type: "call", name: "request_user_input", arguments: { questions } };
  },
  limit(resetsAt) {
    const message = "The usage limit has been reached";
    const error = { type: "usage_limit_reached", message, resets_at: resetsAt };
    return {
      ...{ type: "error", status: 429, body: { error } },
      headers: {
        "x-codex-primary-used-percent": "100",
        "x-codex-primary-window-minutes": "300",
        "x-codex-primary-reset-at": String(resetsAt),
      },
    };
  },
};

/** It may ask its model for suggestions of the next prompt; this uses no step. */
const suggestions = {
  when: { userText: "[SUGGESTION MODE" },
  steps: [{ type: "text", text: "x" }],
};
const withRoutes = (steps: readonly object[]) => ({
  ...{ routes: [suggestions], steps, onEnd: "last" },
});

type Bench = ConstructorParameters<typeof Stage>[0]["bench"] & {
  readonly runId: string;
  later?(): Promise<void>;
  readonly model: { readonly url: string; requests(): Promise<unknown[]> };
};

function suite(program: Program, words: Words, make: (steps: object[]) => Promise<Bench>): void {
  const { abilities, cannot, elsewhere } = program;
  agentContract({
    abilities,
    without: { ...(isWhole ? {} : elsewhere), ...cannot },
    double: null,
    async make(turns: Acts) {
      const bench = await make(turns.flat().map((act) => stepOf(act, words)));
      return new Stage({
        bench,
        place: { root: bench.root, runId: bench.runId, url: bench.model.url },
        received: () => bench.model.requests(),
        release: () => writeFile(join(bench.workspace, "go"), ""),
        later: async () => bench.later?.(),
      });
    },
  });
}

suite(codex, codexWords, (steps) => {
  const flags = " -c features.default_mode_request_user_input=true";
  return realCodex(steps, { flags, config: { approvalPolicy: "on-request" } });
});
suite(claude, claudeWords, (steps) => realClaude(withRoutes(steps)));
suite(claudeAcp, plain, (steps) => realAgents.claude(withRoutes(steps)));
suite(gemini, plain, realAgents.gemini);
suite(opencode, plain, realAgents.opencode);
