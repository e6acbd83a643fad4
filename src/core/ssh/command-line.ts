import { randomBytes } from "node:crypto";
import { SymphonyError } from "../model/errors.ts";
import { agentEnvironment } from "../process/environment.ts";
import { findProgram } from "../process/find-program.ts";
import { loginEnvironment } from "../process/login.ts";
import { type CommandEnd, runCommand } from "../process/run.ts";
import { displayText, shellQuoted } from "../text/text.ts";

export interface Destination {
  readonly destination: string;
  /** null: that of ssh's own configuration. */
  readonly port: string | null;
}

/** A port is split off a name or an address in brackets; `::1:2200` could be either, and stays whole. */
export function destinationOf(host: string): Destination {
  const found = /^((?:[^@]*@)?(?:[^:@[\]]+|\[[^\]]*\])):(\d{1,5})$/.exec(host);
  if (found === null) return { destination: host, port: null };
  return { destination: found[1] ?? host, port: found[2] ?? null };
}

/**
 * No terminal, no question, no connection that is shared with or forwarded to anything else, whatever the user's own
 * configuration of ssh says: the socket of a master that is gone, or a key in the user's agent, is nothing for an attempt.
 */
const options = [
  ...["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"],
  ...["ControlMaster=no", "ControlPath=none", "ControlPersist=no", "RemoteCommand=none"],
  ...["ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no"],
].flatMap((one) => ["-o", one]);

/** The variable that names ssh's own configuration file. */
export const configVariable = "SYMPHONY_SSH_CONFIG";
/** What ssh may use of this machine's environment, next to what an agent may. */
export const sshVariables: readonly string[] = ["SSH_AUTH_SOCK", "KRB5CCNAME"];

/** The command line by which `script` runs in a login bash on the host (requirement Z-5). */
export function sshArgv(host: string, script: string, env: NodeJS.ProcessEnv): readonly string[] {
  const { destination, port } = destinationOf(host);
  const config = env[configVariable];
  return [
    "ssh",
    ...(config ? ["-F", config] : []),
    ...options,
    "-T",
    ...(port === null ? [] : ["-p", port]),
    destination,
    `bash -lc ${quoted(script)}`,
  ];
}

/** Always in quotes: a shell of any kind gets one word. In the quotes of fish a backslash is not always itself. */
export function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, (one) => `'\\${one}'`)}'`;
}

/** The first line of a script: a profile may have set something else. */
export const plainShell = "set +eu; unset IFS";

/** A shell line for this machine that starts the program of an agent on the host. */
export function sshLine(host: string, script: string, env: NodeJS.ProcessEnv): string {
  return sshArgv(host, script, env).map(shellQuoted).join(" ");
}

/** Rejects with `ssh_not_found`. */
async function sshEnvironment(env: NodeJS.ProcessEnv): Promise<Record<string, string>> {
  const login = await loginEnvironment(env);
  if ((await findProgram("ssh", login["PATH"] ?? "")) === null) {
    const message = "worker.ssh_hosts needs the program ssh, and no directory of PATH has it";
    throw new SymphonyError("ssh_not_found", message, { hint: "install the client of OpenSSH" });
  }
  const passthrough = sshVariables;
  return agentEnvironment({ env: login, passthrough, secretNames: [], runId: "ssh" });
}

export interface Call {
  /** Its `say` answers with words. */
  readonly script: string;
  /** `$1`, `$2`, …: never text of an issue. */
  readonly args: readonly string[];
  /** Bytes for its stdin. */
  readonly input?: Buffer;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** What it rejects with when it takes too long; by default the host is lost. */
  readonly late?: SymphonyError;
  /** The most that comes back after the words. */
  readonly maxBytes?: number;
}

export interface Reply {
  readonly words: readonly string[];
  /** What the script wrote after its words. */
  readonly data: Buffer;
}

const noiseBytes = 256 * 1024;

/**
 * Runs a script on the host and reads its answer, whatever the host's profile writes around it. Rejects with
 * `ssh_not_found`, or with `worker_lost` when the host cannot be reached or does not answer in time, or
 * `workspace_prepare_failed` when the script ended without its answer.
 */
export async function callHost(host: string, call: Call, env: NodeJS.ProcessEnv): Promise<Reply> {
  const mark = `symphony-${randomBytes(9).toString("hex")}:`;
  const script = [
    plainShell,
    `set -- ${call.args.map(quoted).join(" ")}`,
    `say() { printf "\\n%s%s" ${mark} "$#"; printf "\\t%s" "$@"; printf "\\n"; }`,
    call.script,
  ].join("\n");
  const end = await runCommand({
    argv: sshArgv(host, script, env),
    cwd: "/",
    env: await sshEnvironment(env),
    name: "ssh",
    timeoutMs: call.timeoutMs,
    ...(call.signal && { signal: call.signal }),
    ...(call.input && { input: call.input }),
    outputBytes: noiseBytes + (call.maxBytes ?? 0),
    overflow: "end",
    keep: "beginning",
    errorBytes: 8_192,
    encoding: "latin1",
  });
  const start = end.output.indexOf(`\n${mark}`);
  const stop = end.output.indexOf("\n", start + 1);
  if (start !== -1 && stop !== -1 && end.stoppedFor === null) {
    const line = Buffer.from(end.output.slice(start + 1 + mark.length, stop), "latin1").toString();
    const [, ...words] = line.split("\t");
    return { words, data: Buffer.from(end.output.slice(stop + 1), "latin1") };
  }
  if (end.stoppedFor === "time" && call.late) throw call.late;
  throw fault(host, end, call.timeoutMs);
}

function fault(host: string, end: CommandEnd, timeoutMs: number): SymphonyError {
  const { stoppedFor, exitCode, errors } = end;
  if (stoppedFor === "time") return lost(host, `it did not answer within ${timeoutMs / 1_000} s`);
  if (stoppedFor === "output") return lost(host, "it wrote more than can be read");
  if (stoppedFor !== null) return lost(host, "the call was stopped");
  const said = displayText(errors.trim(), 500).replaceAll(/\s*\n\s*/g, "; ");
  const known = sshFault(host, { status: exitCode, errors });
  if (known !== null) return known;
  const how = `its shell ended with status ${exitCode ?? "unknown"} and without an answer`;
  const message = `${host}: ${how}${said === "" ? "" : `: ${said}`}`;
  return new SymphonyError("workspace_prepare_failed", message, {
    hint: `ssh ${host} bash -lc true`,
  });
}

/** What ssh itself failed with; null: the program on the host did. */
export function sshFault(
  host: string,
  { status, errors }: { readonly status: number | null; readonly errors: string },
): SymphonyError | null {
  const said = displayText(errors.trim().split("\n").at(-1) ?? "", 300);
  if (/Host key verification failed|host key is known/i.test(errors)) {
    const what = /HAS CHANGED/.test(errors) ? "is another one than before" : "is not known here";
    return lost(host, `its host key ${what}`, `compare its fingerprint: ssh ${host}`);
  }
  if (/Permission denied \(/.test(errors)) return lost(host, `it refuses the login: ${said}`);
  if (status === 127 && /bash/.test(errors)) return lost(host, "it has no bash");
  return status === 255 ? lost(host, said === "" ? "ssh failed" : said) : null;
}

export function lost(host: string, why: string, hint = "symphony workers list"): SymphonyError {
  return new SymphonyError("worker_lost", `${host}: ${why}`, { hint });
}
