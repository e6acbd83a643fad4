import type OpenAI from "openai";
import type { OpenaiConfig } from "../../config/openai-section.ts";
import { SymphonyError } from "../../model/errors.ts";

type Settings = Pick<OpenaiConfig, "baseUrl" | "apiKey">;

const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Where the models are. Throws `invalid_config` for anything but https, or http on this machine. */
export function baseUrlOf({ baseUrl }: Settings): string {
  const url = URL.parse(baseUrl);
  const safe =
    url?.protocol === "https:" || (url?.protocol === "http:" && loopback.test(url.hostname));
  if (!url || !safe || url.username !== "" || url.password !== "") {
    throw new SymphonyError(
      "invalid_config",
      "openai.base_url must be https, or http on this machine, without a password in it",
      { hint: "symphony config overlay set openai.base_url https://api.openai.com/v1" },
    );
  }
  return url.href.replace(/\/+$/, "");
}

/** The variable a `$NAME` names; null for a key that is written out. */
export function keyNameOf({ apiKey }: Settings): string | null {
  return /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(apiKey.trim())?.[1] ?? null;
}

/** The key, as it is now. Throws `agent_unavailable` when there is none. */
export function keyOf(settings: Settings, lookup: (name: string) => string | undefined): string {
  const name = keyNameOf(settings);
  const key = (name === null ? settings.apiKey : (lookup(name) ?? "")).trim();
  if (key !== "") return key;
  throw new SymphonyError(
    "agent_unavailable",
    `the built-in agent needs a key: there is no ${name}`,
    {
      hint: `symphony secrets add ${name}`,
    },
  );
}

/** A client for one request: the key lives no longer than that. It never follows a redirect, which could lead the key elsewhere. */
export async function clientFor(settings: Settings, key: string): Promise<OpenAI> {
  const { default: Client } = await import("openai");
  return new Client({
    apiKey: key,
    adminAPIKey: null,
    baseURL: baseUrlOf(settings),
    organization: null,
    project: null,
    webhookSecret: null,
    maxRetries: 0,
    logLevel: "off",
    fetch: (url, init) => fetch(url, { ...init, redirect: "error" }),
  });
}
