import type { Clock } from "../../clock.ts";
import { type Bounds, boundLines, leastFreeBytes } from "../../process/bounds.ts";
import { type CommandEnd, runCommand, stopTexts } from "../../process/run.ts";
import { sandboxArgs, startedBy } from "../../process/sandbox.ts";
import type { Level } from "../../process/view.ts";
import { displayTail, displayText, type JsonObject } from "../../text/text.ts";
import type { AgentEvent, AskPolicy } from "../agent.ts";
import type { Confinement } from "../confinement.ts";
import { PathError, pathInside } from "./files.ts";
import type { OpenaiConfig } from "./settings.ts";
import {
  type AskPerson,
  argumentsSchema,
  numberArgument,
  optionalText,
  type Tool,
  type ToolDeps,
  ToolError,
  textArgument,
} from "./toolbox.ts";

export interface ShellDeps extends ToolDeps {
  readonly commands: Commands;
  readonly level: Level;
  readonly askPolicy: AskPolicy;
  readonly asking: AskPerson;
  /** Limit for the time of one command. */
  readonly timeoutMs: number;
}

const maxPromptChars = 1_000;
const matchesPerFile = 50;

/** `shell` and `search`. */
export function shellTools(deps: ShellDeps): readonly Tool[] {
  return [shellTool(deps), searchTool(deps)];
}

function shellTool(deps: ShellDeps): Tool {
  // When no person is asked, the argument is not offered.
  const asks = deps.level !== "danger" && deps.askPolicy.approvals === "ask";
  return {
    readsOnly: false,
    spec: {
      name: "shell",
      description: `Runs a command with bash in the workspace. ${reach[deps.level]} Processes that it leaves running are ended with it. The middle of a long output is left out.`,
      inputSchema: argumentsSchema(
        {
          command: { type: "string", description: "a line of bash" },
          workdir: { type: "string", description: "relative to the workspace" },
          timeout_ms: {
            type: "number",
            description: `maximum, and default if omitted: ${deps.timeoutMs}`,
          },
          ...(asks ? escalation : {}),
        },
        ["workdir", "timeout_ms", ...Object.keys(escalation)],
      ),
    },
    run: (args, signal) => shell(deps, args, signal),
  };
}

const reach: Readonly<Record<Level, string>> = {
  safe: "It can write only in the workspace and in /tmp (which is new each time), and has no network.",
  networked: "It can write only in the workspace and in /tmp (which is new each time).",
  danger: "It runs without a sandbox.",
};

const escalation = {
  with_escalated_permissions: {
    type: "boolean",
    description: "asks a person to let it run outside of the sandbox, after it failed inside",
  },
  justification: { type: "string", description: "for that person: why it is necessary" },
};

async function shell(deps: ShellDeps, args: JsonObject, signal: AbortSignal): Promise<string> {
  const max = deps.timeoutMs;
  const timeoutMs = numberArgument(args, "timeout_ms", { fallback: max, min: 1_000, max });
  const { argv, line } = commandOf(args);
  const place = await pathInside(deps.workspace, optionalText(args, "workdir") ?? ".").catch(
    refuse,
  );
  if (!place.stats?.isDirectory()) throw new ToolError(`${place.path}: no such directory`);
  const wanted = deps.level !== "danger" && args["with_escalated_permissions"] === true;
  if (wanted && !(await allowed(deps, { line, args, signal }))) {
    const command = displayText(line, maxPromptChars);
    deps.emit({ type: "command", command, status: "declined", exitCode: null, output: null });
    return "declined: it may not run outside of the sandbox";
  }
  const order = { argv, line, cwd: place.absolute, timeoutMs, outside: wanted };
  return outcomeText(await deps.commands.run(order, signal), timeoutMs);
}

async function allowed(
  deps: ShellDeps,
  { line, args, signal }: { line: string; args: JsonObject; signal: AbortSignal },
): Promise<boolean> {
  if (deps.askPolicy.approvals !== "ask") {
    deps.emit({ type: "approval.resolved", decision: "declined", automatic: true });
    return false;
  }
  const why = optionalText(args, "justification") ?? "no reason given";
  const prompt = displayText(`Run outside of the sandbox? ${line}\n\n${why}`, maxPromptChars);
  const needs = { kind: "approval" as const, prompt, options: ["approve", "decline"] };
  const answer = await deps.asking(needs, 0, signal);
  return answer.type === "decision" && answer.approve;
}

/** A line, or a list of words, which some models send. */
function commandOf(args: JsonObject): { argv: readonly string[]; line: string } {
  const { command } = args;
  if (!Array.isArray(command)) {
    const line = textArgument(args, "command");
    return { argv: ["bash", "-c", line], line };
  }
  const words = command.filter((word) => typeof word === "string");
  if (words.length === 0 || words.length !== command.length)
    throw new ToolError("the argument command must be text");
  const [program = "", flag = "", line] = words;
  return /(^|\/)(ba)?sh$/.test(program) && /^-l?c$/.test(flag) && line !== undefined
    ? { argv: ["bash", "-c", line], line }
    : { argv: words, line: words.join(" ") };
}

function outcomeText({ exitCode, output, stoppedFor }: CommandEnd, timeoutMs: number): string {
  const late = `stopped after ${timeoutMs} ms`;
  const why = stoppedFor === null ? "" : `stopped: ${stopTexts[stoppedFor]}`;
  const stopped = stoppedFor === "time" ? late : why;
  const head = stoppedFor === null ? `exit code: ${exitCode ?? "killed"}` : stopped;
  return `${head}\n${output}`;
}

/**
 * A pattern from the model may run indefinitely: the search runs like a command, with the same
 * limits.
 */
function searchTool({ commands, workspace }: ShellDeps): Tool {
  return {
    readsOnly: true,
    spec: {
      name: "search",
      description:
        "Finds lines in the text files of the workspace with an extended regular expression.",
      inputSchema: argumentsSchema(
        {
          pattern: { type: "string" },
          path: { type: "string", description: "a file or directory, the workspace if omitted" },
          ignore_case: { type: "boolean" },
        },
        ["path", "ignore_case"],
      ),
    },
    async run(args, signal) {
      const pattern = textArgument(args, "pattern");
      const place = await pathInside(workspace, optionalText(args, "path") ?? ".").catch(refuse);
      if (!place.stats) throw new ToolError(`${place.path}: no such file`);
      const flags = args["ignore_case"] === true ? "-rnIEi" : "-rnIE";
      const argv = [
        ...["grep", flags, "--exclude-dir=.git", "--exclude-dir=node_modules"],
        ...["-m", String(matchesPerFile), "-e", pattern, "--", place.path],
      ];
      const end = await commands.quietly(
        { argv, line: "", cwd: workspace, timeoutMs: 30_000 },
        signal,
      );
      if (end.stoppedFor === null && end.exitCode === 1 && end.output === "")
        return "nothing found";
      return end.exitCode === 0 ? end.output : outcomeText(end, 30_000);
    },
  };
}

function refuse(error: unknown): never {
  if (error instanceof PathError) throw new ToolError(error.message);
  throw error;
}

const maxCommandChars = 2_000;
const maxOutputChars = 4_000;
const lifeSignMs = 30_000;

export interface CommandsOptions {
  readonly level: Level;
  readonly workspace: string;
  /** What commands in the sandbox see. */
  readonly confinement: Confinement;
  readonly env: Readonly<Record<string, string>>;
  readonly runId: string;
  readonly config: OpenaiConfig;
  readonly clock: Clock;
  emit(event: AgentEvent): void;
}

export interface CommandOrder {
  readonly argv: readonly string[];
  /** The line for display. */
  readonly line: string;
  /** Absolute, inside the workspace. */
  readonly cwd: string;
  readonly timeoutMs: number;
  /** A person allowed it. */
  readonly outside?: boolean;
}

/** The limits of every agent, and those of this kind's commands. */
function stricter(all: Bounds | undefined, config: OpenaiConfig): Bounds {
  return {
    maxProcesses: Math.min(all?.maxProcesses ?? config.commandProcesses, config.commandProcesses),
    maxFileBytes: Math.min(all?.maxFileBytes ?? config.commandFileBytes, config.commandFileBytes),
    maxMemoryBytes: all?.maxMemoryBytes ?? null,
    leastFreeBytes: all?.leastFreeBytes ?? leastFreeBytes,
  };
}

/**
 * Runs the agent's commands: in the sandbox of the level, with limits, and reports them as events.
 */
export class Commands {
  readonly #options: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  /** Never rejects because of what the command does. */
  async run(order: CommandOrder, signal: AbortSignal): Promise<CommandEnd> {
    const { emit } = this.#options;
    const command = displayText(order.line, maxCommandChars);
    emit({ type: "command", command, status: "started", exitCode: null, output: null });
    const stopSigns = this.#signs();
    try {
      const end = await this.quietly(order, signal);
      const { exitCode } = end;
      const output = displayTail(end.output, maxOutputChars);
      const status = exitCode === 0 && end.stoppedFor === null ? "completed" : "failed";
      emit({ type: "command", command, status, exitCode, output });
      return end;
    } finally {
      stopSigns();
    }
  }

  /** The same without events. */
  async quietly(order: CommandOrder, signal: AbortSignal): Promise<CommandEnd> {
    const { level, workspace, confinement, env, runId, config, clock } = this.#options;
    const boxed = level !== "danger" && order.outside !== true;
    const bounds = stricter(confinement.bounds, config);
    const box =
      level !== "danger" && boxed
        ? await sandboxArgs({ ...confinement, bounds, level, cwd: order.cwd, emptied: [] })
        : startedBy(boundLines(bounds));
    return runCommand({
      argv: [...box, ...order.argv],
      cwd: boxed ? workspace : order.cwd,
      env,
      timeoutMs: order.timeoutMs,
      outputBytes: config.commandOutputBytes,
      signal,
      clock,
      limits: { runId, workspace, bounds },
      onOutput: () => this.#options.emit({ type: "activity", method: "command/output" }),
    });
  }

  /** A command may be silent until its time limit: this is no stall. */
  #signs(): () => void {
    const { clock, emit } = this.#options;
    let cancel = () => {};
    const sign = () => {
      cancel = clock.after(lifeSignMs, () => {
        emit({ type: "activity", method: "command/running" });
        sign();
      });
    };
    sign();
    return () => cancel();
  }
}
