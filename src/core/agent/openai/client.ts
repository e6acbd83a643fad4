import type OpenAI from "openai";
import { SymphonyError } from "../../model/errors.ts";
import { outbound } from "../../outbound.ts";
import { asStream } from "./bodies.ts";
import type { OpenaiConfig } from "./settings.ts";

type Settings = Pick<OpenaiConfig, "baseUrl" | "apiKey" | "apiKeyHeader" | "headers">;

const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** What a provider calls a key in an address, where logs would show it. */
const keyInAddress = /key|token|secret|password|signature|^sig$/i;

/**
 * The base URL of the provider, and the query that its address ends with, such as Azure's `api-version`, for every
 * request. Throws `invalid_config` for anything but https, or http on this machine, and for a key in the query.
 */
export function addressOf({ baseUrl }: Pick<Settings, "baseUrl">): {
  readonly baseUrl: string;
  readonly query: Readonly<Record<string, string>>;
} {
  const url = URL.parse(baseUrl);
  const safe =
    url?.protocol === "https:" || (url?.protocol === "http:" && loopback.test(url.hostname));
  if (!url || !safe || url.username !== "" || url.password !== "" || url.hash !== "") {
    throw new SymphonyError(
      "invalid_config",
      "openai.base_url must be https, or http on this machine, without a password in it",
      { hint: "symphony config overlay set openai.base_url https://api.openai.com/v1" },
    );
  }
  const query = Object.fromEntries(url.searchParams);
  const key = Object.keys(query).find((name) => keyInAddress.test(name));
  if (key !== undefined) {
    throw new SymphonyError(
      "invalid_config",
      `openai.base_url must not contain the key: it has a parameter ${key}`,
      { hint: "symphony secrets add OPENAI_API_KEY; openai.api_key_header names its header" },
    );
  }
  return { baseUrl: `${url.origin}${url.pathname}`.replace(/\/+$/, ""), query };
}

/** The variable that a `$NAME` names; null for a literal key. */
export function keyNameOf({ apiKey }: Pick<Settings, "apiKey">): string | null {
  return nameIn(apiKey.trim());
}

function nameIn(written: string): string | null {
  return /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(written)?.[1] ?? null;
}

/** The current key. Throws `agent_unavailable` when there is none. */
export function keyOf(
  settings: Pick<Settings, "apiKey">,
  lookup: (name: string) => string | undefined,
): string {
  const name = keyNameOf(settings);
  const key = (name === null ? settings.apiKey : (lookup(name) ?? "")).trim();
  if (key !== "") return key;
  throw new SymphonyError(
    "agent_unavailable",
    `the built-in agent needs a key: ${name} is not set`,
    {
      hint: `symphony secrets add ${name}`,
    },
  );
}

/**
 * A client for one request: the key lives no longer than that. It never follows a redirect, which
 * could send the key to another address. `received` is called for each piece of an answer, `ended` where its stream says
 * that it is whole.
 */
export async function clientFor(
  settings: Settings,
  key: string,
  {
    lookup,
    received,
    ended,
  }: { lookup(name: string): string | undefined; received(): void; ended(): void },
): Promise<OpenAI> {
  const { default: Client } = await import("openai");
  const { baseUrl, query } = addressOf(settings);
  return new Client({
    apiKey: key,
    adminAPIKey: null,
    baseURL: baseUrl,
    defaultQuery: query,
    organization: null,
    project: null,
    webhookSecret: null,
    maxRetries: 0,
    // Silence is watched here, and an answer may take as long as the settings allow.
    timeout: maxTimerMs,
    logLevel: "off",
    defaultHeaders: headersOf(settings, key, lookup),
    fetch: async (url, init) => {
      const asked = { ...init, redirect: "error" } as RequestInit;
      const response = await outbound(url, asked, "stream of a model");
      return asStream(response, { host: new URL(baseUrl).host, received, ended });
    },
  });
}

const maxTimerMs = 2_147_483_647;

/** Throws `agent_unavailable` for a `$NAME` that is not set. */
export function headersOf(
  { apiKeyHeader, headers }: Pick<OpenaiConfig, "apiKeyHeader" | "headers">,
  key: string,
  lookup: (name: string) => string | undefined,
): Record<string, string | null> {
  const further = Object.entries(headers).map(([name, written]) => {
    const secret = nameIn(written);
    const value = secret === null ? written : lookup(secret)?.trim();
    if (value) return [name, value];
    throw new SymphonyError("agent_unavailable", `openai.headers.${name}: ${secret} is not set`, {
      hint: `symphony secrets add ${secret}`,
    });
  });
  const own = apiKeyHeader === "authorization" ? {} : { authorization: null, [apiKeyHeader]: key };
  return { ...own, ...Object.fromEntries(further) };
}
