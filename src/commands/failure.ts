import { CommanderError } from "commander";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { exitCodeOf, exitCodes } from "./exit-codes.ts";
import { jsonText } from "./json-text.ts";
import { plain } from "./terminal.ts";

interface Occasion {
  readonly argv: readonly string[];
  readonly stderr: { write(text: string): unknown };
}

/** Tells what failed on stderr, as text or under `--json` as one document; returns the exit code. */
export function reportFailure(error: unknown, { argv, stderr }: Occasion): number {
  if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.done;
  if (isInterruption(error)) return exitCodes.interrupted;
  const options = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length);
  const known = asSymphonyError(error);
  stderr.write(options.includes("--json") ? asJson(known) : asText(known));
  if (options.includes("--debug")) stderr.write(`${stackOf(error)}\n`);
  return exitCodeOf(known.code);
}

function asSymphonyError(error: unknown): SymphonyError {
  if (error instanceof SymphonyError) return error;
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, "").replace(/\n+/, " ");
    return new SymphonyError("usage", message, { hint: "symphony help, or COMMAND --help" });
  }
  return new SymphonyError("internal_error", messageOf(error), {
    cause: error,
    hint: "run it again with --debug to see where it failed",
  });
}

/** Whoever pressed Ctrl-C, during a request or at a question, knows why it ended. */
function isInterruption(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "ExitPromptError"].includes(error.name);
}

function asText({ message, details, hint }: SymphonyError): string {
  const issues = faultsIn(details).map(({ path, message: fault }) =>
    path === "" ? `  ${fault}` : `  ${path}: ${fault}`,
  );
  const next = hint === null ? [] : [`  next: ${hint}`];
  return `${plain([`symphony: ${message}`, ...issues, ...next].join("\n"))}\n`;
}

function faultsIn(details: SymphonyError["details"]): { path: string; message: string }[] {
  const issues = details["issues"];
  return Array.isArray(issues) ? issues.map(({ path, message }) => ({ path, message })) : [];
}

function asJson({ code, message, details, hint }: SymphonyError): string {
  const shown = Array.isArray(details["issues"]) ? details["issues"] : details;
  return `${jsonText({ error: { code, message, details: shown, hint } })}\n`;
}

function stackOf(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const cause = error instanceof Error && error.cause ? `\ncaused by: ${stackOf(error.cause)}` : "";
  return plain(stack) + cause;
}
