import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { type CommandEntry, type CommandRow, loadRow, row } from "./table.ts";

const shells = ["bash", "zsh", "fish"] as const;
/** The user waits for the completion while typing a line. */
const waitMs = 300;
const maxIssues = 1_000;
/** A shell would expand or split any other. */
const plainWord = /^[A-Za-z0-9][A-Za-z0-9._#/-]{0,199}$/;

/** `symphony completion`, which completes the commands of `catalogue`. */
export function completionCommand(catalogue: readonly CommandEntry[]): CommandRow {
  return row({
    examples: [
      'eval "$(symphony completion bash)"                      in ~/.bashrc',
      "source <(symphony completion zsh)                  in ~/.zshrc, after compinit",
      "symphony completion fish > ~/.config/fish/completions/symphony.fish",
    ],
    arguments: [
      {
        name: "shell",
        summary: "which shell to print a script for",
        optional: true,
        choices: shells,
      },
    ],
    options: [{ name: "issues", summary: "print the issues that the server knows", hidden: true }],
    stream: ({ issues }, context) => (issues ? printIssues(context) : null),
    async call({ shell }) {
      if (shell === undefined) {
        throw new SymphonyError("usage", "name a shell: bash, zsh or fish", {
          hint: "symphony completion --help says how to install it",
        });
      }
      const { scriptOf } = await import("./shells.ts");
      const rows = await Promise.all(catalogue.map(loadRow));
      return { shell, script: scriptOf(shell, rows) };
    },
    print({ script }, { stdout }) {
      stdout.write(script);
    },
  });
}

/** Read from the server's memory, without a request to the tracker; empty when that takes too long or fails. */
async function printIssues(context: CommandContext): Promise<number> {
  // Anything still open is closed when the process ends.
  const timer = setTimeout(() => process.exit(exitCodes.done), waitMs);
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
    { query: { limit: maxIssues } },
    { timeoutMs: waitMs },
  );
  const rows = [running, blocked, retrying, held, failed, queued, completed].flat();
  const names = rows.map((row) => row.issue_identifier);
  return [...new Set(names)].filter((name) => plainWord.test(name));
}
