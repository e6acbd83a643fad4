import { Argument, type Command, Option } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";

const shells = ["bash", "zsh", "fish"] as const;
/** A person waits for it in the middle of a line. */
const patienceMs = 300;
const mostIssues = 1_000;
/** A shell would expand others, or take them apart. */
const plainWord = /^[A-Za-z0-9][A-Za-z0-9._#/-]{0,199}$/;

export function declareCompletion(command: Command, run: Run): void {
  examples(
    command,
    'eval "$(symphony completion bash)"                      in ~/.bashrc',
    "source <(symphony completion zsh)                       in ~/.zshrc, after compinit",
    "symphony completion fish > ~/.config/fish/completions/symphony.fish",
  )
    .addArgument(new Argument("[shell]", "which shell to print a script for").choices(shells))
    .addOption(new Option("--issues", "print the issues that the server knows").hideHelp())
    .action((shell: string | undefined, { issues }: { readonly issues?: boolean }) =>
      run((context) =>
        issues ? printIssues(context) : printScript(shell, command.parent ?? command, context),
      ),
    );
}

async function printScript(
  shell: string | undefined,
  program: Command,
  context: CommandContext,
): Promise<number> {
  if (shell === undefined) {
    throw new SymphonyError("usage", "name a shell: bash, zsh or fish", {
      hint: "symphony completion --help says how to install it",
    });
  }
  const { commandSpecs } = await import("./completion-spec.ts");
  const specs = commandSpecs(program);
  const script = await scriptOf(shell, specs);
  if (context.json) context.printJson({ shell, script });
  else context.stdout.write(script);
  return exitCodes.done;
}

async function scriptOf(
  shell: string,
  specs: Parameters<typeof import("./completion-fish.ts").fishScript>[0],
): Promise<string> {
  if (shell === "fish") return (await import("./completion-fish.ts")).fishScript(specs);
  const { bashScript, zshScript } = await import("./completion-posix.ts");
  return shell === "bash" ? bashScript(specs) : zshScript(specs);
}

/** From the server's memory, so that no tracker is asked; nothing at all when it takes too long or fails. */
async function printIssues(context: CommandContext): Promise<number> {
  // What is still open then ends with the process.
  const timer = setTimeout(() => process.exit(exitCodes.done), patienceMs);
  const names = await knownIssues(context).catch(() => []);
  clearTimeout(timer);
  if (context.json) context.printJson({ issues: names });
  else if (names.length > 0) context.print(names.join("\n"));
  return exitCodes.done;
}

async function knownIssues(context: CommandContext): Promise<string[]> {
  const discovered = await context.discovery();
  if (!discovered.certain) return [];
  const client = await context.client();
  const { queued, running, retrying, blocked, held, failed, completed } = await client.system.state(
    { query: { limit: mostIssues } },
    { timeoutMs: patienceMs },
  );
  const rows = [running, blocked, retrying, held, failed, queued, completed].flat();
  const names = rows.map((row) => row.issue_identifier);
  return [...new Set(names)].filter((name) => plainWord.test(name));
}
