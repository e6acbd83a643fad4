import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { SymphonyError } from "../../../model/errors.ts";
import { agentEnvironment, launchLine } from "../../../process/environment.ts";
import { loginEnvironment } from "../../../process/login.ts";
import { runCommand } from "../../../process/run.ts";
import type { RestartContext } from "../../agent.ts";
import type { CodexConfig } from "../settings.ts";

/** Limit for the path of a Unix socket: its address has space for about this many bytes. */
const maxSocketPathBytes = 100;
const probeLimitMs = 30_000;
const probeBytes = 1_048_576;
/** Stands in for a directory with a name of eight characters. */
const sampleName = "00000000/sock";

interface Problem {
  readonly message: string;
  readonly hint: string;
}

/** The directory of the sockets and records of the shared agents of a data directory. */
export function sharedDir(dataDir: string): string {
  return join(dataDir, "codex-shared");
}

/** True for a path that can be used in a shell line and as a socket address. */
function fitsSocket(path: string): boolean {
  return Buffer.byteLength(path) <= maxSocketPathBytes && !path.includes("'");
}

/**
 * Checks that turns will outlive a restart of this server. Rejects with `invalid_config` and the
 * first reason why they would not.
 */
export async function requireRestartSafe(
  config: CodexConfig,
  context: RestartContext,
): Promise<void> {
  const problem =
    ofSettings(config, context) ??
    (await ofDirectory(context)) ??
    (await ofCommand(config, context)) ??
    (await ofService(context));
  context.signal?.throwIfAborted();
  if (!problem) return;
  throw new SymphonyError("invalid_config", `not restart-safe: ${problem.message}`, {
    hint: problem.hint,
  });
}

function ofSettings(
  codex: CodexConfig,
  { dataDir, platform = process.platform }: RestartContext,
): Problem | null {
  if (platform !== "linux") {
    return { message: `it needs Linux, this is ${platform}`, hint: "serve without --restart-safe" };
  }
  if (codex.process !== "shared") {
    const message = "codex.process is per_issue, so every codex ends with the server";
    return { message, hint: "set codex.process to shared in the workflow file" };
  }
  return ofSocket(dataDir);
}

function ofSocket(dataDir: string): Problem | null {
  const path = join(sharedDir(dataDir), sampleName);
  if (fitsSocket(path)) return null;
  const message = `a socket cannot be at ${path}: more than ${maxSocketPathBytes} bytes, or a quote`;
  return { message, hint: "set --data-dir to a shorter path without quotes" };
}

/** Rejects with `agent_unavailable` where a shared codex of this data directory could have no socket. */
export function requireSocketPlace(dataDir: string): void {
  const problem = ofSocket(dataDir);
  if (problem === null) return;
  const message = `codex.process is shared, and ${problem.message}`;
  throw new SymphonyError("agent_unavailable", message, { hint: problem.hint });
}

async function ofDirectory({ dataDir }: RestartContext): Promise<Problem | null> {
  for (const dir of [dataDir, sharedDir(dataDir)]) {
    const found = await stat(dir).catch(() => null);
    if (!found) continue;
    const foreign = found.uid !== process.getuid?.();
    if (!foreign && (dir === dataDir || (found.mode & 0o077) === 0)) continue;
    const message = `${dir} is open to other users, who could send messages to the agent in it`;
    return { message, hint: `chown it to yourself, and chmod 700 ${dir}` };
  }
  return null;
}

/** The command has to be codex itself: it is started with `--listen unix://…`. */
async function ofCommand(codex: CodexConfig, context: RestartContext): Promise<Problem | null> {
  const env = agentEnvironment({
    env: await loginEnvironment(context.env),
    passthrough: codex.envPassthrough,
    ...{ secretNames: [], runId: "symphony-check" },
  });
  const line = launchLine(`${codex.command} --help`, [], { path: env["PATH"] });
  const help = await outputOf("bash", ["-c", line], { ...context, env });
  if (/--listen[\s\S]*unix:\/\//.test(help)) return null;
  const message = `codex.command (${codex.command}) does not accept --listen unix://PATH`;
  return { message, hint: "name a codex app-server of 0.169 or later" };
}

/** systemd ends every process of a service with the service, unless it is configured otherwise. */
async function ofService(context: RestartContext): Promise<Problem | null> {
  const { env } = context;
  if (env["SYSTEMD_EXEC_PID"] !== String(process.pid)) return null;
  const cgroup = await readFile("/proc/self/cgroup", "utf8").catch(() => "");
  const unit = /([^/\n]+\.service)\s*$/m.exec(cgroup)?.[1];
  if (!unit) return null;
  const scope = cgroup.includes("/user@") ? ["--user"] : [];
  const args = [...scope, "show", "--property=KillMode", "--value", unit];
  const mode = (await outputOf("systemctl", args, context)).trim();
  if (mode === "process" || mode === "none" || mode === "") return null;
  const message = `KillMode=${mode} of ${unit} ends codex together with the server`;
  return { message, hint: `set KillMode=process in the [Service] section of ${unit}` };
}

async function outputOf(
  command: string,
  args: readonly string[],
  { env, signal }: RestartContext,
): Promise<string> {
  const { output, failure } = await runCommand({
    argv: [command, ...args],
    cwd: process.cwd(),
    env,
    name: "probe",
    timeoutMs: probeLimitMs,
    outputBytes: probeBytes,
    keep: "beginning",
    overflow: "end",
    errorBytes: probeBytes,
    ...(signal && { signal }),
  });
  return failure === null ? output : "";
}
