import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import {
  asFaultOfDisk,
  type ErrorCode,
  messageOf,
  SymphonyError,
  withHint,
} from "../core/model/errors.ts";
import { nearest } from "../core/text/nearest.ts";
import { columnsOf, foldLines, jsonText, plain, type Terminal } from "./output.ts";

interface Occasion {
  readonly argv: readonly string[];
  readonly stderr: Terminal & { write(text: string): unknown };
}

/** Reports the failure on stderr, as text or under `--json` as one document; returns the exit code. */
export function reportFailure(error: unknown, { argv, stderr }: Occasion): number {
  if (isFromParser(error) && error.exitCode === 0) return exitCodes.done;
  if (isInterruption(error)) return exitCodes.interrupted;
  const options = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length);
  const known = asSymphonyError(error);
  const text = () => foldLines(asText(known).split("\n"), columnsOf(stderr), 4).join("\n");
  stderr.write(options.includes("--json") ? asJson(known) : text());
  if (options.includes("--debug")) stderr.write(`code: ${known.code}\n${stackOf(error)}\n`);
  return typedFaults.has(known) ? exitCodes.usage : exitCodeOf(known.code);
}

const typedFaults = new WeakSet<SymphonyError>();

/** Marks an error about what was typed or passed in: that is wrong usage, whatever its code means elsewhere. */
export function asTyped(error: SymphonyError): SymphonyError {
  typedFaults.add(error);
  return error;
}

interface ParserError extends Error {
  readonly exitCode: number;
  /** The command that was typed, such as `symphony issue create`. */
  readonly path?: string;
}

/** A CommanderError, recognised by its code: importing its class would load the parser at every start, and a bundle has its own names. */
function isFromParser(error: unknown): error is ParserError {
  return error instanceof Error && "code" in error && /^commander\./.test(String(error.code));
}

function asSymphonyError(thrown: unknown): SymphonyError {
  const error = asFaultOfDisk(thrown);
  if (error instanceof SymphonyError) return error;
  if (isFromParser(error)) {
    // For a command that is only a group of others, the parser has already printed the help.
    const isGroup = error.message === "(outputHelp)";
    const text = isGroup ? "one of these commands is missing" : error.message;
    const message = text.replace(/^error: /, "").replace(/\n+/, " ");
    const hint = error.path === undefined ? "symphony help" : `${error.path} --help`;
    return new SymphonyError("usage", message, { hint });
  }
  if (/^uv_os_(?:homedir|get_passwd) /.test(messageOf(error).replace(/^.*: /, ""))) {
    const message = "this user has no entry on this machine, and HOME is not set";
    return new SymphonyError("invalid_config", message, { hint: "HOME=/a/directory symphony …" });
  }
  return new SymphonyError("internal_error", messageOf(error), {
    cause: error,
    hint: "run it again with --debug to see where it failed; symphony runtime shows whether the server is of another version",
  });
}

/** Ctrl-C during a request or at a prompt: the user knows why the command ended, so nothing is reported. */
function isInterruption(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "ExitPromptError"].includes(error.name);
}

function asText({ message, details, hint }: SymphonyError): string {
  const { warnings } = details;
  const problems = problemLines(details);
  const isSaid = problems.some((line) => line.trim() === `next: ${hint}`);
  const next = [
    ...(Array.isArray(warnings) ? warnings.map((one) => `  warning: ${one}`) : []),
    ...(hint === null || isSaid ? [] : [`  next: ${hint}`]),
  ];
  if (problems.length > 1) {
    const [what] = message.split(": ", 1);
    return `${plain([`symphony: ${what}:`, ...problems, ...next].join("\n"))}\n`;
  }
  const faults = faultsIn(details).map(({ path, message: fault }) =>
    path === "" ? fault : `${path}: ${fault}`,
  );
  // A single fault often is the message.
  const issues = faults.filter((fault) => !message.includes(fault)).map((fault) => `  ${fault}`);
  return `${plain([`symphony: ${message}`, ...issues, ...next].join("\n"))}\n`;
}

/** Every fault of a configuration, in a line of its own. */
function problemLines({ problems }: SymphonyError["details"]): readonly string[] {
  if (!Array.isArray(problems)) return [];
  return problems.flatMap(({ path, message, file, line, column, source, next }) => {
    const within = file === undefined ? "" : `${file} `;
    const where = line === undefined ? source : `${within}line ${line}, column ${column}`;
    // Without a place the message is a rule about the key.
    return [
      where === undefined ? `  ${path} ${message}` : `  ${where}: ${message}`,
      ...(next === undefined ? [] : [`    next: ${next}`]),
    ];
  });
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

/** Exit codes for scripts; the numbers are part of the contract. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  notAuthorised: 4,
  unreachable: 5,
  needsPerson: 6,
  conflict: 7,
  timedOut: 124,
  interrupted: 130,
} as const;

const meanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  done: "done",
  failed: "failed",
  usage: "wrong usage",
  notFound: "not found",
  notAuthorised: "not authorised",
  unreachable: "server unreachable",
  needsPerson: "needs a person",
  conflict: "conflict with the present state",
  timedOut: "timed out",
  interrupted: "interrupted",
};

/** Codes that mean more than "failed"; an unknown one, from a newer server, means "failed". */
const byError: Partial<Record<ErrorCode, number>> = {
  usage: exitCodes.usage,
  invalid_json: exitCodes.usage,
  invalid_request: exitCodes.usage,
  body_too_large: exitCodes.usage,
  unsupported_media_type: exitCodes.usage,
  method_not_allowed: exitCodes.usage,
  invalid_issue_identifier: exitCodes.usage,
  not_found: exitCodes.notFound,
  issue_not_found: exitCodes.notFound,
  attempt_not_found: exitCodes.notFound,
  template_not_found: exitCodes.notFound,
  workspace_not_found: exitCodes.notFound,
  overlay_path_not_found: exitCodes.notFound,
  not_recorded: exitCodes.notFound,
  secret_not_found: exitCodes.notFound,
  missing_workflow_file: exitCodes.notFound,
  unauthorized: exitCodes.notAuthorised,
  secrets_key_invalid: exitCodes.notAuthorised,
  forbidden_host: exitCodes.notAuthorised,
  forbidden_origin: exitCodes.notAuthorised,
  forbidden_role: exitCodes.notAuthorised,
  token_not_found: exitCodes.notFound,
  token_exists: exitCodes.conflict,
  too_many_tokens: exitCodes.conflict,
  server_unreachable: exitCodes.unreachable,
  unavailable: exitCodes.unreachable,
  needs_person: exitCodes.needsPerson,
  approval_required: exitCodes.needsPerson,
  turn_input_required: exitCodes.needsPerson,
  overlay_changed: exitCodes.conflict,
  not_running: exitCodes.conflict,
  no_active_turn: exitCodes.conflict,
  nothing_asked: exitCodes.conflict,
  turn_running: exitCodes.conflict,
  not_attached: exitCodes.conflict,
  transition_not_allowed: exitCodes.conflict,
  tracker_read_only: exitCodes.conflict,
  template_exists: exitCodes.conflict,
  template_in_use: exitCodes.conflict,
  template_read_only: exitCodes.conflict,
  workspace_in_use: exitCodes.conflict,
  workspace_dirty: exitCodes.conflict,
  workspace_ambiguous: exitCodes.conflict,
  workspace_equals_root: exitCodes.conflict,
  workspace_outside_root: exitCodes.conflict,
  workspace_symlink: exitCodes.conflict,
  workspace_error: exitCodes.conflict,
  no_repository: exitCodes.conflict,
  nothing_to_deliver: exitCodes.conflict,
  data_dir_locked: exitCodes.conflict,
  timed_out: exitCodes.timedOut,
};

export function exitCodeOf(code: ErrorCode): number {
  return byError[code] ?? exitCodes.failed;
}

/** The table that `symphony help exit-codes` prints. */
export function exitCodeTable(): string {
  const names = Object.keys(exitCodes) as (keyof typeof exitCodes)[];
  const rows = names.map((name) => `  ${String(exitCodes[name]).padStart(3)}  ${meanings[name]}`);
  return `Exit codes of every command\n\n${rows.join("\n")}\n`;
}

/** The one of `names` that `typed` most probably misspells, ignoring case; null when none is similar. */
export function closest(typed: string, names: readonly string[]): string | null {
  const limit = Math.max(1, Math.floor(typed.length / 3));
  const known = names.map((name) => name.toLowerCase());
  const near = nearest(typed.toLowerCase(), known, () => limit);
  return near === null ? null : (names[known.indexOf(near)] ?? null);
}

/** A hint at the one of `names` that was probably meant; `otherwise` when none is similar. */
export function hintAt(typed: string, names: readonly string[], otherwise: string): string {
  const meant = closest(typed, names);
  return meant === null ? otherwise : `did you mean ${meant}?`;
}

/** `typed` as one of `words`. Throws `usage` with `message` and the word that was probably meant. */
export function requireWord<T extends string>(
  typed: string,
  words: readonly T[],
  message: string,
): T {
  const known = words.find((word) => word === typed);
  if (known !== undefined) return known;
  const hint = hintAt(typed, words, `one of ${words.join(", ")}`);
  throw new SymphonyError("usage", message, { hint });
}

const maxIssues = 500;

/** Lists the issues that exist. */
export interface Lister {
  list(query: { limit: number }): Promise<{ issues: readonly { identifier: string }[] }>;
}

/** Runs `work` on an issue. If there is no such issue, the error names the one that was probably meant. */
export async function onIssue<T>(id: string, lister: Lister, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "issue_not_found") throw error;
    const known = await lister.list({ limit: maxIssues }).catch(() => ({ issues: [] }));
    const names = known.issues.map(({ identifier }) => identifier);
    const hint = hintAt(id, names, "symphony issue list");
    throw withHint(error, hint);
  }
}

/** The same on an issue of the server. */
export async function onServerIssue<T>(
  id: string,
  context: { client(): Promise<Client<Api>> },
  work: (client: Client<Api>) => Promise<T>,
): Promise<T> {
  const client = await context.client();
  const lister: Lister = { list: (query) => client.issues.list({ query }) };
  return onIssue(id, lister, () => work(client));
}

/** The same error, whose hint names `issue` instead of the placeholder ISSUE. */
export function aboutIssue(error: SymphonyError, issue: unknown): SymphonyError {
  if (typeof issue !== "string" || !error.hint?.includes("ISSUE")) return error;
  const { hint } = error;
  return withHint(
    error,
    hint.replaceAll(/\bISSUE\b/g, () => issue),
  );
}
