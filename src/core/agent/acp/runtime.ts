import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import { type AgentRuntime, openOrClose, type SessionSpec } from "../agent.ts";
import { noNetwork, programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { guardedLaunch, guardNotices, requireGuardedLines } from "../guard/line.ts";
import { requireGuardedWorkspace } from "../guard/workspace.ts";
import { launchOf } from "./link.ts";
import { AcpSession } from "./session.ts";
import type { AcpConfig } from "./settings.ts";

export interface AcpRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): AcpConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** The directory of all workspaces: a confined agent sees only its own. */
  workspaceRoot(): string;
  /** Hidden from a confined agent. */
  readonly dataDir: string;
}

/** Runs an agent of the Agent Client Protocol; in the sandbox below level `danger`. */
export function createAcpRuntime(options: AcpRuntimeOptions): AgentRuntime {
  const { clock, env } = options;
  const check = async (level: SessionSpec["level"]) => {
    const config = options.config();
    if (config.command === null) throw noCommand();
    if (level === "safe") throw noNetwork("acp");
    const lines = [{ key: "acp.command", line: config.command }];
    const passthrough = config.envPassthrough;
    const guarded = guardedLaunch({ kind: "acp", lines, agent: null, passthrough, env });
    if (level !== "danger") {
      requireGuardedLines(guarded, lines);
      await probeSandbox(level, env);
    }
    const notices = guardNotices(guarded, lines);
    return { config, command: config.command, guarded, notices };
  };
  return {
    kind: "acp",
    async check(level) {
      await check(level);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, command, guarded, notices } = await check(spec.level);
      if (spec.level !== "danger") {
        await requireGuardedWorkspace(spec.workspace, guarded, spec.title);
      }
      const confinement = await programConfinement("acp", config, {
        spec,
        lines: [command],
        env,
        dataDir: options.dataDir,
        workspaceRoot: options.workspaceRoot(),
      });
      const launch = await launchOf(command, { spec, config, guarded, env, confinement });
      signal.throwIfAborted();
      for (const notice of notices) spec.onEvent(noticeEvent(notice));
      const session = new AcpSession({ spec, config, launch, guarded, clock });
      return openOrClose(session, signal);
    },
  };
}

function noCommand(): SymphonyError {
  return new SymphonyError("agent_unavailable", "agent.kind is acp, and acp.command is not set", {
    hint: "symphony config overlay set acp.command codex-acp",
  });
}
