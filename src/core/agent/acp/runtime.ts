import type { Clock } from "../../clock.ts";
import type { AcpConfig } from "../../config/acp-section.ts";
import { SymphonyError } from "../../model/errors.ts";
import type { AgentRuntime, SessionSpec } from "../agent.ts";
import { requireBubblewrap } from "../bubblewrap.ts";
import { openedSession } from "../opened-session.ts";
import { AcpSession } from "./session.ts";

export interface AcpRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): AcpConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** Directories that a confined agent must not see. */
  hidden(): readonly string[];
}

/** Runs an agent of the Agent Client Protocol; below level `danger` in bubblewrap. */
export function createAcpRuntime(options: AcpRuntimeOptions): AgentRuntime {
  const { clock, env } = options;
  const check = async (level: SessionSpec["level"]) => {
    const config = options.config();
    if (config.command === null) throw noCommand();
    if (level === "safe") throw noNetwork();
    if (level !== "danger") await requireBubblewrap("acp", true);
    return { config, command: config.command };
  };
  return {
    kind: "acp",
    async check(level) {
      await check(level);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, command } = await check(spec.level);
      signal.throwIfAborted();
      const hidden = options.hidden();
      const session = new AcpSession({ spec, config, command, clock, env, hidden });
      return openedSession(session, signal);
    },
  };
}

/** Without the network it has no model, and with it the level would say what is not so. */
function noNetwork(): SymphonyError {
  const message =
    "agent.kind acp reaches its model over the network, which agent.level safe forbids";
  return new SymphonyError("agent_unavailable", message, {
    hint: "symphony config overlay set agent.level networked",
  });
}

function noCommand(): SymphonyError {
  return new SymphonyError("agent_unavailable", "agent.kind is acp, and acp.command is not set", {
    hint: "symphony config overlay set acp.command codex-acp",
  });
}
