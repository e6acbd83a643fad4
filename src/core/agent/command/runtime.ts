import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import { type AgentRuntime, closeOnAbort, type SessionSpec } from "../agent.ts";
import { openBridge } from "../bridge.ts";
import { programConfinement } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { guardedLaunch, guardNotices, requireGuardedLines } from "../guard/line.ts";
import type { KnownAgent } from "../guard/program.ts";
import { providerWayOf } from "../provider-way.ts";
import { readableBy, readableCredentials } from "../readable.ts";
import { environmentOf } from "../stored-values.ts";
import { openWayOut, requireWayOut } from "../way-out.ts";
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
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
}

/** Runs any program, one process for each turn; in the sandbox below level `danger`. */
export function createCommandRuntime(options: CommandRuntimeOptions): AgentRuntime {
  const { clock, env, lookup, hide } = options;
  const check = async ({ level, network }: Pick<SessionSpec, "level" | "network">) => {
    const config = options.config();
    if (config.line === null) throw noLine();
    const lines = linesOf(config, config.line);
    const agent = writers.get(config.output) ?? null;
    const passthrough = config.envPassthrough;
    const own = await environmentOf(config, options);
    const guarded = guardedLaunch({ kind: "command", lines, agent, passthrough, env: own });
    if (level !== "danger") {
      requireGuardedLines(guarded, lines);
      await probeSandbox(level, env);
    }
    const { agents } = guarded;
    const { provider: settings } = config;
    const provider =
      level === "danger"
        ? null
        : providerWayOf({ agents, settings, passthrough, env: own, lookup, hide });
    await requireWayOut({ spec: { level, network }, provider, env });
    const notices = guardNotices(guarded, lines);
    return { config, line: config.line, lines, guarded, notices, provider, own };
  };
  return {
    kind: "command",
    async check(level, network) {
      await check({ level, network });
    },
    async readable(level, network) {
      const { config: access, lines, provider, own } = await check({ level, network });
      const texts = lines.map(({ line }) => line);
      const place = { ...options, env: own };
      return readableBy({ kind: "command", access, lines: texts, provider, level }, place);
    },
    async start(spec, signal) {
      signal.throwIfAborted();
      const { config, line, lines, guarded, notices, provider, own } = await check(spec);
      const confinement = await programConfinement("command", config, {
        spec,
        lines: lines.map((one) => one.line),
        env,
        dataDir: options.dataDir,
        workspaceRoot: options.workspaceRoot(),
      });
      signal.throwIfAborted();
      let session: CommandSession | null = null;
      await using opened = new AsyncDisposableStack();
      const bridge = await openBridge({
        tools: spec.tools,
        onUse: (event) => session?.toolUsed(event),
      });
      opened.use(bridge);
      const { envPassthrough: passthrough } = config;
      const way = opened.use(await openWayOut({ spec, provider, confinement, passthrough, env }));
      const readable = await readableCredentials({
        passthrough: way.passthrough,
        env: own,
        confinement,
      });
      for (const notice of [...notices, ...readable]) spec.onEvent(noticeEvent(notice));
      session = new CommandSession({
        ...{ spec, config, line, guarded, clock, env: own, way, bridge },
        opened: opened.move(),
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
