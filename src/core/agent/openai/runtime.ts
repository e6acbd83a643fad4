import { realpath } from "node:fs/promises";
import { userInfo } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import type { Clock } from "../../clock.ts";
import { agentEnvironment } from "../../process/environment.ts";
import { probeSandbox, programDirs, type Shown, within } from "../../process/sandbox.ts";
import type { AgentRuntime, AgentSession, SessionSpec } from "../agent.ts";
import { baseUrlOf, keyNameOf, keyOf } from "./failures.ts";
import type { Known } from "./provider.ts";
import { OpenaiSession, type SessionOptions } from "./session.ts";
import type { OpenaiConfig } from "./settings.ts";
import { forgetThreads, Thread } from "./thread.ts";

const threadsKeptMs = 30 * 24 * 3_600_000;

export interface OpenaiRuntimeOptions {
  config(): OpenaiConfig;
  /** The directory of all workspaces: one command sees its own alone. */
  workspaceRoot(): string;
  /** Secrets first, then the environment. */
  lookup(name: string): string | undefined;
  /** A value that is to be shown nowhere. */
  hide(value: string): void;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir: string;
}

/** The agent that is built in: it needs nothing but a provider of models. */
export function createOpenaiRuntime(options: OpenaiRuntimeOptions): AgentRuntime {
  const known: Known = { chatOnly: new Set(), unsealed: new Set() };
  let probe: Promise<void> | null = null;
  let forgetting: Promise<void> | null = null;
  const sandboxWorks = () => {
    // One that failed is tried again: somebody may have installed what was missing.
    probe ??= probeSandbox(options.env).catch((error: unknown) => {
      probe = null;
      throw error;
    });
    return probe;
  };
  const check = async (level: SessionSpec["level"]) => {
    const config = options.config();
    baseUrlOf(config);
    keyOf(config, options.lookup);
    if (level !== "danger") await sandboxWorks();
  };
  return {
    kind: "openai",
    check,
    async start(spec, signal) {
      signal.throwIfAborted();
      await check(spec.level);
      signal.throwIfAborted();
      const session = await openSession(options, spec, known);
      forgetting ??= forgetThreads(threadsDir(options), options.clock.wall() - threadsKeptMs);
      await forgetting.catch(() => {});
      signal.addEventListener("abort", () => void session[Symbol.asyncDispose](), { once: true });
      return session;
    },
  };
}

function threadsDir({ dataDir }: OpenaiRuntimeOptions): string {
  return join(dataDir, "threads");
}

async function openSession(
  options: OpenaiRuntimeOptions,
  spec: SessionSpec,
  known: Known,
): Promise<AgentSession> {
  const dir = threadsDir(options);
  const { resumeThreadId } = spec;
  const kept = resumeThreadId === null ? null : await Thread.open(dir, resumeThreadId);
  const thread = kept ?? (await Thread.create(dir));
  const { config, lookup, hide, clock } = options;
  const session = new OpenaiSession({
    ...{ spec, thread, config, lookup, hide, clock, known },
    resumed: kept !== null,
    box: await boxOf(options, spec),
  });
  if (resumeThreadId !== null && !kept) {
    session.notice("the thread cannot be gone on with: a new one is begun");
  }
  session.emit({ type: "session.started", threadId: thread.id, resumed: kept !== null });
  session.notice(notices[spec.level]);
  spec.onLog(notices[spec.level]);
  return session;
}

const notices: Readonly<Record<SessionSpec["level"], string>> = {
  safe: "level safe: commands run in a sandbox without network",
  networked: "level networked: commands run in a sandbox with network",
  danger: "level danger: commands run without a sandbox, as the user the server runs as",
};

async function boxOf(
  options: OpenaiRuntimeOptions,
  spec: SessionSpec,
): Promise<SessionOptions["box"]> {
  const { dataDir, env } = options;
  const config = options.config();
  const keyName = keyNameOf(config);
  const secretNames = [...spec.secretEnvNames, ...(keyName === null ? [] : [keyName])];
  const passthrough = config.envPassthrough;
  const inherited = agentEnvironment({ env, passthrough, secretNames, runId: spec.runId });
  // Codex's own, and a directory that is not there inside.
  const { CODEX_HOME: _, TMPDIR: __, ...plain } = inherited;
  const homes = [env["HOME"] ?? "/root", userInfo().homedir];
  const hidden = [
    ...new Set(await Promise.all([...homes, dataDir, options.workspaceRoot()].map(real))),
  ];
  const home = env["HOME"] ?? "/root";
  const named = config.readablePaths.map((path) => path.replace(/^~(?=\/)/, home));
  const left = named.filter((path) => !isAbsolute(path) || resolve(path) === "/");
  if (left.length > 0) spec.onLog(`openai.readable_paths: not a directory to show: ${left}`);
  const written = [...programDirs(env["PATH"] ?? ""), ...named];
  const readable = await shownOf(written.filter((path) => !left.includes(path)));
  const mayShow = ({ from }: Shown) => !within(from, spec.workspace) && !hidden.includes(from);
  return { hidden, readable: readable.filter(mayShow), env: plain };
}

/** Each directory where it is, and where a link says it is. */
async function shownOf(paths: readonly string[]): Promise<readonly Shown[]> {
  const shown = paths.map(async (path) => {
    const [from, to] = [await real(path), resolve(path)];
    return from === to
      ? [{ from, to }]
      : [
          { from, to: from },
          { from, to },
        ];
  });
  return (await Promise.all(shown)).flat();
}

/** Where a path leads; one that is not there stays as it is. */
function real(path: string): Promise<string> {
  return realpath(path).catch(() => resolve(path));
}
