import type { TrackerConfig } from "../../config/config.ts";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import { webhookSecretVariable } from "../../webhook/secret.ts";
import { hostOf, isInner, linearEndpoint } from "./destination.ts";

/** Looks a name up in the secrets, then in the environment. */
export type Lookup = (name: string) => string | undefined;

/** What `tracker.provider` says to the Linear adapter, checked. Holds no credential. */
export interface LinearSettings {
  readonly endpoint: string;
  readonly projectSlug: string;
  /** A Linear user id, `me`, or null for no filter. */
  readonly assignee: string | null;
  /** Environment variables that hold a credential: the usual ones, and those that `api_key` and `webhook_secret` name. */
  readonly secretEnvNames: readonly string[];
  /** The `Authorization` header, looked up at each call. Throws `missing_linear_api_token`. */
  authorization(): string;
}

const apiKeyVariable = "LINEAR_API_KEY";
const assigneeVariable = "LINEAR_ASSIGNEE";
const loopbackHosts = new Set(["localhost", "127.0.0.1", "[::1]"]);
const variableReference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;

/**
 * Checks endpoint, API key, project slug and assignee in this order (requirements L-5, L-6). Throws
 * `invalid_linear_endpoint`, `missing_linear_api_token`, `missing_linear_project_slug` or
 * `invalid_linear_assignee`. Keys that Linear does not know are left alone.
 */
export function linearSettings(config: TrackerConfig, lookup: Lookup): LinearSettings {
  const { provider } = config;
  const endpoint = endpointOf(written(provider["endpoint"], lookup));
  const authorization = () => authorizationOf(provider["api_key"], lookup);
  authorization();
  return {
    endpoint,
    projectSlug: projectSlugOf(written(provider["project_slug"], lookup)),
    assignee: assigneeOf(provider["assignee"], lookup),
    secretEnvNames: secretEnvNamesOf(provider),
    authorization,
  };
}

/** The value with `$NAME` looked up; undefined when it is left out, null, or names nothing. */
function written(value: unknown, lookup: Lookup): unknown {
  if (typeof value !== "string") return value ?? undefined;
  const name = variableReference.exec(value.trim())?.[1];
  return name === undefined ? value : lookup(name);
}

function endpointOf(value: unknown): string {
  if (value === undefined) return linearEndpoint;
  const text = requireText(value, "invalid_linear_endpoint", "endpoint");
  const url = URL.canParse(text) ? new URL(text) : null;
  const secure = url?.protocol === "https:";
  const loopback = url?.protocol === "http:" && loopbackHosts.has(url.hostname);
  if (url === null || !(secure || loopback)) {
    throw invalid("invalid_linear_endpoint", "endpoint", "must be an https URL");
  }
  if (isInner(hostOf(url))) {
    throw invalid("invalid_linear_endpoint", "endpoint", "must not be of an inner network");
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid("invalid_linear_endpoint", "endpoint", "must not hold a user or a password");
  }
  return text;
}

function authorizationOf(value: unknown, lookup: Lookup): string {
  const key = written(value, lookup) ?? lookup(apiKeyVariable);
  const token = typeof key === "string" ? key.trim() : "";
  if (token === "") {
    throw new SymphonyError("missing_linear_api_token", "There is no Linear API key", {
      details: { path: "tracker.provider.api_key" },
      hint: `Set ${apiKeyVariable}, or let tracker.provider.api_key name a variable, as in $LINEAR_KEY`,
    });
  }
  // fetch quotes a header value that it refuses, so a broken key must not get that far.
  if (!/^(?:Bearer )?[\x21-\x7e]+$/.test(token)) {
    throw invalid("missing_linear_api_token", "api_key", "holds characters that no API key has");
  }
  return token.startsWith("lin_oauth_") ? `Bearer ${token}` : token;
}

function projectSlugOf(value: unknown): string {
  return requireText(value, "missing_linear_project_slug", "project_slug");
}

function assigneeOf(value: unknown, lookup: Lookup): string | null {
  const own = written(value, lookup);
  if (own === undefined) return lookup(assigneeVariable)?.trim() || null;
  // An empty string is how a workflow says "no filter" although the variable is set (L-10).
  if (own === "") return null;
  return requireText(own, "invalid_linear_assignee", "assignee");
}

function secretEnvNamesOf(provider: TrackerConfig["provider"]): readonly string[] {
  const named = [provider["api_key"], provider["webhook_secret"]].flatMap((written) =>
    typeof written === "string" ? (variableReference.exec(written.trim())?.[1] ?? []) : [],
  );
  return [...new Set([apiKeyVariable, ...named, webhookSecretVariable])];
}

function requireText(value: unknown, code: ErrorCode, key: string): string {
  if (typeof value !== "string" || value.trim() === "") {
    throw invalid(code, key, "must be a string that is not blank");
  }
  return value.trim();
}

function invalid(code: ErrorCode, key: string, rule: string): SymphonyError {
  const path = `tracker.provider.${key}`;
  return new SymphonyError(code, `${path} ${rule}`, { details: { path } });
}
