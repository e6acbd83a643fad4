/** Every way symphony can refuse or fail. API, log and command line use the same codes. */
export type ErrorCode =
  // requests
  | "invalid_json"
  | "invalid_request"
  | "unauthorized"
  | "forbidden_host"
  | "forbidden_origin"
  | "forbidden_role"
  | "token_not_found"
  | "token_exists"
  | "too_many_tokens"
  | "not_found"
  | "issue_not_found"
  | "attempt_not_found"
  | "template_not_found"
  | "method_not_allowed"
  | "overlay_path_not_found"
  | "not_recorded"
  | "secret_not_found"
  | "overlay_changed"
  | "not_running"
  | "no_active_turn"
  | "nothing_asked"
  | "turn_running"
  | "not_attached"
  | "transition_not_allowed"
  | "tracker_read_only"
  | "template_exists"
  | "template_in_use"
  | "template_read_only"
  | "body_too_large"
  | "unsupported_media_type"
  | "rate_limited"
  | "internal_error"
  | "unavailable"
  | "webhook_not_configured"
  // workflow and configuration
  | "missing_workflow_file"
  | "workflow_parse_error"
  | "workflow_front_matter_not_a_map"
  | "invalid_config"
  | "template_parse_error"
  | "template_render_error"
  // trackers (categories of requirement T-9)
  | "unsupported_tracker_kind"
  | "invalid_tracker_config"
  | "missing_tracker_secret"
  | "tracker_request"
  | "tracker_status"
  | "tracker_response"
  | "tracker_pagination"
  | "tracker_rate_limited"
  // workspaces and hooks
  | "invalid_issue_identifier"
  | "invalid_workspace_cwd"
  | "workspace_equals_root"
  | "workspace_outside_root"
  | "workspace_symlink"
  | "workspace_error"
  | "workspace_not_found"
  | "workspace_in_use"
  | "workspace_dirty"
  | "workspace_ambiguous"
  | "workspace_refused"
  | "no_repository"
  | "nothing_to_deliver"
  | "clone_failed"
  | "clone_timeout"
  | "hook_failed"
  | "hook_timeout"
  // agents
  | "codex_not_found"
  | "codex_daemon_lost"
  | "agent_not_found"
  | "agent_unavailable"
  | "provider_error"
  | "provider_limited"
  | "provider_refused"
  | "provider_unavailable"
  | "agent_failed"
  | "response_timeout"
  | "response_error"
  | "turn_failed"
  | "turn_cancelled"
  | "turn_timeout"
  | "port_exit"
  | "line_too_long"
  | "agent_limit"
  | "approval_required"
  | "turn_input_required"
  // the models of a provider
  | "provider_error"
  // the fleet
  | "no_fleet"
  | "engine_missing"
  | "engine_refused"
  | "engine_unavailable"
  | "worker_not_found"
  | "worker_refused"
  | "worker_lost"
  | "ssh_not_found"
  | "workspace_prepare_failed"
  // the host
  | "git_not_found"
  | "data_dir_locked"
  | "storage_unavailable"
  | "storage_corrupt"
  | "secrets_key_invalid"
  | "cannot_listen"
  // the command line
  | "usage"
  | "server_unreachable"
  | "timed_out"
  | "needs_person";

/** The only error class that crosses module boundaries. Any other thrown value is a bug. */
export class SymphonyError extends Error {
  override readonly name = "SymphonyError";
  readonly code: ErrorCode;
  /** Machine-readable facts for the log and the API; never a secret. */
  readonly details: Readonly<Record<string, unknown>>;
  /** The next command to try, shown to operators. */
  readonly hint: string | null;

  constructor(
    code: ErrorCode,
    message: string,
    options: ErrorOptions & { details?: Readonly<Record<string, unknown>>; hint?: string } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.hint = options.hint ?? null;
  }
}

/** The same error with another next command. */
export function withHint(
  { code, message, details, cause }: SymphonyError,
  hint: string,
): SymphonyError {
  return new SymphonyError(code, message, { details, cause, hint });
}

/** The code of an error of the operating system or of Node, such as `ENOENT`; null for any other. */
export function systemCodeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : null;
}

/** The message of any thrown value, in one line. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, " ");
}

/** The message and, where known, the next step. */
export function adviceOf(error: unknown): string {
  const hint = error instanceof SymphonyError ? error.hint : null;
  return hint === null ? messageOf(error) : `${messageOf(error)}; next: ${hint}`;
}

interface DiskFault {
  readonly pattern: RegExp;
  /** What mends it. */
  readonly hint: string;
}

/** The words of the system, also as git repeats them. */
const diskFaults: readonly DiskFault[] = [
  {
    pattern: /no space left|\bENOSPC\b/i,
    hint: "free space on its disk (df -h), and try again",
  },
  {
    pattern: /quota exceeded|\bEDQUOT\b/i,
    hint: "free space, or raise the quota of the user, and try again",
  },
  {
    pattern: /read-only file system|\bEROFS\b/i,
    hint: "mount its disk writable, and try again",
  },
  {
    pattern: /input\/output error|\bEIO\b/i,
    hint: "its disk is failing: see the log of the system (dmesg)",
  },
];

/**
 * A `workspace_error` that is the disk's, as `storage_unavailable`: nothing that its caller did is in the way. Any other
 * error is returned as it is.
 */
export function asFaultOfDisk(error: unknown): unknown {
  if (!(error instanceof SymphonyError) || error.code !== "workspace_error") return error;
  const said: string[] = [];
  for (let one: unknown = error; one instanceof Error; one = one.cause) said.push(one.message);
  const found = diskFaults.find(({ pattern }) => said.some((text) => pattern.test(text)));
  if (found === undefined) return error;
  const { message, details } = error;
  return new SymphonyError("storage_unavailable", message, {
    cause: error,
    details,
    hint: found.hint,
  });
}
