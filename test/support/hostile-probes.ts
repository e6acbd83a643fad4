/** What a hostile issue would like to have, as seen from outside of the sandbox. */
export interface Prey {
  readonly dataDir: string;
  readonly home: string;
  readonly otherWorkspace: string;
  /** A directory nobody gave the agent. */
  readonly outside: string;
  readonly apiUrl: string;
  /** A value in the server's environment. */
  readonly canary: string;
}

export interface Probe {
  readonly name: string;
  /** Prints BREACH where it succeeds. */
  readonly command: string;
}

export const breach = "BREACH";

/** Twelve ways out of a workspace. A repository with `.git` is expected in it. */
export function probes(prey: Prey): readonly Probe[] {
  const host = new URL(prey.apiUrl).host.replace(":", "/");
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
  };
  return Object.entries(all).map(([name, command]) => ({ name, command }));
}
