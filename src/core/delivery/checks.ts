import { homedir } from "node:os";
import type { AgentEvent, SessionSpec } from "../agent/agent.ts";
import { type ConfinementOptions, confinementOf } from "../agent/confinement.ts";
import { openWayOut, type WayOut } from "../agent/way-out.ts";
import type { Clock } from "../clock.ts";
import type { AgentConfig } from "../config/agents.ts";
import type { Config } from "../config/config.ts";
import type { Prepare } from "../config/git.ts";
import { boundLines, boundsOf } from "../process/bounds.ts";
import { agentEnvironment } from "../process/environment.ts";
import { loginEnvironment } from "../process/login.ts";
import { runCommand, stopTexts } from "../process/run.ts";
import { probeSandbox, sandboxArgs, startedBy } from "../process/sandbox.ts";
import { displayTail } from "../text/text.ts";

export interface ChecksDeps {
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir: string;
  /** The cookie of the processes. */
  readonly runId: string;
  config(): Config;
  secretNames(): readonly string[];
  borrowedBy(path: string): Promise<readonly string[]>;
}

/** Of the configuration, what commands run with. */
interface PrepareConfig {
  readonly agent: Pick<AgentConfig, "level" | "readable"> &
    Partial<Pick<AgentConfig, "stallTimeoutMs">> &
    Parameters<typeof boundsOf>[0];
  readonly hooks: Pick<Config["hooks"], "envPassthrough">;
  readonly workspace: Pick<Config["workspace"], "root">;
}

interface PrepareDeps extends Omit<ChecksDeps, "borrowedBy" | "config"> {
  config(): PrepareConfig;
  /** The setting that names the commands; default: `git.repositories`. */
  readonly key?: string;
  /** The hosts that they reach; default: all. */
  readonly network?: AgentConfig["network"] | undefined;
}

/** Where commands are run. */
export interface Checked {
  readonly workspace: { readonly path: string };
  readonly signal: AbortSignal;
  tell(line: string): void;
}

interface CommandsSetting {
  /** The setting that names them. */
  readonly key: string;
  /** What they are called in progress. */
  readonly name: string;
  readonly level: AgentConfig["level"];
  readonly network: AgentConfig["network"];
  /** Limit for each command. */
  readonly timeoutMs: number;
}

export interface FailedCheck {
  readonly command: string;
  /** The end of its output. */
  readonly output: string;
}

const maxOutputBytes = 256 * 1024;
const maxOutputChars = 8_000;
const toldEveryMs = 120_000;

/**
 * Runs commands one after the other in the workspace, which is at the commit that is to be offered,
 * in the sandbox of the agents. Resolves with the first that fails; null: all succeeded. Rejects with
 * `agent_unavailable` when there is no sandbox.
 */
export function failedCheck(
  checked: Checked,
  commands: readonly string[],
  deps: ChecksDeps,
): Promise<FailedCheck | null> {
  const { agent, delivery } = deps.config();
  const { level, network } = agent;
  const how = { key: "delivery.checks", name: "check", level, network };
  return failedCommand(checked, commands, deps, { ...how, timeoutMs: delivery.checksTimeoutMs });
}

/**
 * Runs the commands of `prepare`, with the network, in the sandbox of the agents; without one
 * at `danger`. Resolves and rejects as `failedCheck`.
 */
export function prepareBy({ key = "git.repositories", network = null, ...deps }: PrepareDeps) {
  return (
    { path, ...place }: { readonly path: string } & Omit<Checked, "workspace">,
    { commands, timeoutMs }: Pick<Prepare, "commands" | "timeoutMs">,
  ): Promise<FailedCheck | null> => {
    const level = deps.config().agent.level === "danger" ? "danger" : "networked";
    const how = { key, name: "prepare", level, network } as const;
    const checked = { workspace: { path }, ...place };
    return failedCommand(
      checked,
      commands,
      { ...deps, borrowedBy: async () => [] },
      { ...how, timeoutMs },
    );
  };
}

async function failedCommand(
  { workspace: { path: workspace }, signal, tell }: Checked,
  commands: readonly string[],
  deps: Omit<ChecksDeps, "config"> & { config(): PrepareConfig },
  { key, name, level, network, timeoutMs }: CommandsSetting,
): Promise<FailedCheck | null> {
  if (commands.length === 0) return null;
  const { agent, hooks, workspace: place } = deps.config();
  const { clock, dataDir, runId } = deps;
  const secretNames = deps.secretNames();
  const env = agentEnvironment({
    ...{ env: deps.env, secretNames, runId },
    passthrough: hooks.envPassthrough,
  });
  const { PATH: path = "" } = await loginEnvironment(deps.env);
  const { readable } = agent;
  const borrowed = await deps.borrowedBy(workspace);
  const bounds = boundsOf(agent);
  const spec = { ...{ workspace, level, borrowed, readable, bounds }, onLog: tell };
  if (level !== "danger") await probeSandbox(level, deps.env);
  for (const command of commands) {
    tell(`${name}: ${command}`);
    using _ = whileItRuns(clock, agent.stallTimeoutMs, (minutes) =>
      tell(
        `${name}: ${command}: it has run for ${minutes} min, of at most ${inMinutes(timeoutMs)}`,
      ),
    );
    const confined = {
      ...{ spec, lines: [command], env: deps.env, path, dataDir, workspaceRoot: place.root },
      readable: { key, paths: [] },
      writable: null,
    };
    await using way = await wayOutOf(confined, { level, network, tell });
    const box =
      level === "danger" || way?.confinement == null
        ? startedBy(boundLines(bounds))
        : await sandboxArgs({ ...way.confinement, level, cwd: workspace, emptied: [] });
    const end = await runCommand({
      argv: [...box, "bash", "-c", command],
      name,
      cwd: workspace,
      env: { ...env, ...way?.proxies, PATH: path, HOME: env["HOME"] ?? homedir() },
      ...{ clock, signal, timeoutMs, outputBytes: maxOutputBytes },
      keep: "end",
      limits: { runId, workspace, bounds },
    });
    signal.throwIfAborted();
    if (end.exitCode === 0 && end.stoppedFor === null) continue;
    const late = end.stoppedFor === null ? "" : `\n(ended: ${stopTexts[end.stoppedFor]})`;
    return { command, output: `${displayTail(end.output, maxOutputChars)}${late}` };
  }
  return null;
}

const inMinutes = (ms: number) => Math.ceil(ms / 60_000);

/** Calls `tell` until it is disposed: an attempt that says nothing for `stallMs` would count as stalled; 0 or less, or omitted: none does. */
function whileItRuns(
  clock: Clock,
  stallMs: number | undefined,
  tell: (minutes: number) => void,
): Disposable {
  const begun = clock.now();
  const limitMs = stallMs !== undefined && stallMs > 0 ? stallMs / 3 : toldEveryMs;
  const everyMs = Math.min(limitMs, toldEveryMs);
  let cancel = () => {};
  const next = () => {
    cancel = clock.after(everyMs, () => {
      tell(inMinutes(clock.now() - begun));
      next();
    });
  };
  next();
  return { [Symbol.dispose]: () => cancel() };
}

/** A check reaches what its agent reaches: it runs what the agent wrote. */
async function wayOutOf(
  confined: ConfinementOptions,
  {
    level,
    network,
    tell,
  }: Pick<SessionSpec, "level" | "network"> & { readonly tell: (line: string) => void },
): Promise<WayOut | null> {
  if (level === "danger") return null;
  const onEvent = (event: AgentEvent) => {
    if (event.type === "notice") tell(event.message);
  };
  const confinement = await confinementOf(confined);
  const { env } = confined;
  return openWayOut({
    ...{ spec: { level, network, onEvent }, provider: null, confinement, passthrough: [], env },
  });
}
