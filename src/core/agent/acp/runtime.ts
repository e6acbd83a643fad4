import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import { type AgentRuntime, openOrClose, type SessionSpec } from "../agent.ts";
import { openBridge } from "../bridge.ts";
import { noNetwork, programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import type { GuardedLaunch } from "../guard/disarm.ts";
import { guardedLaunch, guardNotices, requireGuardedLines } from "../guard/line.ts";
import { isPlainForGemini, requireGuardedWorkspace } from "../guard/workspace.ts";
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
      const { config, command, guarded: known, notices } = await check(spec.level);
      const isPlain = known.agents.has("gemini") && (await isPlainForGemini(spec.workspace));
      const guarded = { ...known, opens: isPlain && known.agents.size === 1 };
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
      let session: AcpSession | null = null;
      const bridge = await openBridge({
        tools: spec.tools,
        onUse: (event) => session?.toolUsed(event),
      });
      try {
        const facts = { spec, config, guarded, bridge };
        const launch = await launchOf(command, { ...facts, env, confinement });
        signal.throwIfAborted();
        const noTools = isUntrustedGemini(guarded, spec) ? [withoutTools] : [];
        for (const notice of [...notices, ...noTools]) spec.onEvent(noticeEvent(notice));
        session = new AcpSession({ ...facts, launch, clock });
      } catch (error) {
        await bridge?.[Symbol.asyncDispose]();
        throw error;
      }
      return openOrClose(session, signal);
    },
  };
}

const withoutTools =
  "gemini gets no tools of the tracker, because the repository contains .gemini or .env, which it would then obey: its issue moves by tracker.on_success or a hook";

/** Untrusted, it leaves out the servers of the session without a word. */
function isUntrustedGemini({ agents, trusts, opens }: GuardedLaunch, spec: SessionSpec): boolean {
  return agents.has("gemini") && !trusts && !opens && spec.tools.specs.length > 0;
}

function noCommand(): SymphonyError {
  return new SymphonyError("agent_unavailable", "agent.kind is acp, and acp.command is not set", {
    hint: "symphony config overlay set acp.command codex-acp",
  });
}
