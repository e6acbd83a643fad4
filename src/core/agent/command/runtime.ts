import type { Clock } from "../../clock.ts";
import type { CommandConfig } from "../../config/command-section.ts";
import { SymphonyError } from "../../model/errors.ts";
import type { AgentRuntime, SessionSpec } from "../agent.ts";
import { requireBubblewrap } from "../bubblewrap.ts";
import { CommandSession } from "./session.ts";

export interface CommandRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): CommandConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** Directories that a confined program must not see. */
  hidden(): readonly string[];
}

/** Runs any program, one process for each turn; below level `danger` in bubblewrap. */
export function createCommandRuntime(options: CommandRuntimeOptions): AgentRuntime {
  const { clock, env } = options;
  const check = async (level: SessionSpec["level"]) => {
    const config = options.config();
    if (config.line === null) throw noLine();
    if (level !== "danger") await requireBubblewrap("command", level !== "safe");
    return { config, line: config.line };
  };
  return {
    kind: "command",
    async check(level) {
      await check(level);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, line } = await check(spec.level);
      signal.throwIfAborted();
      const hidden = options.hidden();
      const session = new CommandSession({ spec, config, line, clock, env, hidden });
      signal.addEventListener("abort", () => void session[Symbol.asyncDispose](), { once: true });
      session.open();
      return session;
    },
  };
}

function noLine(): SymphonyError {
  const message = "agent.kind is command, and command.line is not set";
  return new SymphonyError("agent_unavailable", message, {
    hint: "symphony config overlay set command.line ./agent.sh",
  });
}
