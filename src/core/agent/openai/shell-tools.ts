import type { People } from "../agent.ts";
import { displayText } from "../display-text.ts";
import type { JsonObject } from "../json-value.ts";
import type { CommandEnd } from "./command.ts";
import type { Commands } from "./commands.ts";
import { PathError, placeIn } from "./inside.ts";
import type { Asking } from "./people-tools.ts";
import type { Level } from "./sandbox.ts";
import {
  argumentsSchema,
  numberArgument,
  optionalText,
  type Tool,
  ToolError,
  type ToolWorld,
  textArgument,
} from "./tool.ts";

export interface ShellWorld extends ToolWorld {
  readonly commands: Commands;
  readonly level: Level;
  readonly people: People;
  readonly asking: Asking;
  /** Longest time for one command. */
  readonly timeoutMs: number;
}

const maxPromptChars = 1_000;
const matchesPerFile = 50;

/** `shell` and `search`. */
export function shellTools(world: ShellWorld): readonly Tool[] {
  return [shellTool(world), searchTool(world)];
}

function shellTool(world: ShellWorld): Tool {
  // Where nobody is asked there is nothing to ask for.
  const asks = world.level !== "danger" && world.people.approvals === "ask";
  return {
    readsOnly: false,
    spec: {
      name: "shell",
      description: `Runs a command with bash in the workspace. ${reach[world.level]} What it leaves running ends with it. Of a long output the middle is left out.`,
      inputSchema: argumentsSchema(
        {
          command: { type: "string", description: "a line of bash" },
          workdir: { type: "string", description: "relative to the workspace" },
          timeout_ms: {
            type: "number",
            description: `at most and, if left out, ${world.timeoutMs}`,
          },
          ...(asks ? escalation : {}),
        },
        ["workdir", "timeout_ms", ...Object.keys(escalation)],
      ),
    },
    run: (args, signal) => shell(world, args, signal),
  };
}

const reach: Readonly<Record<Level, string>> = {
  safe: "It can write in the workspace and in /tmp alone (which is new each time), and has no network.",
  networked: "It can write in the workspace and in /tmp alone (which is new each time).",
  danger: "Nothing holds it back.",
};

const escalation = {
  with_escalated_permissions: {
    type: "boolean",
    description: "asks a person to let it run outside of the sandbox, after it failed inside",
  },
  justification: { type: "string", description: "for that person: why it is needed" },
};

async function shell(world: ShellWorld, args: JsonObject, signal: AbortSignal): Promise<string> {
  const max = world.timeoutMs;
  const timeoutMs = numberArgument(args, "timeout_ms", { fallback: max, min: 1_000, max });
  const { argv, line } = commandOf(args);
  const place = await placeIn(world.workspace, optionalText(args, "workdir") ?? ".").catch(refused);
  if (!place.stats?.isDirectory()) throw new ToolError(`${place.path}: no such directory`);
  const wanted = world.level !== "danger" && args["with_escalated_permissions"] === true;
  if (wanted && !(await allowed(world, { line, args, signal }))) {
    const command = displayText(line, maxPromptChars);
    world.emit({ type: "command", command, status: "declined", exitCode: null, output: null });
    return "declined: it may not run outside of the sandbox";
  }
  const order = { argv, line, cwd: place.absolute, timeoutMs, outside: wanted };
  return told(await world.commands.run(order, signal), timeoutMs);
}

async function allowed(
  world: ShellWorld,
  { line, args, signal }: { line: string; args: JsonObject; signal: AbortSignal },
): Promise<boolean> {
  if (world.people.approvals !== "ask") {
    world.emit({ type: "approval.resolved", decision: "declined", automatic: true });
    return false;
  }
  const why = optionalText(args, "justification") ?? "no reason given";
  const prompt = displayText(`Run outside of the sandbox? ${line}\n\n${why}`, maxPromptChars);
  const needs = { kind: "approval" as const, prompt, options: ["approve", "decline"] };
  const answer = await world.asking(needs, 0, signal);
  return answer.type === "decision" && answer.approve;
}

/** A line, or words as some models give them. */
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

function told({ exitCode, output, stoppedFor }: CommandEnd, timeoutMs: number): string {
  const end = {
    time: `stopped after ${timeoutMs} ms`,
    processes: "stopped: it started too many processes",
    disk: "stopped: the disk is nearly full",
    interrupt: "interrupted",
  };
  const head = stoppedFor === null ? `exit code: ${exitCode ?? "killed"}` : end[stoppedFor];
  return `${head}\n${output}`;
}

/** A pattern of the model may take for ever: it runs where commands run, and under their limits. */
function searchTool({ commands, workspace }: ShellWorld): Tool {
  return {
    readsOnly: true,
    spec: {
      name: "search",
      description:
        "Finds lines in the text files of the workspace by an extended regular expression.",
      inputSchema: argumentsSchema(
        {
          pattern: { type: "string" },
          path: { type: "string", description: "a file or directory, the workspace if left out" },
          ignore_case: { type: "boolean" },
        },
        ["path", "ignore_case"],
      ),
    },
    async run(args, signal) {
      const pattern = textArgument(args, "pattern");
      const place = await placeIn(workspace, optionalText(args, "path") ?? ".").catch(refused);
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
      return end.exitCode === 0 ? end.output : told(end, 30_000);
    },
  };
}

function refused(error: unknown): never {
  if (error instanceof PathError) throw new ToolError(error.message);
  throw error;
}
