import {
  type ProviderFacts,
  type ProviderWay,
  providerWayOf,
  upstreamOf,
} from "../provider-way.ts";
import { type Credential, type CredentialDeps, credentialOf } from "./credential.ts";
import type { ClaudeConfig } from "./settings.ts";

const addressVariable = "ANTHROPIC_BASE_URL";
/** With one of these the program signs its requests itself. */
const ownCloud = /^CLAUDE_CODE_USE_[A-Z]+$/;

/**
 * The way to the provider of `claude.login`, or of the credential that `claude.env_passthrough` names.
 * null: the program has its own way, with its own credential. `own` is what the program's variables are taken from.
 */
export function claudeProvider(
  config: ClaudeConfig,
  credential: Credential | null,
  deps: CredentialDeps & Pick<ProviderFacts, "hide"> & { readonly own: ProviderFacts["env"] },
): ProviderWay | null {
  const { envPassthrough: passthrough } = config;
  const { own: env, lookup, hide } = deps;
  if (passthrough.some((name) => ownCloud.test(name) && env[name])) return null;
  const facts = { passthrough, env, lookup, hide };
  if (credential === null) {
    return providerWayOf({ ...facts, agents: new Set(["claude"]), settings: null });
  }
  return {
    upstream: upstreamOf(addressVariable, "https://api.anthropic.com", facts),
    header: credential.name === "ANTHROPIC_API_KEY" ? "x-api-key" : "authorization",
    // A login that is renewed while the agent works is taken over.
    async key() {
      const value = (await credentialOf(config, deps))?.value ?? credential.value;
      hide(value);
      return value;
    },
    addressVariable,
    keyVariable: credential.name,
  };
}
