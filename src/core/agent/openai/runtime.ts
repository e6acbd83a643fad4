import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { agentEnvironment } from "../../process/environment.ts";
import { probeSandbox } from "../../process/sandbox.ts";
import { type AgentRuntime, type AgentSession, closeOnAbort, type SessionSpec } from "../agent.ts";
import { confinementOf } from "../confinement.ts";
import { noticeEvent } from "../event-makers.ts";
import { readableCredentials } from "../readable.ts";
import { sweptDaily, type ThreadRecords } from "../records.ts";
import { environmentOf } from "../stored-values.ts";
import { openWayOut, proxiesShared, requireWayOut } from "../way-out.ts";
import { addressOf, keyNameOf, keyOf } from "./client.ts";
import { type Learned, learnedIn } from "./learned.ts";
import { OpenaiSession, type SessionOptions } from "./session.ts";
import type { OpenaiConfig } from "./settings.ts";
import { forgetThreads, Thread } from "./thread.ts";

const threadsKeptMs = 30 * 24 * 3_600_000;

export interface OpenaiRuntimeOptions {
  config(): OpenaiConfig;
  /** The directory of all workspaces: a command sees only its own. */
  workspaceRoot(): string;
  /** Secrets first, then the environment. */
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir: string;
}

/** The built-in agent: it only needs a provider of models. */
export function createOpenaiRuntime(options: OpenaiRuntimeOptions): AgentRuntime {
  const learned = learnedIn(options.dataDir, options.clock);
  let forgetting: Promise<void> | null = null;
  const check = async (level: SessionSpec["level"], network: SessionSpec["network"]) => {
    const config = options.config();
    addressOf(config);
    keyOf(config, options.lookup);
    if (level !== "danger") await probeSandbox(level, options.env);
    await requireWayOut({ spec: { level, network }, provider: null, env: options.env });
  };
  return {
    kind: "openai",
    check,
    async readable(level) {
      const workspace = join(options.workspaceRoot(), "none");
      const spec = { workspace, level, secretEnvNames: [], onLog() {} };
      return readableCredentials(await viewOf(options, spec));
    },
    // A command that a person approves runs outside of the sandbox.
    writesGit: (approvals) => approvals === "ask",
    async start(spec, signal) {
      signal.throwIfAborted();
      await check(spec.level, spec.network);
      signal.throwIfAborted();
      const session = await openSession(options, spec, learned);
      forgetting ??= forgetThreads(threadsDir(options), options.clock.wall() - threadsKeptMs);
      closeOnAbort(session, signal);
      await forgetting.catch(() => {});
      return session;
    },
  };
}

function threadsDir({ dataDir }: Pick<OpenaiRuntimeOptions, "dataDir">): string {
  return join(dataDir, "threads");
}

export async function threadRecords(
  options: Pick<OpenaiRuntimeOptions, "dataDir" | "clock">,
): Promise<ThreadRecords> {
  const root = threadsDir(options);
  await mkdir(root, { recursive: true, mode: 0o700 });
  const wall = options.clock.wall();
  await sweptDaily(root, wall, () => forgetThreads(root, wall - threadsKeptMs));
  return { root, directoryFor: (directory) => (directory === "" ? "" : null) };
}

async function openSession(
  options: OpenaiRuntimeOptions,
  spec: SessionSpec,
  learned: Learned,
): Promise<AgentSession> {
  const dir = threadsDir(options);
  const { resumeThreadId } = spec;
  const kept = resumeThreadId === null ? null : await Thread.open(dir, resumeThreadId);
  const thread = kept ?? (await Thread.create(dir));
  const { config, lookup, hide, clock } = options;
  const session = new OpenaiSession({
    ...{ spec, thread, config, lookup, hide, clock, learned },
    resumed: kept !== null,
    box: await boxOf(options, spec),
  });
  if (resumeThreadId !== null && !kept) {
    session.notice("the thread could not be resumed; a new one was started");
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
  const { env } = options;
  const {
    env: own,
    passthrough: named,
    secretNames,
    sandbox,
    confinement,
  } = await viewOf(options, spec);
  const passthrough = [...named, ...proxiesShared({ spec, provider: null, env })];
  const inherited = agentEnvironment({ env: own, passthrough, secretNames, runId: spec.runId });
  // Without codex's own variable, and without a directory that does not exist inside the sandbox.
  const { CODEX_HOME: _, TMPDIR: __, ...plain } = inherited;
  for (const notice of await readableCredentials({ passthrough: named, env: own, confinement })) {
    spec.onEvent(noticeEvent(notice));
  }
  const way = await openWayOut({ spec, provider: null, confinement: sandbox, passthrough, env });
  const commandEnv = { ...plain, ...way.proxies };
  return { confinement: way.confinement ?? sandbox, env: commandEnv, way };
}

/** What commands see of this machine and of the operator's variables. */
async function viewOf(
  options: OpenaiRuntimeOptions,
  spec: Pick<SessionSpec, "workspace" | "level" | "secretEnvNames" | "onLog">,
) {
  const config = options.config();
  const keyName = keyNameOf(config);
  const secretNames = [...spec.secretEnvNames, ...(keyName === null ? [] : [keyName])];
  const own = await environmentOf(config, options);
  const sandbox = await confinementOf({
    spec,
    lines: [],
    readable: { key: "openai.readable_paths", paths: config.readablePaths },
    writable: null,
    env: options.env,
    path: own["PATH"] ?? "",
    dataDir: options.dataDir,
    workspaceRoot: options.workspaceRoot(),
  });
  const passthrough = config.envPassthrough.filter((name) => !secretNames.includes(name));
  const confinement = spec.level === "danger" ? null : sandbox;
  return { env: own, passthrough, secretNames, sandbox, confinement };
}
