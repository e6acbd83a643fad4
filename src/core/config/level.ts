import { SymphonyError } from "../model/errors.ts";
import type { AgentConfig, Config } from "./config.ts";

/** Set to `1` by whoever starts a server whose agents may do everything; `serve --i-understand` sets it. */
export const understandVariable = "SYMPHONY_I_UNDERSTAND";

/** What a level means, for people. */
export const levelWords: Readonly<Record<AgentConfig["level"], string>> = {
  safe: "no network, no secrets, writes in the workspace alone",
  networked: "network, no secrets, writes in the workspace alone; the API asks for its token",
  danger: "everything that this user may do; the API asks for its token",
};

/** Throws `invalid_config` for level `danger` on a server that was not started for it: no overlay may open one. */
export function checkLevel(
  { agent }: Config,
  env: Readonly<Record<string, string | undefined>>,
): void {
  if (agent.level !== "danger" || env[understandVariable] === "1") return;
  const message =
    "danger lets agents do everything this user may do, and the server was not started for it";
  throw new SymphonyError(
    "invalid_config",
    `the configuration cannot be used: agent.level ${message}`,
    {
      details: { problems: [{ path: "agent.level", message }] },
      hint: "in a container or a virtual machine of its own: symphony serve --i-understand",
    },
  );
}

/** An agent with the network could call the API itself: then nobody is let in without the token. */
export function wantsToken({ auth, level }: TokenRules): boolean {
  return auth === "token" || level !== "safe";
}

interface TokenRules {
  /** `server.auth` as the server was started with it. */
  readonly auth: string;
  /** As it is now. */
  readonly level: AgentConfig["level"];
}
