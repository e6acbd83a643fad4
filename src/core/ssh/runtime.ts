import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import type {
  AgentRuntime,
  AgentSession,
  Answer,
  SessionSpec,
  TurnOptions,
} from "../agent/agent.ts";
import type { CodexConfig } from "../agent/codex/settings.ts";
import type { CommandConfig } from "../agent/command/settings.ts";
import type { AgentImage } from "../agent/images.ts";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { shellQuoted } from "../text/text.ts";
import type { Book } from "./book.ts";
import { plainShell, quoted, sshFault, sshLine, sshVariables } from "./command-line.ts";
import type { SshHosts } from "./hosts.ts";
import { endRun, ifLatest } from "./scripts.ts";
import type { SshWorkspaces } from "./workspaces.ts";

export interface SshRuntimeOptions {
  readonly attemptId: string;
  readonly issueId: string;
  readonly agent: string;
  readonly kind: string;
  readonly host: string;
  /** The agent's section of the configuration. */
  settings(): object;
  readonly hosts: SshHosts;
  readonly book: Book;
  readonly workspaces: SshWorkspaces;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir: string;
}

/**
 * Runs an agent in its issue's workspace on a host. It starts with what is here, and what it made comes back after each turn
 * and at its end; when that is impossible, it stays there and the next attempt begins with it.
 */
export function sshRuntime(options: SshRuntimeOptions): AgentRuntime {
  const { attemptId, issueId, host, hosts, book, workspaces, kind } = options;
  return {
    kind,
    async start(spec, signal) {
      const tell = (message: string) => spec.onEvent({ type: "notice", message, malformed: false });
      await workspaces.sync(issueId, signal, tell);
      const { remotePath } = workspaces.requirePlace(issueId);
      let errors = "";
      const there: SessionSpec = {
        ...spec,
        workspace: remotePath,
        launchFrom: spec.workspace,
        borrowed: [],
        bounds: undefined,
        onLog(line) {
          errors = `${errors}\n${line}`.slice(-8_192);
          spec.onLog(line);
        },
      };
      /** An error of ssh names the host; the host gets nothing more until it answers again. */
      const asOfHost = (error: unknown) => {
        const status = error instanceof SymphonyError ? error.details["status"] : null;
        const known = sshFault(host, { status: status === 255 ? 255 : null, errors });
        if (known === null || status !== 255) return error;
        hosts.failed(host, known);
        return known;
      };
      const ended = async () => {
        try {
          await hosts.endAll(host, [attemptId]);
          await workspaces.back(issueId, tell);
        } catch (error) {
          tell(`what the agent did last has not come back: ${messageOf(error)}`);
        } finally {
          hosts.live.delete(attemptId);
        }
      };
      await book.began(attemptId, { host, issueId });
      await book.change(issueId, { isBehind: true });
      hosts.live.add(attemptId);
      try {
        const runtime = await runtimeOf(options, there);
        const inner = await runtime.start(there, signal);
        return new SshSession(inner, {
          ...{ asOfHost, ended },
          before: () => workspaces.send(issueId, signal),
          after: () => workspaces.back(issueId, tell),
        });
      } catch (error) {
        await ended();
        throw asOfHost(error);
      }
    },
  };
}

/** The kinds that need nothing of this machine but a line to start and stdin. */
async function runtimeOf(options: SshRuntimeOptions, spec: SessionSpec): Promise<AgentRuntime> {
  const { kind, clock, env, dataDir } = options;
  const envPassthrough = [...sshVariables];
  if (kind === "codex") {
    const { createCodexRuntime } = await import("../agent/codex/runtime.ts");
    // The row of the kind `codex` has these settings.
    const settings = options.settings() as CodexConfig;
    const command = `exec ${launchOf(options, spec, settings.command)}`;
    // Its home and its login are those of the host.
    const config = { ...settings, command, home: "private", envPassthrough };
    return createCodexRuntime({ config: () => config, clock, env });
  }
  const { createCommandRuntime } = await import("../agent/command/runtime.ts");
  // Only `codex` and `command` are accepted with hosts.
  const settings = options.settings() as CommandConfig;
  const mark = `symphony-${randomBytes(9).toString("hex")}`;
  const lineOf = (line: string | null) =>
    line === null
      ? null
      : `${giveVariables} | ${launchOf(options, spec, `printf "\\n${mark}\\n"\n${takeVariables}\n${line}`)} | ${after(mark)}`;
  const config = { ...settings, line: lineOf(settings.line), envPassthrough };
  return createCommandRuntime({
    config: () => ({ ...config, resumeLine: lineOf(settings.resumeLine), provider: null }),
    ...{ clock, env, dataDir, workspaceRoot: () => spec.workspace },
    lookup: () => undefined,
    hide: () => {},
  });
}

/** The variables of a turn go through stdin, before the prompt, so that no command line contains text of its issue. */
const giveVariables = String.raw`{ env -0 | grep -zE "^SYMPHONY_(ISSUE|WORKSPACE|TURN|SESSION|MODEL|REASONING)"; printf "\0"; exec cat; }`;
/** What the profile of the login writes is no answer of the agent; the status is that of ssh. */
const after = (mark: string) =>
  `{ while IFS= read -r one && [ "$one" != ${mark} ]; do :; done; exec cat; }; exit "\${PIPESTATUS[1]}"`;
const takeVariables = `while IFS= read -r -d "" one && [ -n "$one" ]; do export "$one"; done`;

/** `command` in the workspace on the host, without our secrets there even if its profile names them (requirement Z-9). */
function launchOf(
  { host, attemptId, book, env }: SshRuntimeOptions,
  { workspace, secretEnvNames }: SessionSpec,
  command: string,
): string {
  const names = secretEnvNames.filter((name) => /^[A-Za-z_]\w*$/.test(name)).join(" ");
  const lines = [
    plainShell,
    `later() { echo "a later server uses this host: $1" >&2; }; at=${quoted(dirname(workspace))}${ifLatest(book)}`,
    `cd -- ${quoted(workspace)} || exit 1`,
    ...(names === "" ? [] : [`unset ${names}`]),
    `run=${shellQuoted(book.cookieOf(attemptId))}${endRun}`,
    `SYMPHONY_RUN_ID="$run" bash -c ${quoted(command)}`,
    // What it left behind holds the output, and the connection would not end.
    "code=$?; end_run; exit $code",
  ];
  return sshLine(host, lines.join("\n"), env);
}

interface Around {
  asOfHost(error: unknown): unknown;
  /** Sends what has changed here. */
  before(): Promise<void>;
  /** Brings back what the turn has changed. */
  after(): Promise<void>;
  /** No process of it is needed any more. */
  ended(): Promise<void>;
}

class SshSession implements AgentSession {
  readonly resumed: boolean;
  readonly isPlain: boolean;
  readonly repeats: boolean;
  readonly takesImages: boolean;
  readonly forgetsImages: boolean;
  readonly #inner: AgentSession;
  readonly #around: Around;
  #disposing: Promise<void> | null = null;

  constructor(inner: AgentSession, around: Around) {
    this.#inner = inner;
    this.#around = around;
    this.resumed = inner.resumed;
    this.isPlain = inner.isPlain === true;
    this.repeats = inner.repeats === true;
    this.takesImages = inner.takesImages === true;
    this.forgetsImages = inner.forgetsImages === true;
  }

  get threadId(): string {
    return this.#inner.threadId;
  }

  get pid(): number | null {
    return this.#inner.pid;
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    const { before, after, asOfHost } = this.#around;
    await before();
    try {
      await this.#inner.turn(prompt, options);
    } catch (error) {
      throw asOfHost(error);
    }
    await after();
  }

  steer(steerId: string, message: string, images?: readonly AgentImage[]) {
    return this.#inner.steer(steerId, message, images);
  }

  answer(askId: string, answer: Answer): void {
    this.#inner.answer(askId, answer);
  }

  interrupt(): Promise<void> {
    return this.#inner.interrupt();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
    await this.#around.ended();
  }
}
