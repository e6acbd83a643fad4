import type { z } from "zod";
import { section, solidText, variableName } from "../config/agents.ts";
import { SymphonyError } from "../model/errors.ts";
import { renamed } from "../model/names.ts";
import type { KnownAgent } from "./guard/program.ts";

/*
 * How a separate program is led to its model provider through symphony, so that it never has the
 * key: it takes the provider's address and its key from variables.
 */

/** A program's provider, and the variables that the program reads. */
export interface ProviderWay {
  /** The address that the provider's API begins with. */
  readonly upstream: URL;
  /** The header that carries the key; `authorization` carries it as a bearer. */
  readonly header: string;
  /** null: the provider wants none. */
  key(): Promise<string | null>;
  readonly addressVariable: string;
  readonly keyVariable: string;
}

/** `acp.provider` and `command.provider`. */
export interface ProviderSettings {
  readonly baseUrl: string;
  /** As written: a `$NAME` is resolved at each request; null: the provider wants none. */
  readonly apiKey: string | null;
  readonly apiKeyHeader: string;
  readonly baseUrlVariable: string;
  readonly apiKeyVariable: string;
}

const address = solidText.refine((value) => {
  const url = URL.parse(value);
  return url !== null && /^https?:$/.test(url.protocol) && !url.username && !url.password;
}, "must be an http or https address without a user");

/** The schema of `provider` in the section of a program. */
const providerSection = section({
  base_url: address,
  api_key: solidText.nullable().default(null),
  api_key_header: solidText
    .regex(/^[A-Za-z0-9-]{1,100}$/, "must be the name of a header")
    .default("authorization"),
  base_url_variable: variableName,
  api_key_variable: variableName,
});
export const providerKey = providerSection.nullable().default(null);

export function providerSettingsOf(written: z.output<typeof providerKey>): ProviderSettings | null {
  return written && renamed(providerSection, written);
}

export const providerMeaning =
  "The model provider, which the agent then reaches only through symphony, without its key: base_url, api_key ($NAME), api_key_header (default authorization), and the variables from which the program takes both: base_url_variable, api_key_variable";

interface Preset {
  readonly upstream: string;
  readonly addressVariable: string;
  /** The variables of a key, each with its header; the first that is there is used. */
  readonly keys: readonly (readonly [name: string, header: string])[];
}

const presets: Readonly<Partial<Record<KnownAgent, Preset>>> = {
  claude: {
    upstream: "https://api.anthropic.com",
    addressVariable: "ANTHROPIC_BASE_URL",
    keys: [
      ["ANTHROPIC_API_KEY", "x-api-key"],
      ["ANTHROPIC_AUTH_TOKEN", "authorization"],
      ["CLAUDE_CODE_OAUTH_TOKEN", "authorization"],
    ],
  },
  gemini: {
    upstream: "https://generativelanguage.googleapis.com",
    addressVariable: "GOOGLE_GEMINI_BASE_URL",
    keys: [["GEMINI_API_KEY", "x-goog-api-key"]],
  },
};

export interface ProviderFacts {
  readonly agents: ReadonlySet<KnownAgent>;
  readonly settings: ProviderSettings | null;
  readonly passthrough: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Secrets first, then the environment. */
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
}

/**
 * The provider of the program: the one of the settings, or that of a known agent whose key
 * `env_passthrough` names. null: it is not known.
 */
export function providerWayOf(facts: ProviderFacts): ProviderWay | null {
  const { agents, settings } = facts;
  if (settings !== null) {
    return {
      upstream: new URL(settings.baseUrl),
      header: settings.apiKeyHeader.toLowerCase(),
      key: async () => (settings.apiKey === null ? null : keyOf(settings.apiKey, facts)),
      addressVariable: settings.baseUrlVariable,
      keyVariable: settings.apiKeyVariable,
    };
  }
  const ways = [...agents].map((agent) => presetWay(presets[agent], facts));
  return ways.find((way) => way !== null) ?? null;
}

function presetWay(preset: Preset | undefined, facts: ProviderFacts): ProviderWay | null {
  const { passthrough, lookup } = facts;
  const given = preset?.keys.find(([name]) => passthrough.includes(name) && lookup(name)?.trim());
  if (!preset || !given) return null;
  const [keyVariable, header] = given;
  const { addressVariable } = preset;
  return {
    upstream: upstreamOf(addressVariable, preset.upstream, facts),
    header,
    key: async () => keyOf(`$${keyVariable}`, facts),
    addressVariable,
    keyVariable,
  };
}

/** The address that an operator passes on to the program, or the provider's own. */
export function upstreamOf(
  variable: string,
  usual: string,
  { passthrough, env }: Pick<ProviderFacts, "passthrough" | "env">,
): URL {
  const written = passthrough.includes(variable) ? (env[variable] ?? "").trim() : "";
  if (written === "") return new URL(usual);
  const url = URL.parse(written);
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw new SymphonyError("agent_unavailable", `${variable} is not an http or https address`, {
    hint: `set ${variable} to the address of the provider's API, or unset it`,
  });
}

function keyOf(written: string, { lookup, hide }: Pick<ProviderFacts, "lookup" | "hide">): string {
  const name = written.slice(1);
  const value = written.startsWith("$") ? lookup(name)?.trim() : written;
  if (value) {
    hide(value);
    return value;
  }
  throw new SymphonyError("provider_refused", `the key ${name} of the model provider is not set`, {
    hint: `symphony secrets add ${name}`,
  });
}
