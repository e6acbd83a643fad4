import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";

type Asking = Pick<CommandContext, "stdin" | "stderr" | "interactive">;

/** `value`, or all of stdin where it is `-`, without the newline that ends the last line. */
export async function textOrStdin(
  value: string,
  { stdin }: Pick<Asking, "stdin">,
): Promise<string> {
  if (value !== "-") return value;
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks)
    .toString("utf8")
    .replace(/\r?\n$/, "");
}

export interface Question {
  readonly message: string;
  /** How to give the answer on the command line, for the error without a terminal. */
  readonly instead: string;
}

/** Asks on the terminal, on stderr; without one rejects with `usage`, so that nothing ever waits unseen. */
export async function ask({ message, instead }: Question, context: Asking): Promise<string> {
  if (!context.interactive) {
    throw new SymphonyError("usage", `${message} is missing, and there is no terminal to ask on`, {
      hint: instead,
    });
  }
  const { input } = await import("@inquirer/prompts");
  return input({ message, required: true }, { input: context.stdin, output: context.stderr });
}
