import { daemonMark } from "../../../process/environment.ts";

export interface Watch {
  /** A shell line that starts the agent. */
  readonly line: string;
  /** A file whose text the living server keeps changing. */
  readonly heartbeat: string;
  /** What the agent's processes carry as `SYMPHONY_AGENT_DAEMON`. */
  readonly mark: string;
  readonly limitMs: number;
}

const checksPerLimit = 20;
const minCheckMs = 100;

/** Arguments for `bash`: starts the agent, and ends its whole tree when no server was heard for the limit. */
export function watchdogArgs({ line, heartbeat, mark, limitMs }: Watch): string[] {
  const lookMs = Math.max(limitMs / checksPerLimit, minCheckMs);
  const looks = Math.max(Math.ceil(limitMs / lookMs), 2);
  return [
    "-c",
    script,
    "symphony-codex",
    line,
    heartbeat,
    mark,
    String(lookMs / 1_000),
    String(looks),
  ];
}

/**
 * Between two looks it sleeps; silence is counted in looks, so neither a suspended machine nor a changed clock
 * ends anything. When the agent is gone, so is it, and what was left of the agent.
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
bash -lc "$line" &
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
