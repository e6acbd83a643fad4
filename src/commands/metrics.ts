import type { Command } from "commander";
import { exchange } from "../client/transport.ts";
import { paths } from "../contract/paths.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { type Family, parseExposition } from "./metrics-text.ts";
import { closest } from "./suggest.ts";

export function declareMetrics(command: Command, run: Run): void {
  examples(
    command,
    "symphony metrics",
    "symphony metrics symphony_issues symphony_attempts_total",
    "symphony metrics --json | jq '.metrics[] | select(.name == \"symphony_issues\").samples'",
  )
    .argument("[name...]", "only these metrics; a name that ends in * stands for all that begin so")
    .action((names: readonly string[]) => run((context) => metrics(names, context)));
}

/** Prints what the server's `/metrics` tells: its own text, or `{"metrics": […]}`. */
export async function metrics(names: readonly string[], context: CommandContext): Promise<number> {
  const server = await context.server();
  const { method, path } = paths.system.metrics;
  const { text } = await exchange(server, { method, path, headers: { accept: "text/plain" } });
  const all = parseExposition(text);
  const families = all.filter(({ name }) => wanted(name, names));
  if (families.length === 0) throw unknown(names, all);
  if (context.json) context.printJson({ metrics: families.map(withoutLines) });
  else context.print(families.flatMap(({ lines }) => lines).join("\n"));
  return exitCodes.done;
}

function wanted(name: string, names: readonly string[]): boolean {
  if (names.length === 0) return true;
  return names.some((one) =>
    one.endsWith("*") ? name.startsWith(one.slice(0, -1)) : name === one,
  );
}

function unknown(names: readonly string[], all: readonly Family[]): SymphonyError {
  const meant = closest(
    names[0] ?? "",
    all.map(({ name }) => name),
  );
  return new SymphonyError("not_found", `the server has no metric ${names.join(" ")}`, {
    hint: meant === null ? "symphony metrics" : `did you mean ${meant}?`,
  });
}

function withoutLines({ lines: _, ...family }: Family) {
  return family;
}
