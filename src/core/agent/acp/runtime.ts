import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import { type AgentRuntime, openOrClose, type SessionSpec } from "../agent.ts";
import { openBridge } from "../bridge.ts";
import { programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { firstStartIn } from "../first-start.ts";
import type { GuardedLaunch } from "../guard/disarm.ts";
import { guardedLaunch, guardNotices, requireGuardedLines } from "../guard/line.ts";
import { isPlainForGemini, requireGuardedWorkspace } from "../guard/workspace.ts";
import { providerWayOf } from "../provider-way.ts";
import { readableBy, readableCredentials } from "../readable.ts";
import { environmentOf } from "../stored-values.ts";
import { noProvider, openWayOut, requireWayOut } from "../way-out.ts";
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
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
}

/** Runs an agent of the Agent Client Protocol; in the sandbox below level `danger`. */
export function createAcpRuntime(options: AcpRuntimeOptions): AgentRuntime {
  const { clock, env } = options;
  const check = (reach: Reach) => checkOf(options, reach);
  return {
    kind: "acp",
    async check(level, network) {
      await check({ level, network });
    },
    async readable(level, network) {
      const { config: access, command, provider, env } = await check({ level, network });
      const place = { ...options, env };
      return readableBy({ kind: "acp", access, lines: [command], provider, level }, place);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, command, guarded: known, notices, provider, env: own } = await check(spec);
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
      signal.throwIfAborted();
      let session: AcpSession | null = null;
      await using opened = new AsyncDisposableStack();
      const bridge = await openBridge({
        tools: spec.tools,
        onUse: (event) => session?.toolUsed(event),
      });
      opened.use(bridge);
      const { envPassthrough: passthrough } = config;
      const way = opened.use(await openWayOut({ spec, provider, confinement, passthrough, env }));
      const launch = await launchOf(command, { spec, guarded, env: own, way, bridge });
      signal.throwIfAborted();
      const lacksTools = isUntrustedGemini(guarded, spec);
      const said = [
        ...notices,
        ...(lacksTools ? [withoutTools] : []),
        ...(await readableCredentials({ passthrough: way.passthrough, env: own, confinement })),
      ];
      for (const notice of said) spec.onEvent(noticeEvent(notice));
      const open = () => {
        const parts = {
          spec,
          config,
          launch,
          guarded,
          clock,
          bridge,
          lacksTools,
          opened: opened.move(),
        };
        session = new AcpSession(parts);
        return openOrClose(session, signal);
      };
      return await (guarded.agents.has("opencode")
        ? firstStartIn(env["HOME"] ?? "").run(signal, open)
        : open());
    },
  };
}

type Reach = Pick<SessionSpec, "level" | "network">;

async function checkOf(options: AcpRuntimeOptions, { level, network }: Reach) {
  const { lookup, hide } = options;
  const config = options.config();
  if (config.command === null) throw noCommand();
  const lines = [{ key: "acp.command", line: config.command }];
  const passthrough = config.envPassthrough;
  const env = await environmentOf(config, options);
  const guarded = guardedLaunch({ kind: "acp", lines, agent: null, passthrough, env });
  if (level !== "danger") {
    requireGuardedLines(guarded, lines);
    await probeSandbox(level, options.env);
  }
  const { agents } = guarded;
  const { provider: settings } = config;
  const provider =
    level === "danger" ? null : providerWayOf({ agents, settings, passthrough, env, lookup, hide });
  if (level === "safe" && provider === null) throw noProvider("acp", providerHint);
  await requireWayOut({ spec: { level, network }, provider, env: options.env });
  const notices = guardNotices(guarded, lines);
  return { config, command: config.command, guarded, notices, provider, env };
}

const withoutTools =
  "gemini gets no tools of the tracker, because the repository contains .gemini or .env, which it would then obey: its issue moves by tracker.on_success or a hook";

/** Untrusted, it leaves out the servers of the session without a word. */
function isUntrustedGemini({ agents, trusts, opens }: GuardedLaunch, spec: SessionSpec): boolean {
  return agents.has("gemini") && !trusts && !opens && spec.tools.specs.length > 0;
}
const providerHint =
  "name the variable of its key in acp.env_passthrough (claude-agent-acp, gemini), or set acp.provider";

function noCommand(): SymphonyError {
  return new SymphonyError("agent_unavailable", "agent.kind is acp, and acp.command is not set", {
    hint: "symphony config overlay set acp.command codex-acp",
  });
}
