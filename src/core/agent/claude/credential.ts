import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { SymphonyError } from "../../model/errors.ts";
import { objectOf, parseJson, textOf } from "../../text/text.ts";
import type { ClaudeConfig } from "./settings.ts";

/** What the agent authenticates with, as a variable of its environment. */
export interface Credential {
  readonly name: "ANTHROPIC_API_KEY" | "CLAUDE_CODE_OAUTH_TOKEN";
  readonly value: string;
}

export interface CredentialDeps {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Secrets first, then the environment. */
  lookup(name: string): string | undefined;
  wall(): number;
}

/** Variables with which the program finds another way to its provider. */
const otherWays =
  /^(ANTHROPIC_AUTH_TOKEN|ANTHROPIC_API_KEY|CLAUDE_CODE_OAUTH_TOKEN|CLAUDE_CODE_USE_[A-Z]+)$/;

/**
 * The credential of `claude.login`; null when the agent gets none of symphony. Rejects with
 * `provider_refused` when there is none, or the login has expired.
 */
export async function credentialOf(
  { login, envPassthrough }: Pick<ClaudeConfig, "login" | "envPassthrough">,
  deps: CredentialDeps,
): Promise<Credential | null> {
  if (login === "none") return null;
  if (login === "auto" && envPassthrough.some((name) => otherWays.test(name))) return null;
  const named = (["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"] as const).filter(
    (name) =>
      login === "auto" || login === (name === "ANTHROPIC_API_KEY" ? "api_key" : "oauth_token"),
  );
  for (const name of named) {
    const value = deps.lookup(name)?.trim();
    if (value) return { name, value };
  }
  const own = login === "auto" || login === "user" ? await userLogin(deps) : null;
  if (own !== null) return own;
  throw new SymphonyError(
    "provider_refused",
    `agent.kind claude has no credential (claude.login ${login})`,
    {
      hint: "symphony secrets add ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN with the token of: claude setup-token",
    },
  );
}

/**
 * The access token of the operator's own login. The refresh token is not given: of two programs that
 * use it, one would lose its login.
 */
async function userLogin({ env, wall }: CredentialDeps): Promise<Credential | null> {
  const dir = env["CLAUDE_CONFIG_DIR"] || join(env["HOME"] || homedir(), ".claude");
  const text = await readFile(join(dir, ".credentials.json"), "utf8").catch(() => "");
  const { accessToken, expiresAt } = objectOf(objectOf(parseJson(text))["claudeAiOauth"]);
  const value = textOf(accessToken);
  if (!value) return null;
  if (typeof expiresAt === "number" && expiresAt <= wall()) {
    throw new SymphonyError("provider_refused", "your login of Claude Code has expired", {
      hint: "start claude once, which renews it; or: claude setup-token, then symphony secrets add CLAUDE_CODE_OAUTH_TOKEN",
    });
  }
  return { name: "CLAUDE_CODE_OAUTH_TOKEN", value };
}
