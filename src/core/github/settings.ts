import { z } from "zod";
import type { GitAddress } from "../config/git.ts";
import { type ErrorCode, SymphonyError } from "../model/errors.ts";

/** Checked settings of a GitHub or a GitHub Enterprise Server. Hold no credential. */
export interface GithubSettings {
  /** Address of the REST API, without a slash at its end. */
  readonly api: string;
  /** Address of the GraphQL API. */
  readonly graphql: string;
  /** Host, with its port if that is unusual, of the site and of git over http. */
  readonly web: string;
  /** Secrets and environment variables that hold a credential: agents and hooks never get them. */
  readonly secretEnvNames: readonly string[];
  /** The credential, looked up at each call. Throws `invalid_config`. */
  credential(): GithubCredential;
}

export type GithubCredential =
  | { readonly type: "token"; readonly token: string }
  | {
      readonly type: "app";
      readonly id: string;
      /** null: found by the repository. */
      readonly installation: number | null;
      /** PEM. */
      readonly privateKey: string;
    };

const githubApi = "https://api.github.com";
const tokenVariable = "GITHUB_TOKEN";
const variableReference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;
const loopbackHosts: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

const secretName = z
  .string()
  .trim()
  .regex(variableReference, "must name a secret or variable, as in $GITHUB_TOKEN");
const numericId = z.union([z.int().positive(), z.string().regex(/^\d{1,18}$/)], {
  error: "must be a number",
});

/** `delivery.github` as it is written; a tracker's provider has the same keys. */
export const githubSection = z.strictObject({
  token: secretName.nullish(),
  app: z
    .strictObject({
      /** A client id (`Iv…`) is accepted too. */
      id: z.union([z.int().positive(), z.string().regex(/^[A-Za-z0-9.]{1,100}$/)]),
      installation_id: numericId.nullish(),
      private_key: secretName,
    })
    .nullish(),
  base_url: z.string().nullish(),
  webhook_secret: secretName.nullish(),
});

/** Where the settings stand, and the codes of their faults. */
export interface GithubPlace {
  readonly path: string;
  readonly invalid: ErrorCode;
  readonly missing: ErrorCode;
}

const ofDelivery: GithubPlace = {
  path: "delivery.github",
  invalid: "invalid_config",
  missing: "invalid_config",
};

/**
 * Checks `delivery.github`: a token (`$NAME`, default `$GITHUB_TOKEN`) or an app, and the API's address, which for a
 * GitHub Enterprise Server is `https://HOST/api/v3`. Throws `invalid_config` with the key's path in `details.path`; the
 * settings of another place have its path and codes.
 */
export function githubOf(
  written: unknown,
  lookup: (name: string) => string | undefined,
  place = ofDelivery,
): GithubSettings {
  const parsed = githubSection.safeParse(written ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
    const path = [...(issue?.path ?? []), ...unknown].join(".");
    throw invalid(
      place,
      path,
      unknown.length > 0 ? "is not known" : (issue?.message ?? "is not valid"),
    );
  }
  const { token, app, base_url: baseUrl } = parsed.data;
  if (token && app) throw invalid(place, "app", "must not be set together with a token");
  const api = apiOf(place, baseUrl ?? githubApi);
  const { origin, pathname, host } = new URL(api);
  const named = app ? app.private_key : (token ?? `$${tokenVariable}`);
  const secret = variableReference.exec(named)?.[1] ?? tokenVariable;
  const key = app ? "app.private_key" : "token";
  return {
    api,
    // GitHub Enterprise Server has `/api/v3` and, next to it, `/api/graphql`.
    graphql: `${origin}${pathname.replace(/\/$/, "").replace(/\/v3$/, "")}/graphql`,
    web: /^api\.(github\.com|[^.]+\.ghe\.com)$/.test(host) ? host.slice("api.".length) : host,
    secretEnvNames: [...new Set([secret, tokenVariable])],
    credential() {
      const value = lookup(secret)?.trim() ?? "";
      if (value === "") throw missing(place, key, secret);
      if (!app) return { type: "token", token: tokenIn(place, value, secret) };
      const installation = app.installation_id ?? null;
      return {
        type: "app",
        id: String(app.id),
        installation: installation === null ? null : Number(installation),
        privateKey: privateKeyIn(place, value, secret),
      };
    },
  };
}

/**
 * Owner and name of the repository behind an address of this site, over https, ssh or in the form `git@host:owner/name`;
 * null: it is an address of another site, or none of a repository.
 */
export function repositoryOf(
  settings: GithubSettings,
  { protocol, address }: GitAddress,
): { readonly owner: string; readonly name: string } | null {
  const place = protocol === "file" ? null : placeOf(address);
  if (place === null || !isSite(settings.web, place, protocol)) return null;
  const [owner, name, ...more] = place.path.replace(/^\/+|\/+$/g, "").split("/");
  const plain = name?.replace(/\.git$/, "");
  const isName = (text: string | undefined) => /^[A-Za-z0-9._-]+$/.test(text ?? "");
  if (more.length > 0 || !owner || !plain || !isName(owner) || !isName(plain)) return null;
  return plain === "." || plain === ".." ? null : { owner, name: plain };
}

interface Place {
  readonly host: string;
  readonly hostname: string;
  readonly path: string;
}

function placeOf(address: string): Place | null {
  const url = URL.parse(address);
  if (address.includes("://")) return url && { ...hostOf(url), path: url.pathname };
  const scp = /^(?:[^@:/]+@)?([^@:/]+):(.+)$/.exec(address);
  const [, host = "", path = ""] = scp ?? [];
  return scp && { host: host.toLowerCase(), hostname: host.toLowerCase(), path };
}

function hostOf({ host, hostname }: URL): { readonly host: string; readonly hostname: string } {
  return { host: host.toLowerCase(), hostname: hostname.toLowerCase() };
}

/** ssh has a port of its own, so only the name counts; GitHub also takes ssh at `ssh.github.com:443`. */
function isSite(web: string, { host, hostname }: Place, protocol: string): boolean {
  if (protocol !== "ssh") return host === web;
  return hostname === new URL(`https://${web}`).hostname || hostname === `ssh.${web}`;
}

function apiOf(place: GithubPlace, written: string): string {
  const url = URL.parse(written.trim());
  const isLoopback = url?.protocol === "http:" && loopbackHosts.has(url.hostname);
  if (url === null || !(url.protocol === "https:" || isLoopback)) {
    throw invalid(place, "base_url", "must be an https URL, such as https://HOST/api/v3");
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw invalid(place, "base_url", "must not hold a user, a password, ? or #");
  }
  // Cloud providers serve the machine's own credentials at link-local addresses.
  if (/^(?:169\.254\.|\[fe[89ab])/.test(url.hostname)) {
    throw invalid(place, "base_url", "must not be a link-local address");
  }
  if (url.host === "github.com" || url.host === "www.github.com") return githubApi;
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** fetch quotes a header value that it refuses, so a malformed token must not reach it. */
function tokenIn(place: GithubPlace, value: string, secret: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw invalid(place, "token", `names ${secret}, which holds characters that no token has`);
}

/** Environment files keep a PEM in one line, with `\n` in place of its line ends. */
function privateKeyIn(place: GithubPlace, value: string, secret: string): string {
  const pem = value.replaceAll("\\n", "\n").trim();
  if (/^-----BEGIN [A-Z ]*PRIVATE KEY-----\n[\s\S]+-----END [A-Z ]*PRIVATE KEY-----$/.test(pem)) {
    return pem;
  }
  throw invalid(
    place,
    "app.private_key",
    `names ${secret}, which holds no private key in PEM form`,
  );
}

function missing(place: GithubPlace, key: string, secret: string): SymphonyError {
  const path = `${place.path}.${key}`;
  return new SymphonyError(place.missing, `${secret}, which ${path} needs, is not set`, {
    details: { path },
    hint: `symphony secrets add ${secret}`,
  });
}

function invalid(place: GithubPlace, key: string, rule: string): SymphonyError {
  const path = key === "" ? place.path : `${place.path}.${key}`;
  return new SymphonyError(place.invalid, `${path} ${rule}`, { details: { path } });
}

/**
 * The id of an issue: the repository's id, which stays through a rename, and its number there. An issue that is transferred
 * gets another number, and so another id.
 */
export function issueIdOf(repositoryId: number | string, number: number): string {
  return `${repositoryId}#${number}`;
}

/** The id of a comment on an issue. */
export function commentIdOf(repositoryId: number | string, id: number | string): string {
  return `${repositoryId}/${id}`;
}
