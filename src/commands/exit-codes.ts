import type { ErrorCode } from "../core/model/errors.ts";

/** What the process tells a script; the numbers are part of the contract. */
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

/** Codes that mean more than "failed"; one that a newer server invents means "failed". */
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
  secret_not_found: exitCodes.notFound,
  missing_workflow_file: exitCodes.notFound,
  unauthorized: exitCodes.notAuthorised,
  secrets_key_invalid: exitCodes.notAuthorised,
  forbidden_host: exitCodes.notAuthorised,
  forbidden_origin: exitCodes.notAuthorised,
  server_unreachable: exitCodes.unreachable,
  unavailable: exitCodes.unreachable,
  needs_person: exitCodes.needsPerson,
  approval_required: exitCodes.needsPerson,
  turn_input_required: exitCodes.needsPerson,
  overlay_changed: exitCodes.conflict,
  not_running: exitCodes.conflict,
  no_active_turn: exitCodes.conflict,
  transition_not_allowed: exitCodes.conflict,
  tracker_read_only: exitCodes.conflict,
  template_exists: exitCodes.conflict,
  template_in_use: exitCodes.conflict,
  template_read_only: exitCodes.conflict,
  workspace_in_use: exitCodes.conflict,
  workspace_dirty: exitCodes.conflict,
  workspace_ambiguous: exitCodes.conflict,
  no_repository: exitCodes.conflict,
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
