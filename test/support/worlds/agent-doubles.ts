import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, realpath, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Step } from "../../../src/demo/script.ts";
import { type AcpStep, type AcpTurn, piece } from "../fakes/acp-script.ts";
import { type ClaudeStep, type ClaudeTurn, used } from "../fakes/claude-script.ts";
import type { CommandStep, CommandTurn } from "../fakes/command-script.ts";
import { type Answer, modelServer } from "../fakes/model-server.ts";
import { AcpBench } from "./acp-bench.ts";
import { type Act, type Acts, Stage, type StagePlace, type Used, usedBy } from "./agent-stage.ts";
import { ClaudeBench } from "./claude-bench.ts";
import { CommandBench } from "./command-bench.ts";
import { OpenaiBench } from "./openai-bench.ts";
import { Bench } from "./scripted-agent.ts";

/** A kind of agent as a scripted program that speaks its protocol. */
export interface AgentDouble {
  make(turns: Acts): Promise<Stage>;
  /** The same place for another process. */
  at(place: StagePlace): Stage;
}

const commandFile = fileURLToPath(new URL("../fakes/command-child.ts", import.meta.url));
const hourMs = 3_600_000;

async function newPlace(kind: string): Promise<StagePlace> {
  const root = await realpath(await mkdtemp(join(tmpdir(), `symphony-stage-${kind}-`)));
  await mkdir(join(root, "ENG-1"));
  return { root, runId: `att_${randomUUID()}`, url: null };
}

/** The lines of a file of JSON lines; a line that is being written is left out. */
async function linesOf(path: string): Promise<readonly unknown[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** A double that is a program with a script and a journal in its root. */
function scripted<Turn>(
  kind: string,
  turnOf: (acts: readonly Act[]) => Turn,
  parts: { bench(root: string): Bench; script?(turns: readonly Turn[]): object },
): AgentDouble {
  const { script = (turns) => ({ turns }) } = parts;
  const at = (place: StagePlace) => {
    const bench = parts.bench(place.root);
    return new Stage({
      ...{ bench, place },
      received: () => linesOf(join(place.root, "journal")),
      release: () => release(bench),
    });
  };
  return {
    at,
    async make(turns) {
      const place = await newPlace(kind);
      const text = JSON.stringify(script(turns.map(turnOf)));
      await writeFile(join(place.root, "script.json"), text);
      return at(place);
    },
  };
}

function codexSteps(act: Act): readonly Step[] {
  if (act === "guidance") return [{ do: "waitForSteer", ms: hourMs }];
  if ("question" in act) return [{ do: "ask", ...act }];
  if ("limitedUntil" in act) {
    const primary = { usedPercent: 100, resetsAt: act.limitedUntil };
    const limits = { rateLimits: { limitId: "codex", primary } };
    return [
      { do: "notify", method: "account/rateLimits/updated", params: limits },
      { do: "fail", message: "no more", info: "usageLimitExceeded" },
    ];
  }
  const counted: readonly Step[] = act.used ? [{ do: "tokens", ...act.used }] : [];
  if ("say" in act) return [...counted, { do: "say", text: act.say }];
  const { run: command } = act;
  return [...counted, act.asks ? { do: "ask", command } : { do: "run", command }];
}

let requests = 0;

function claudeSteps(act: Act): readonly ClaudeStep[] {
  if (act === "guidance") return [{ do: "steered" }];
  if ("question" in act) {
    const options = act.options.map((label) => ({ label }));
    const input = { questions: [{ question: act.question, options }] };
    return [{ do: "tool", name: "AskUserQuestion", input }];
  }
  if ("limitedUntil" in act) {
    const info = { status: "rejected", resetsAt: act.limitedUntil, rateLimitType: "five_hour" };
    return [{ do: "write", line: { type: "rate_limit_event", rate_limit_info: info } }];
  }
  const id = `msg_${++requests}`;
  const counted: readonly ClaudeStep[] = act.used ? [{ do: "usage", id, ...act.used }] : [];
  if ("say" in act) return [...counted, { do: "say", text: act.say }];
  const input = { command: act.run };
  const asks = act.asks ?? false;
  return [...counted, { do: "tool", name: "Bash", input, asks, really: true }];
}

function claudeTurn(acts: readonly Act[]): ClaudeTurn {
  const isLimited = acts.some((act) => typeof act === "object" && "limitedUntil" in act);
  const { input, output } = usedBy(acts);
  const words = "You've hit your 5-hour limit";
  const limited = { is_error: true, terminal_reason: "api_error", api_error_status: 429 };
  return {
    steps: acts.flatMap(claudeSteps),
    result: isLimited ? { ...limited, result: words } : used(input, output),
  };
}

function acpSteps(act: Act): readonly AcpStep[] {
  if (act === "guidance") return [{ do: "steered" }];
  // The protocol has no question: an agent that asks by a method of its own is refused.
  if ("question" in act) return [{ do: "request", method: "elicitation/create" }];
  if ("limitedUntil" in act) return [];
  const reported = (size: Used): AcpStep => ({
    do: "update",
    update: { sessionUpdate: "usage_update", used: size.input, size: 100_000 },
  });
  const counted = act.used ? [reported(act.used)] : [];
  if ("say" in act) return [...counted, piece(act.say, randomUUID())];
  return [...counted, { do: "run", command: act.run, asks: act.asks ?? false }];
}

function acpTurn(acts: readonly Act[]): AcpTurn {
  const limit = acts.find((act) => typeof act === "object" && "limitedUntil" in act);
  const { input, output } = usedBy(acts);
  const usage = { inputTokens: input, outputTokens: output, totalTokens: input + output };
  const at = typeof limit === "object" && "limitedUntil" in limit ? limit.limitedUntil : 0;
  const seconds = Math.ceil(at - Date.now() / 1_000);
  const message = `You have exhausted your capacity on this model. Your quota will reset after ${seconds}s.`;
  return {
    steps: acts.flatMap(acpSteps),
    ...(input > 0 && { end: { usage } }),
    ...(limit && { error: { code: 429, message } }),
  };
}

const resumes = {
  agentCapabilities: { sessionCapabilities: { resume: {} } },
  _meta: { steering: { supported: true } },
};

function commandSteps(act: Act): readonly CommandStep[] {
  if (act === "guidance") return [{ do: "guided" }];
  if ("question" in act) return [{ do: "write", line: { type: "question", text: act.question } }];
  if ("limitedUntil" in act) return [];
  const counted: readonly CommandStep[] = act.used ? [{ do: "use", ...act.used }] : [];
  if ("say" in act) return [...counted, { do: "say", text: act.say }];
  return [...counted, { do: "run", command: act.run }];
}

function commandTurn(acts: readonly Act[]): CommandTurn {
  const limit = acts.find((act) => typeof act === "object" && "limitedUntil" in act);
  const steps = acts.flatMap(commandSteps);
  if (typeof limit !== "object" || !("limitedUntil" in limit)) return { steps };
  const fails = "usage limit reached";
  const result = { type: "result", success: false, message: fails, limited: true };
  return { steps, fails, result: { ...result, resets_at: limit.limitedUntil } };
}

/** A program reads its guidance only in symphony's own format; without it, it waits for a file. */
function plainTurn(acts: readonly Act[]): CommandTurn {
  return commandTurn(acts.map((act) => (act === "guidance" ? { run: untilReleased } : act)));
}

const untilReleased = "until [ -e go ]; do sleep 0.05; done";
const release = (stage: { readonly workspace: string }) =>
  writeFile(join(stage.workspace, "go"), "");

function commandBench(root: string, format: "jsonl" | "plain"): CommandBench {
  const line = `exec "${process.execPath}" "${commandFile}" "${root}/script.json" "${root}/journal" ${format}`;
  const own = { output: "jsonl", prompt: "file", resumeLine: line } as const;
  return new CommandBench(root, { config: { line, ...(format === "jsonl" && own) } });
}

function openaiAnswers(act: Act): Answer {
  if (act === "guidance") return { calls: [{ name: "shell", args: { command: untilReleased } }] };
  if ("question" in act) return { calls: [{ name: "ask_user", args: act }] };
  if ("limitedUntil" in act) {
    const error = { type: "usage_limit_reached", resets_at: act.limitedUntil };
    return { status: 429, error };
  }
  const usage = act.used ? { usage: act.used } : {};
  if ("say" in act) return { text: act.say, ...usage };
  const args = { command: act.run, ...(act.asks && { with_escalated_permissions: true }) };
  return { calls: [{ name: "shell", args }], ...usage };
}

function openaiAt(place: StagePlace, more: { asked?: unknown; provider?: AsyncDisposable }): Stage {
  const bench = OpenaiBench.at(place.root, { base_url: place.url ?? "" });
  return new Stage({
    ...{ bench, place },
    received: async () => more.asked,
    release: () => release(bench),
    ...(more.provider && { provider: more.provider }),
  });
}

/** A scripted program for each kind of agent; the built-in agent has a scripted provider instead. */
export const agentDoubles = {
  codex: scripted("codex", (acts) => acts.flatMap(codexSteps), {
    // The agent keeps no record of what it receives.
    bench: (root) => {
      const made: Bench = new Bench(root, {
        config: {
          get command() {
            return `exec ${made.command} < <(tee -a "${root}/journal")`;
          },
        },
      });
      return made;
    },
    script: (turns) => ({ issues: { default: turns } }),
  }),
  claude: scripted("claude", claudeTurn, {
    bench: (root) => new ClaudeBench(root, {}),
    script: (turns) => ({ continues: true, turns }),
  }),
  acp: scripted("acp", acpTurn, {
    bench: (root) => new AcpBench(root, {}),
    script: (turns) => ({ hello: resumes, continues: true, turns }),
  }),
  command: scripted("command", commandTurn, { bench: (root) => commandBench(root, "jsonl") }),
  plain: scripted("plain", plainTurn, { bench: (root) => commandBench(root, "plain") }),
  openai: {
    at: (place) => openaiAt(place, {}),
    async make(turns) {
      const provider = await modelServer(turns.flat().map(openaiAnswers));
      const { root, workspace } = await OpenaiBench.make();
      await mkdir(workspace, { recursive: true });
      const place = { root, runId: `att_${randomUUID()}`, url: provider.url };
      return openaiAt(place, { asked: provider.asked, provider });
    },
  },
} as const satisfies Readonly<Record<string, AgentDouble>>;
