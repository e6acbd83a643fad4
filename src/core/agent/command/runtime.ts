import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import { type AgentRuntime, closeOnAbort, type SessionSpec } from "../agent.ts";
import { openBridge } from "../bridge.ts";
import { programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { guardedLaunch, guardNotices, requireGuardedLines } from "../guard/line.ts";
import type { KnownAgent } from "../guard/program.ts";
import { CommandSession } from "./session.ts";
import type { CommandConfig } from "./settings.ts";

export interface CommandRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): CommandConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** The directory of all workspaces: a confined program sees only its own. */
  workspaceRoot(): string;
  /** Hidden from a confined program. */
  readonly dataDir: string;
}

/** Runs any program, one process for each turn; in the sandbox below level `danger`. */
export function createCommandRuntime(options: CommandRuntimeOptions): AgentRuntime {
  const { clock, env } = options;
  const check = async (level: SessionSpec["level"]) => {
    const config = options.config();
    if (config.line === null) throw noLine();
    const lines = linesOf(config, config.line);
    const agent = writers.get(config.output) ?? null;
    const passthrough = config.envPassthrough;
    const guarded = guardedLaunch({ kind: "command", lines, agent, passthrough, env });
    if (level !== "danger") {
      requireGuardedLines(guarded, lines);
      await probeSandbox(level, env);
    }
    const notices = guardNotices(guarded, lines);
    return { config, line: config.line, lines, guarded, notices };
  };
  return {
    kind: "command",
    async check(level) {
      await check(level);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, line, lines, guarded, notices } = await check(spec.level);
      const confinement = await programConfinement("command", config, {
        spec,
        lines: lines.map((one) => one.line),
        env,
        dataDir: options.dataDir,
        workspaceRoot: options.workspaceRoot(),
      });
      signal.throwIfAborted();
      for (const notice of notices) spec.onEvent(noticeEvent(notice));
      let session: CommandSession | null = null;
      const bridge = await openBridge({
        tools: spec.tools,
        onUse: (event) => session?.toolUsed(event),
      });
      session = new CommandSession({
        ...{ spec, config, line, guarded, clock, env, confinement, bridge },
      });
      closeOnAbort(session, signal);
      session.open();
      return session;
    },
  };
}

/**
 * The agents whose output format a setting names: a script that writes this format starts that
 * agent.
 */
const writers: ReadonlyMap<CommandConfig["output"], KnownAgent> = new Map([
  ["claude", "claude"],
  ["gemini", "gemini"],
  ["codex", "codex"],
]);

function linesOf({ resumeLine }: CommandConfig, line: string) {
  const first = { key: "command.line", line };
  return resumeLine === null ? [first] : [first, { key: "command.resume_line", line: resumeLine }];
}

function noLine(): SymphonyError {
  const message = "agent.kind is command, and command.line is not set";
  return new SymphonyError("agent_unavailable", message, {
    hint: "symphony config overlay set command.line /path/to/agent.sh",
  });
}
