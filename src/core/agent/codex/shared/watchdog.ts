import { daemonMark } from "../../../process/environment.ts";

export interface Watch {
  /** A shell line that starts the agent. */
  readonly line: string;
  /** A file whose text the server changes while it lives. */
  readonly heartbeat: string;
  /** The value of `SYMPHONY_AGENT_DAEMON` in the agent's processes. */
  readonly mark: string;
  readonly limitMs: number;
}

const checksPerLimit = 20;
const minCheckMs = 100;

/**
 * Arguments for `bash`: starts the agent, and ends its whole tree when the heartbeat has not
 * changed for the limit.
 */
export function watchdogArgs({ line, heartbeat, mark, limitMs }: Watch): string[] {
  const checkMs = Math.max(limitMs / checksPerLimit, minCheckMs);
  const checks = Math.max(Math.ceil(limitMs / checkMs), 2);
  return [
    "-c",
    script,
    "symphony-codex",
    line,
    heartbeat,
    mark,
    String(checkMs / 1_000),
    String(checks),
  ];
}

/**
 * It sleeps between two checks. Silence is counted in checks, so neither a suspended machine nor a
 * changed clock ends anything. When the agent exits, the watchdog ends the agent's remaining
 * processes and exits too.
 */
const script = `
line=$1 heartbeat=$2 mark="${daemonMark}=$3" pause=$4 looks=$5
marked() {
  local file entry
  for file in /proc/[0-9]*/environ; do
    while IFS= read -r -d '' entry; do
      [ "$entry" = "$mark" ] && { file=\${file%/environ}; echo "\${file#/proc/}"; break; }
    done 2>/dev/null <"$file"
  done 2>/dev/null
}
signal() {
  local pids
  pids=$(marked)
  [ -n "$pids" ] && kill "-$1" $pids 2>/dev/null
}
bash -c "$line" &
agent=$!
silent=0 seen=
while [ "$silent" -lt "$looks" ]; do
  sleep "$pause" &
  ended=
  wait -n -p ended "$agent" "$!"
  [ "$ended" = "$agent" ] && break
  beat=
  read -r beat 2>/dev/null <"$heartbeat"
  if [ "$beat" = "$seen" ]; then silent=$((silent + 1)); else silent=0 seen=$beat; fi
done
kill "$!" 2>/dev/null
signal TERM && sleep 2
while signal KILL; do sleep 0.1; done
`;
