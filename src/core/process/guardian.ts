import { type ChildProcess, spawn } from "node:child_process";
import { runCookie } from "./environment.ts";

/**
 * A small process next to a worker that ends all agents of it when the worker ends, or hangs past its lease: a worker that is
 * stopped (SIGSTOP) or busy cannot end them itself. Its time is that of the kernel's timers, whatever the clock is set to.
 */
export class Guardian {
  readonly #child: ChildProcess;

  /** `family`: the first part of the cookies of every agent of the worker. */
  constructor(family: string) {
    this.#child = spawn("bash", ["-c", script, "symphony-guardian", `${runCookie}=${family}/`], {
      // It has to survive what ends the worker's own group.
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      env: { PATH: process.env["PATH"] ?? "" },
    });
    this.#child.stdin?.on("error", () => {});
    this.#child.on("error", () => {});
    this.#child.unref();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isAlive(): boolean {
    return (
      this.#child.pid !== undefined &&
      this.#child.exitCode === null &&
      this.#child.signalCode === null
    );
  }

  /** Agents may run for this time from now on. */
  extend(ms: number): void {
    this.#child.stdin?.write(`${Math.max(Math.ceil(ms), 1)}\n`);
  }

  /** No agent is left: nothing is ended until the next `extend`. */
  rest(): void {
    this.#child.stdin?.write("rest\n");
  }

  /** The worker has ended its agents itself. */
  dismiss(): void {
    this.#child.stdin?.end("bye\n");
  }
}

/** Repeats until two looks in a row find nothing: a process may fork during one. */
const script = `
mark=$1 limit=
end() {
  local file entry clean=0 found
  while [ "$clean" -lt 2 ]; do
    found=
    for file in /proc/[0-9]*/environ; do
      while IFS= read -r -d '' entry; do
        case $entry in "$mark"*) file=\${file%/environ}; kill -9 "\${file#/proc/}" 2>/dev/null && found=1; break ;; esac
      done 2>/dev/null <"$file"
    done 2>/dev/null
    if [ -n "$found" ]; then clean=0; else clean=$((clean + 1)); fi
  done
}
while :; do
  line=
  if [ -n "$limit" ]; then
    IFS= read -r -t "$limit" line; status=$?
  else
    IFS= read -r line; status=$?
  fi
  case $line in
    bye) exit 0 ;;
    rest) limit=; continue ;;
    '') ;;
    *) printf -v limit '%d.%03d' $((line / 1000)) $((line % 1000)); continue ;;
  esac
  end
  [ "$status" -gt 128 ] || exit 0
  limit=
done
`;
