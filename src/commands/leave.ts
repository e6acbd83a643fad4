const { existsSync } = process.getBuiltinModule("node:fs");

const shell = "/bin/sh";
const patienceMs = 500;

/**
 * Ends this process at once, after its exit handlers. Node's own exit waits for every look-up of a name that is under way, half
 * a minute where no name server answers: so the process is replaced by one that has nothing but the exit code.
 */
export function leave(code: number): never {
  process.emit("exit", code);
  if (process.execve && existsSync(shell)) process.execve(shell, ["sh", "-c", `exit ${code}`], {});
  process.exit(code);
}

/**
 * For when all is closed: what still keeps the process then, such as a look-up of a name, is not waited for. The exit code is
 * `process.exitCode`, as it is by then.
 */
export function leaveSoon(): void {
  setTimeout(() => leave(Number(process.exitCode ?? 0)), patienceMs).unref();
}
