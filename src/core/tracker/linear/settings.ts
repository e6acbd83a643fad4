import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import type { TrackerConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import { isRecord } from "../normalize.ts";
import { everyPart, providerFault } from "../provider-settings.ts";
import type { Lookup } from "../tracker.ts";
import { webhookSecretVariable } from "./deliveries.ts";
import { filterOf } from "./filter.ts";

/** The checked settings of `tracker.provider` for Linear. Holds no credential. */
export interface LinearSettings {
  readonly endpoint: string;
  readonly scope: ScopeSettings;
  /** Environment variables that hold a credential: the default ones, and those that `api_key` and `webhook_secret` name. */
  readonly secretEnvNames: readonly string[];
  /** The `Authorization` header of an API key, looked up at each call. Throws `missing_tracker_secret`, also with `oauth`. */
  authorization(): string;
  /** An app, which has tokens instead of a key; null: there is a key. */
  readonly oauth: OAuthSettings | null;
  /** What the agent sessions of Linear show; null: they are not answered. */
  readonly sessions: "progress" | "detail" | null;
}

/** The checked settings of `tracker.provider.oauth`: an app of Linear, which acts as its own user (`actor=app`). */
export interface OAuthSettings {
  readonly clientId: string;
  readonly tokenUrl: string;
  /** The scopes of a token that the app gets for itself; a refreshed token keeps those it was given. */
  readonly scope: string;
  /** The secret that holds the refresh token; null: the app gets tokens with its client secret alone. */
  readonly refreshName: string | null;
  /** Looked up at each call. Throws `missing_tracker_secret`. */
  clientSecret(): string;
}

/** Which issues count, as written; null: not set. At least one of them besides `assignee` is set. */
export interface ScopeSettings {
  /** Slugs or ids; empty: issues of any project. */
  readonly projects: readonly ProjectSetting[];
  /** The key, name or id of a team. */
  readonly team: string | null;
  readonly filter: LinearFilter | null;
  /** The id, slug or name of a custom view. */
  readonly view: string | null;
  /** A user's id, name or email, or `me`. */
  readonly assignee: string | null;
  /** The same, for the agent that issues are delegated to. */
  readonly delegate: string | null;
}

export interface ProjectSetting {
  readonly name: string;
  /** The key that names it. */
  readonly path: string;
}

/** Linear's IssueFilter, or another filter of its API. */
export type LinearFilter = Readonly<Record<string, unknown>>;

const apiKeyVariable = "LINEAR_API_KEY";
const assigneeVariable = "LINEAR_ASSIGNEE";
const loopbackHosts = new Set(["localhost", "127.0.0.1", "[::1]"]);
/** The form of Linear's ids. */
export const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const variableReference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;

/**
 * Checks endpoint, API key, scope and assignee in this order (requirements L-5, L-6) and reports every fault. Throws
 * `missing_tracker_secret` for the key and `invalid_tracker_config` for the others, with the key's path in `details.path`.
 * Unknown keys are ignored.
 */
export function linearSettings(config: TrackerConfig, lookup: Lookup): LinearSettings {
  const { provider } = config;
  const { reach, scope, sessions } = everyPart({
    reach: () => reachOf(provider, lookup),
    scope: () => scopeOf(provider, lookup),
    sessions: () => sessionsOf(provider["sessions"]),
  });
  return { ...reach, scope, sessions, secretEnvNames: secretEnvNamesOf(provider) };
}

/** Where Linear is and with which key, whatever else is set. Throws as `linearSettings` does. */
export function reachOf(
  provider: TrackerConfig["provider"],
  lookup: Lookup,
): Pick<LinearSettings, "endpoint" | "authorization" | "oauth"> {
  const authorization = () => authorizationOf(provider["api_key"], lookup);
  const isApp = provider["oauth"] != null;
  const { endpoint, oauth } = everyPart({
    endpoint: () => endpointOf(written(provider["endpoint"], lookup), "endpoint", linearEndpoint),
    oauth: () => oauthOf(provider, lookup),
    authorization: () => (isApp ? "" : authorization()),
  });
  return { endpoint, authorization, oauth };
}

const oauthKeys = ["client_id", "client_secret", "refresh_token", "token_url", "scope"];
const tokenUrl = "https://api.linear.app/oauth/token";
/** An app keeps its place among the agents only with a token of these scopes. */
const appScope = "read,write,app:assignable,app:mentionable";

function oauthOf(provider: TrackerConfig["provider"], lookup: Lookup): OAuthSettings | null {
  const given = provider["oauth"] ?? null;
  if (given === null) return null;
  if (!isRecord(given))
    throw providerFault("oauth", "must be a map of client_id and client_secret");
  const other = Object.keys(given).find((key) => !oauthKeys.includes(key));
  if (other)
    throw providerFault(`oauth.${other}`, `is not known: there are ${oauthKeys.join(", ")}`);
  if (provider["api_key"] != null)
    throw providerFault("oauth", "and api_key are two credentials: keep one");
  const text = (key: string) => {
    const found = written(given[key], lookup);
    if (found === undefined && given[key] != null)
      throw providerFault(`oauth.${key}`, `names ${given[key]}, which is not set`);
    return requireText(found, `oauth.${key}`);
  };
  const own = given["refresh_token"] ?? null;
  const refreshName = own === null ? null : variableReference.exec(String(own).trim())?.[1];
  if (refreshName === undefined)
    throw providerFault(
      "oauth.refresh_token",
      "must be a $NAME, because Linear replaces it at each use",
    );
  const clientSecret = () => clientSecretOf(given["client_secret"], lookup);
  clientSecret();
  return {
    clientId: text("client_id"),
    tokenUrl: endpointOf(written(given["token_url"], lookup), "oauth.token_url", tokenUrl),
    scope: given["scope"] == null ? appScope : text("scope"),
    ...{ refreshName, clientSecret },
  };
}

function clientSecretOf(value: unknown, lookup: Lookup): string {
  const found = written(value, lookup);
  const secret = typeof found === "string" ? found.trim() : "";
  if (secret !== "") return secret;
  const name = variableReference.exec(String(value ?? "").trim())?.[1] ?? "LINEAR_CLIENT_SECRET";
  const path = pathOf("oauth.client_secret");
  throw new SymphonyError("missing_tracker_secret", "There is no client secret of Linear's app", {
    details: { path },
    hint: `symphony secrets add ${name}, and let ${path} be $${name}`,
  });
}

function sessionsOf(value: unknown): LinearSettings["sessions"] {
  if (value == null || value === false) return null;
  if (value === "progress" || value === "detail") return value;
  throw providerFault("sessions", "must be progress or detail");
}

/** The value with `$NAME` resolved; undefined when it is omitted, null, or names an unset variable. */
function written(value: unknown, lookup: Lookup): unknown {
  if (typeof value !== "string") return value ?? undefined;
  const name = variableReference.exec(value.trim())?.[1];
  return name === undefined ? value : lookup(name);
}

function endpointOf(value: unknown, key: string, usual: string): string {
  if (value === undefined) return usual;
  const text = requireText(value, key);
  const url = URL.canParse(text) ? new URL(text) : null;
  const secure = url?.protocol === "https:";
  const loopback = url?.protocol === "http:" && loopbackHosts.has(url.hostname);
  if (url === null || !(secure || loopback)) {
    throw providerFault(key, "must be an https URL");
  }
  if (isInner(hostOf(url))) {
    throw providerFault(key, "must not be an address of a private network");
  }
  if (url.username !== "" || url.password !== "") {
    throw providerFault(key, "must not hold a user or a password");
  }
  return text;
}

function authorizationOf(value: unknown, lookup: Lookup): string {
  const key = written(value, lookup) ?? lookup(apiKeyVariable);
  const token = typeof key === "string" ? key.trim() : "";
  if (token === "") {
    throw new SymphonyError("missing_tracker_secret", "There is no Linear API key", {
      details: { path: "tracker.provider.api_key" },
      hint: `symphony secrets add ${apiKeyVariable}, or let tracker.provider.api_key name a variable, as in $LINEAR_KEY`,
    });
  }
  // fetch quotes a header value that it refuses, so a malformed key must not reach it.
  if (!/^(?:Bearer )?[\x21-\x7e]+$/.test(token)) {
    const path = "tracker.provider.api_key";
    const message = `${path} holds characters that no API key has`;
    throw new SymphonyError("missing_tracker_secret", message, { details: { path } });
  }
  return token.startsWith("lin_oauth_") ? `Bearer ${token}` : token;
}

function scopeOf(provider: TrackerConfig["provider"], lookup: Lookup): ScopeSettings {
  const { scope, assignee } = everyPart({
    scope: () => ofIssues(provider, lookup),
    assignee: () => assigneeOf(provider["assignee"], lookup),
  });
  return { ...scope, assignee };
}

function ofIssues(
  provider: TrackerConfig["provider"],
  lookup: Lookup,
): Omit<ScopeSettings, "assignee"> {
  const text = (key: string) => {
    const value = written(provider[key], lookup);
    return value === undefined ? null : requireText(value, key);
  };
  const inAddress = (key: string, what: string) => {
    const name = text(key);
    return name === null ? null : lastOf(name, what);
  };
  const { slug, more, ...scope } = everyPart({
    slug: () => inAddress("project_slug", "project"),
    more: () => projectsOf(written(provider["projects"], lookup)),
    team: () => inAddress("team", "team"),
    view: () => inAddress("view", "view"),
    filter: () => filterOf(written(provider["filter"], lookup)),
    delegate: () => text("delegate"),
  });
  const named = slug === null ? [] : [{ name: slug, path: pathOf("project_slug") }];
  const projects = [...named, ...more];
  const { team, view, filter, delegate } = scope;
  if (projects.length > 0 || team || view || filter || delegate) return { ...scope, projects };
  const rule =
    "must be a string that is not blank, or one of projects, team, filter, view and delegate must be set";
  throw providerFault("project_slug", rule);
}

const mostProjects = 20;

function projectsOf(value: unknown): readonly ProjectSetting[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length === 0) {
    throw providerFault("projects", "must be a list of slugs, ids or addresses of projects");
  }
  if (value.length > mostProjects)
    throw providerFault("projects", `must not have over ${mostProjects}`);
  return value.map((one, at) => ({
    name: lastOf(requireText(one, `projects.${at}`), "project"),
    path: pathOf(`projects.${at}`),
  }));
}

/** The name in a pasted address, such as `ENG` of `https://linear.app/acme/team/ENG/active`; any other text as it is. */
function lastOf(text: string, what: string): string {
  if (!/^https?:\/\//i.test(text)) return text;
  const [, found] = new RegExp(`/${what}/([^/?#]+)`).exec(text) ?? [];
  if (found) return decodeURIComponent(found);
  const key = what === "project" ? "project_slug" : what;
  throw providerFault(key, `is an address without /${what}/: ${text}`);
}

function assigneeOf(value: unknown, lookup: Lookup): string | null {
  const own = written(value, lookup);
  if (own === undefined) return lookup(assigneeVariable)?.trim() || null;
  // An empty string is how a workflow turns the filter off although the variable is set (L-10).
  if (own === "") return null;
  return requireText(own, "assignee");
}

function secretEnvNamesOf(provider: TrackerConfig["provider"]): readonly string[] {
  const oauth = isRecord(provider["oauth"]) ? provider["oauth"] : {};
  const { client_secret: secret, refresh_token: refresh } = oauth;
  const held = [provider["api_key"], provider["webhook_secret"], secret, refresh];
  const named = held.flatMap((written) =>
    typeof written === "string" ? (variableReference.exec(written.trim())?.[1] ?? []) : [],
  );
  return [...new Set([apiKeyVariable, ...named, webhookSecretVariable])];
}

function pathOf(key: string): string {
  return `tracker.provider.${key}`;
}

function requireText(value: unknown, key: string): string {
  if (typeof value !== "string" || value.trim() === "") {
    throw providerFault(key, "must be a string that is not blank");
  }
  return value.trim();
}

/** Linear's own endpoint. */
export const linearEndpoint = "https://api.linear.app/graphql";

/** Private networks: no internet service is there, so a host that answers there is not the intended one. */
const inner = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["224.0.0.0", 3],
] as const) {
  inner.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["::", 128],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  inner.addSubnet(network, prefix, "ipv6");
}

/** Whether an IP address is in a private, link-local or other internal network; loopback does not count. */
export function isInner(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return isInner(mapped);
  const version = isIP(address);
  return version !== 0 && inner.check(address, version === 6 ? "ipv6" : "ipv4");
}

/** The host of a URL without the brackets of IPv6. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

/**
 * Rejects with `tracker_request` when the endpoint's name resolves to a private network: the key in the request is
 * meant for an internet service, or for one on this machine.
 */
export async function requireReachable(endpoint: string, resolve = addressesOf): Promise<void> {
  const host = hostOf(new URL(endpoint));
  // IP addresses and loopback names were checked when the endpoint was set.
  if (isIP(host) !== 0 || host === "localhost" || endpoint === linearEndpoint) return;
  // A name that cannot be resolved fails in the request itself, with a better message.
  const found = await resolve(host).catch(() => []);
  if (!found.some(isInner)) return;
  throw new SymphonyError(
    "tracker_request",
    `${host} resolves to an address of a private network`,
    {
      hint: "set tracker.provider.endpoint to Linear's own, or leave it out",
    },
  );
}

async function addressesOf(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
