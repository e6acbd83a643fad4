import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { appendsOnly } from "./output.ts";
import { row } from "./table.ts";

/** The lanes of the page on a terminal, with the keys to act on an issue. */
export const watchCommand = row({
  examples: [
    "symphony watch                     all lanes; ? lists the keys",
    "ACCESSIBLE=1 symphony watch        lines for a screen reader, numbered choices",
    "symphony watch --url http://127.0.0.1:4100",
  ],
  stream: (_, context) => watch(context),
});

async function watch(context: CommandContext): Promise<number> {
  requireTerminal(context);
  if (appendsOnly(context.env)) {
    const { watchLines } = await import("./watch-lines.ts");
    return watchLines(context);
  }
  const { watchScreen } = await import("./watch-screen.ts");
  return watchScreen(context);
}

/** Throws `usage`: without a person at a terminal other commands show the same. */
function requireTerminal({ json, stdin, stdout }: CommandContext): void {
  if (!json && stdout.isTTY === true && stdin.isTTY === true) return;
  const why = json ? "has no --json" : "needs a terminal for its screen and its keys";
  throw new SymphonyError("usage", `watch ${why}`, {
    hint: "symphony state --watch --json prints the state at each change, symphony events --follow what happens",
  });
}
