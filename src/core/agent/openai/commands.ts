import type { Clock } from "../../clock.ts";
import type { OpenaiConfig } from "../../config/openai-section.ts";
import type { AgentEvent } from "../agent.ts";
import { displayTail, displayText } from "../display-text.ts";
import { killMatching } from "../process-table.ts";
import { type CommandEnd, runCommand } from "./command.ts";
import { type Level, type Shown, sandboxArgs } from "./sandbox.ts";

const maxCommandChars = 2_000;
const maxOutputChars = 4_000;
const lifeSignMs = 30_000;
/** What is left to everything else on the disk of the workspaces. */
const leastFreeBytes = 256 * 1024 * 1024;
const killLimitMs = 2_000;
const blockBytes = 1_024;
/** Limits first, then the command in the place of the shell that set them. */
const limits = 'ulimit -c 0; ulimit -f "$1"; shift; exec "$@"';

export interface CommandsOptions {
  readonly level: Level;
  readonly workspace: string;
  /** Empty inside the sandbox. */
  readonly hidden: readonly string[];
  readonly readable: readonly Shown[];
  readonly env: Readonly<Record<string, string>>;
  readonly runId: string;
  readonly config: OpenaiConfig;
  readonly clock: Clock;
  emit(event: AgentEvent): void;
}

export interface CommandOrder {
  readonly argv: readonly string[];
  /** As it is shown. */
  readonly line: string;
  /** Absolute, in the workspace. */
  readonly cwd: string;
  readonly timeoutMs: number;
  /** A person allowed it. */
  readonly outside?: boolean;
}

/** Runs the agent's commands: in the sandbox of the level, with limits, told as events. */
export class Commands {
  readonly #options: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  /** Never rejects for what the command does. */
  async run(order: CommandOrder, signal: AbortSignal): Promise<CommandEnd> {
    const { emit } = this.#options;
    const command = displayText(order.line, maxCommandChars);
    emit({ type: "command", command, status: "started", exitCode: null, output: null });
    const stopSigns = this.#signs();
    try {
      const end = await this.quietly(order, signal);
      const { exitCode } = end;
      const output = displayTail(end.output, maxOutputChars);
      const status = exitCode === 0 && end.stoppedFor === null ? "completed" : "failed";
      emit({ type: "command", command, status, exitCode, output });
      return end;
    } finally {
      stopSigns();
    }
  }

  /** The same without events. */
  async quietly(order: CommandOrder, signal: AbortSignal): Promise<CommandEnd> {
    const { level, workspace, hidden, readable, env, runId, config, clock } = this.#options;
    const boxed = level !== "danger" && order.outside !== true;
    const box =
      level !== "danger" && boxed
        ? await sandboxArgs({ level, workspace, cwd: order.cwd, hidden, readable })
        : [];
    const blocks = Math.ceil(config.commandFileBytes / blockBytes);
    const end = await runCommand({
      argv: [...box, "bash", "-c", limits, "bash", String(blocks), ...order.argv],
      cwd: boxed ? workspace : order.cwd,
      env,
      timeoutMs: order.timeoutMs,
      outputBytes: config.commandOutputBytes,
      signal,
      clock,
      limits: { runId, processes: config.commandProcesses, leastFreeBytes },
      onOutput: () => this.#options.emit({ type: "activity", method: "command/output" }),
    });
    // The sandbox takes everything with it; without one there may be what left the command's group.
    if (!boxed) await killMatching((entry) => entry.runId === runId, killLimitMs);
    return end;
  }

  /** A command may be silent for as long as its time limit: that is no stall. */
  #signs(): () => void {
    const { clock, emit } = this.#options;
    let cancel = () => {};
    const sign = () => {
      cancel = clock.after(lifeSignMs, () => {
        emit({ type: "activity", method: "command/running" });
        sign();
      });
    };
    sign();
    return () => cancel();
  }
}
