import { CommandSeries, runCommand } from "./run.ts";

export interface SyntaxFault {
  /** Within the script, 1-based. */
  readonly line: number;
  /** The shell's own words, in one line. */
  readonly message: string;
}

const timeoutMs = 5_000;
const maxOutputBytes = 2_000;
const maxKept = 200;
const known = new Map<string, SyntaxFault | null>();
/** A program with plain words, such as `codex app-server`: the grammar of a shell has no fault for it. */
const plain =
  /^(?!(?:if|then|elif|else|fi|case|esac|for|select|while|until|do|done|in|function|time|coproc)(?: |$))[\w./:@%+,-]+(?: [\w./:@%+,=-]+)*$/;

/**
 * What a shell says about the syntax of a script, which it reads from stdin and does not run; null when it is valid, and where
 * the shell cannot say: a missing shell is not the script's fault.
 */
export async function syntaxFault(
  shell: "sh" | "bash",
  script: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<SyntaxFault | null> {
  if (plain.test(script)) return null;
  const key = `${shell}\0${script}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  // It runs nothing of the script, so no process can leave its group.
  await using series = await CommandSeries.begin("syntax");
  const end = await runCommand({
    series,
    argv: [shell, "-n"],
    cwd: "/",
    env: { PATH: env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C" },
    name: "syntax",
    input: Buffer.from(script.endsWith("\n") ? script : `${script}\n`),
    outputBytes: maxOutputBytes,
    timeoutMs,
  });
  if (end.failure !== null || end.stoppedFor !== null) return null;
  const fault = end.exitCode === 0 ? null : faultIn(end.output);
  // A file is checked again at every change, mostly with the same scripts.
  if (known.size >= maxKept) known.clear();
  known.set(key, fault);
  return fault;
}

/** `bash: line 2: syntax error: …` or `sh: 2: Syntax error: …`. */
function faultIn(output: string): SyntaxFault {
  const [first = ""] = output.trim().split("\n");
  const [, line, message] = /^[^:]*: (?:line )?(\d+): (.*)$/.exec(first) ?? [];
  return { line: Number(line ?? 1), message: (message ?? first).trim() || "it cannot be read" };
}
