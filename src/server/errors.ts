import type { Context, Middleware } from "koa";
import type { Logger } from "../core/events/log.ts";
import {
  asFaultOfDisk,
  type ErrorCode,
  messageOf,
  SymphonyError,
  withHint,
} from "../core/model/errors.ts";
import { displayText } from "../core/text/text.ts";

/** The status of the reply for every error code. Exhaustive: a new code does not compile until it has one. */
export const httpStatus: Record<ErrorCode, number> = {
  invalid_json: 400,
  invalid_request: 400,
  unauthorized: 401,
  forbidden_host: 403,
  forbidden_origin: 403,
  forbidden_role: 403,
  not_found: 404,
  issue_not_found: 404,
  attempt_not_found: 404,
  template_not_found: 404,
  workspace_not_found: 404,
  method_not_allowed: 405,
  overlay_path_not_found: 404,
  not_recorded: 404,
  secret_not_found: 404,
  token_not_found: 404,
  token_exists: 409,
  too_many_tokens: 409,
  overlay_changed: 409,
  not_running: 409,
  no_active_turn: 409,
  nothing_asked: 409,
  turn_running: 409,
  not_attached: 409,
  transition_not_allowed: 409,
  tracker_read_only: 409,
  template_exists: 409,
  template_in_use: 409,
  template_read_only: 409,
  workspace_in_use: 409,
  workspace_dirty: 409,
  workspace_ambiguous: 409,
  no_repository: 409,
  nothing_to_deliver: 409,
  body_too_large: 413,
  unsupported_media_type: 415,
  rate_limited: 429,
  internal_error: 500,
  unavailable: 503,
  webhook_not_configured: 503,
  missing_workflow_file: 422,
  workflow_parse_error: 422,
  workflow_front_matter_not_a_map: 422,
  invalid_config: 422,
  template_parse_error: 422,
  template_render_error: 422,
  unsupported_tracker_kind: 422,
  invalid_tracker_config: 422,
  missing_tracker_secret: 422,
  tracker_request: 502,
  tracker_status: 502,
  tracker_response: 502,
  tracker_pagination: 502,
  tracker_rate_limited: 502,
  invalid_issue_identifier: 400,
  invalid_workspace_cwd: 500,
  workspace_equals_root: 409,
  workspace_outside_root: 409,
  workspace_symlink: 409,
  workspace_error: 409,
  clone_failed: 500,
  clone_timeout: 500,
  hook_failed: 500,
  hook_timeout: 500,
  codex_not_found: 502,
  codex_daemon_lost: 502,
  agent_not_found: 502,
  agent_unavailable: 422,
  workspace_refused: 422,
  provider_error: 502,
  provider_limited: 502,
  provider_refused: 502,
  provider_unavailable: 502,
  agent_failed: 502,
  response_timeout: 502,
  response_error: 502,
  turn_failed: 502,
  turn_cancelled: 409,
  turn_timeout: 502,
  port_exit: 502,
  line_too_long: 502,
  agent_limit: 502,
  no_fleet: 409,
  engine_missing: 500,
  engine_refused: 502,
  engine_unavailable: 503,
  worker_not_found: 404,
  worker_refused: 409,
  worker_lost: 502,
  ssh_not_found: 502,
  workspace_prepare_failed: 502,
  approval_required: 409,
  turn_input_required: 409,
  git_not_found: 500,
  data_dir_locked: 503,
  storage_unavailable: 503,
  storage_corrupt: 503,
  secrets_key_invalid: 503,
  cannot_listen: 500,
  usage: 500,
  server_unreachable: 502,
  timed_out: 502,
  needs_person: 409,
};

/** The HTTP status of the reply for an error code. */
export function statusOf(code: ErrorCode): number {
  return httpStatus[code];
}

interface ErrorRules {
  readonly log: Logger;
  /** True once core is stopping: failures after that are not bugs. */
  stopping(): boolean;
}

/** The only place where an error becomes a response. A response with 500 shows only the request id. */
export function renderErrors({ log, stopping }: ErrorRules): Middleware {
  return async (ctx, next) => {
    try {
      await next();
    } catch (caught) {
      const thrown = asFaultOfDisk(caught);
      if (ctx.req.destroyed && !ctx.req.complete) return abandon(ctx);
      const closed = stopping() && statusOf(codeOf(thrown)) === 500;
      const error = closed
        ? new SymphonyError("unavailable", "the server is stopping", { cause: thrown })
        : thrown;
      report(log, ctx, error);
      answer(ctx, error);
    }
  };
}

function codeOf(error: unknown): ErrorCode {
  return error instanceof SymphonyError ? error.code : "internal_error";
}

/** The caller closed the connection during the request: no response is possible. */
function abandon(ctx: Context): void {
  ctx.respond = false;
  ctx.res.destroy();
}

function report(log: Logger, ctx: Context, error: unknown): void {
  const code = codeOf(error);
  const status = statusOf(code);
  // What a workspace refuses often has a cause in the system that its operator must see.
  if (status < 500 && code !== "workspace_error") return;
  const fields = {
    request_id: ctx.state["requestId"],
    method: ctx.method,
    path: ctx.path,
    code,
    reason: messageOf(error),
  };
  if (status === 500) log.error("request failed", { ...fields, stack: stackOf(error) });
  else log.warn("request refused", { ...fields, cause: causeOf(error) });
}

function stackOf(error: unknown): string | null {
  return error instanceof Error ? (error.stack ?? null) : null;
}

function causeOf(error: unknown): string | null {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? null : messageOf(cause);
}

function answer(ctx: Context, error: unknown): void {
  const known = aboutIssue(presentable(error), ctx);
  ctx.status = statusOf(known.code);
  if (known.code === "unauthorized") ctx.set("WWW-Authenticate", "Bearer");
  const { allow } = known.details;
  if (Array.isArray(allow)) ctx.set("Allow", allow.join(", "));
  ctx.set("Content-Type", "application/json; charset=utf-8");
  ctx.set("Cache-Control", "no-store");
  ctx.remove("ETag");
  ctx.body = envelope(known, String(ctx.state["requestId"]));
}

/** The core often has only the id of an issue: its hints say ISSUE for the identifier that was requested. */
function aboutIssue(error: SymphonyError, ctx: Context): SymphonyError {
  const { params } = ctx as Context & { readonly params?: Record<string, string> };
  const isIssue = String(ctx.state["route"]).startsWith("/api/v1/:id");
  const id = isIssue ? params?.["id"] : undefined;
  if (id === undefined || !error.hint?.includes("ISSUE")) return error;
  return withHint(
    error,
    error.hint.replaceAll(/\bISSUE\b/g, () => displayText(id, identifierShown)),
  );
}

const identifierShown = 200;

/** `{"error": {…}}` as text; `details` has the wire's snake_case keys and includes the hint. */
export function envelope(error: SymphonyError, requestId: string): string {
  const { code, message } = error;
  const details = detailsOf(error);
  return JSON.stringify({
    error: { code, message, ...(details && { details }), request_id: requestId },
  });
}

function detailsOf({ details, hint }: SymphonyError): object | undefined {
  const faults: unknown = details["issues"] ?? details["faults"];
  if (Array.isArray(faults)) return faults;
  const facts = { ...details, ...(hint !== null && { hint }) };
  return Object.keys(facts).length > 0 ? Object.fromEntries(snakeEntries(facts)) : undefined;
}

function presentable(error: unknown): SymphonyError {
  if (error instanceof SymphonyError && statusOf(error.code) !== 500) return error;
  return new SymphonyError(
    "internal_error",
    "symphony failed on this request; its log has the cause under the request_id",
  );
}

function snakeEntries(record: object): [string, unknown][] {
  return Object.entries(record).map(([key, value]) => [
    key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    snakeKeys(value),
  ]);
}

function snakeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeKeys);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(snakeEntries(value));
}
