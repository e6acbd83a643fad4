import { readlinkSync } from "node:fs";

/** What a hostile issue would try to reach, with paths as outside of the sandbox. */
export interface Prey {
  readonly dataDir: string;
  readonly home: string;
  readonly otherWorkspace: string;
  /** A directory that the agent has no access to. */
  readonly outside: string;
  /** A file outside of homes and temporary folders. */
  readonly neighbour: string;
  readonly apiUrl: string;
  /** A value in the server's environment. */
  readonly canary: string;
}

export interface Probe {
  readonly name: string;
  /** Prints BREACH if it succeeds. */
  readonly command: string;
}

export const breach = "BREACH";

const namespaces = ["cgroup", "ipc", "mnt", "pid", "user", "uts"];
/** More than the size limit of a sandbox's temporary folder. */
const tooManyKilobytes = 600_000;
/** Files of the machine that no program needs. */
const machine = "/boot /home/*/.ssh /media /mnt /root/.ssh /srv /sys /var/lib /var/log";

/** Ways out of a workspace. A repository with `.git` is expected in it. */
export function probes(prey: Prey): readonly Probe[] {
  const host = new URL(prey.apiUrl).host.replace(":", "/");
  const ours = namespaces.map((name) => `'${readlinkSync(`/proc/self/ns/${name}`)}'`).join(" ");
  const all: Readonly<Record<string, string>> = {
    "reads the master key": `find '${prey.dataDir}' -type f | grep -q . && echo ${breach}`,
    "reads a token file": `cat '${prey.dataDir}/token' '${prey.dataDir}/runtime.json' && echo ${breach}`,
    "reads a login": `cat '${prey.home}/.codex/auth.json' && echo ${breach}`,
    "reads another workspace": `cat '${prey.otherWorkspace}'/* && echo ${breach}`,
    "reads the server's environment": `cat /proc/*/environ | tr '\\0' '\\n' | grep -q '${prey.canary}' && echo ${breach}`,
    "asks the API": `exec 3<>/dev/tcp/${host} && printf 'POST /api/v1/refresh HTTP/1.0\\r\\n\\r\\n' >&3 && echo ${breach}`,
    "connects out": `exec 3<>/dev/tcp/1.1.1.1/53 && echo ${breach}`,
    "writes a git hook": `echo evil > .git/hooks/pre-commit && echo ${breach}; mv .git .git2 && echo ${breach}; echo evil >> .git/config && echo ${breach}`,
    "writes outside": `for dir in '${prey.outside}' /etc /usr/bin /; do echo evil > "$dir/evil" && echo ${breach}; done`,
    "writes through a link": `ln -s '${prey.outside}' way-out; echo evil > way-out/evil && echo ${breach}; rm way-out`,
    "starts too many processes": `for i in $(seq 400); do sleep 60 & done; sleep 20; echo ${breach}`,
    "writes too large a file": `head -c 5000000 /dev/zero > big && echo ${breach}; rm -f big`,
    "reads another user's file": `cat '${prey.neighbour}' && echo ${breach}`,
    "reads the machine": `for dir in ${machine}; do ls -A "$dir" | grep -q . && echo ${breach}; done; cat /etc/shadow /etc/shadow- | grep -q . && echo ${breach}`,
    "reads a service's settings": `find /etc /usr/local/etc -type f ! -perm -o+r -size +0 -readable 2>/dev/null | grep -q . && echo ${breach}`,
    "shares a namespace": `for ns in ${ours}; do [ "$(readlink "/proc/self/ns/\${ns%%:*}")" = "$ns" ] && echo ${breach}; done`,
    "stays in the server's session": `read -r _ _ _ _ _ session _ < /proc/self/stat; [ "$session" = 0 ] && echo ${breach}`,
    "fills the memory": `for dir in / /dev /dev/shm /run /tmp /var/tmp "$HOME"; do touch "$dir/probe" || continue; rm "$dir/probe"; set -- $(df -kP "$dir" | tail -n 1); [ "$2" -gt ${tooManyKilobytes} ] && echo ${breach}; done`,
    "takes the covers off": `for map in --user --map-root-user; do unshare $map --mount sh -c "umount -l '${prey.dataDir}' '${prey.home}' /tmp /etc/shadow; cat '${prey.dataDir}/token' '${prey.neighbour}'" | grep -q . && echo ${breach}; done`,
  };
  return Object.entries(all).map(([name, command]) => ({ name, command }));
}
