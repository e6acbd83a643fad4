import { stat } from "node:fs/promises";
import { homedir } from "node:os";
import type { Clock } from "../clock.ts";
import type { AgentConfig } from "../config/agents.ts";
import { type Problem, problemsOf } from "../config/finding.ts";
import { SymphonyError } from "../model/errors.ts";
import { agentEnvironment } from "../process/environment.ts";
import { findProgram } from "../process/find-program.ts";
import { type Environment, loginEnvironment } from "../process/login.ts";
import { type CommandEnd, runCommand } from "../process/run.ts";
import { oneLine } from "../text/text.ts";
import type { AgentRuntime } from "./agent.ts";
import { agentsOf } from "./guard/program.ts";
import { missingProgram, programsOf } from "./program-of.ts";

const limitMs = 10_000;
const outputBytes = 4_000;
const saidChars = 300;
const maxKnown = 100;

/** Programs that answered, by their path and the time of their file: they are not started again until it changes. */
const answered = new Set<string>();

interface Started {
  /** The dotted key of the line. */
  readonly key: string;
  readonly line: string;
}

interface StartDeps {
  readonly env: Environment;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

interface StartFault {
  readonly program: string;
  readonly message: string;
  /** It may be the machine that is busy: not a reason to start nothing. */
  readonly isSlow: boolean;
}

/**
 * Why the agent of a line does not even say its version, with what it wrote; null: it does, or it is not one that is known to
 * answer `--version` and do nothing else.
 */
async function startFault(
  { key, line }: Started,
  { env, clock, signal }: StartDeps,
): Promise<StartFault | null> {
  const program = programsOf(line, env["HOME"]).find((one) => agentsOf([one]).size > 0);
  if (program === undefined) return null;
  const login = await loginEnvironment(env);
  const path = await findProgram(program, login["PATH"] ?? "");
  const stats = path === null ? null : await stat(path).catch(() => null);
  if (path === null || stats === null) return null;
  const known = `${path} ${stats.mtimeMs} ${stats.size}`;
  if (answered.has(known)) return null;
  const end = await runCommand({
    argv: [path, "--version"],
    // Not a project, whose settings could change what is started.
    cwd: env["HOME"] || homedir(),
    env: agentEnvironment({
      ...{ env: login, passthrough: [], secretNames: [], runId: "symphony-check" },
    }),
    name: "version",
    outputBytes,
    timeoutMs: limitMs,
    ...{ clock, ...(signal && { signal }) },
  });
  if (end.exitCode === 0) {
    if (answered.size >= maxKnown) answered.clear();
    answered.add(known);
    return null;
  }
  if (end.stoppedFor === "interrupt") return null;
  const said = oneLine(end.output.trim(), saidChars);
  const what = `${key} starts ${path}, which ${howItEnded(end)} when it is asked for its version`;
  const isSlow = end.stoppedFor === "time";
  return { program, message: said === "" ? what : `${what}: ${said}`, isSlow };
}

function howItEnded({ exitCode, signal, stoppedFor }: CommandEnd): string {
  if (stoppedFor !== null) return `does not end in ${limitMs / 1_000} s`;
  if (exitCode !== null) return `fails with exit code ${exitCode}`;
  return signal === null ? "cannot be started" : `is ended by ${signal}`;
}

/** An agent as its start is checked. */
interface Checked extends Started, Pick<AgentConfig, "level" | "network"> {
  readonly kind: string;
  /** The dotted key of its settings. */
  readonly settingsKey: string;
  runtime(): Promise<AgentRuntime>;
}

/** Why the agent cannot be started on this machine; empty: nothing is in the way. */
export async function startProblems(
  { key, settingsKey, line, kind, level, network, runtime }: Checked,
  deps: StartDeps,
): Promise<readonly Problem[]> {
  const missing = await missingProgram({ key, line, kind }, deps.env);
  if (missing !== null) {
    const { code, message, hint: next } = missing;
    return [{ path: key, code, message, next }];
  }
  const fault = await startFault({ key, line }, deps);
  const program: Problem[] = [];
  if (fault !== null) {
    const { message, isSlow } = fault;
    const next = `run ${fault.program} --version, and install it anew if that fails`;
    const one = { path: key, code: "agent_unavailable", message, next } as const;
    if (!isSlow) return [one];
    program.push({ ...one, severity: "warning" });
  }
  try {
    await (await runtime()).check?.(level, network);
    return program;
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    return problemsOf(error).map((one) => ({ ...one, path: one.path || settingsKey }));
  }
}
