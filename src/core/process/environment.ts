import { shellQuoted } from "../text/text.ts";

/** The variable by which every process of a run is found again. Its value names the data directory and the attempt. */
export const runCookie = "SYMPHONY_RUN_ID";

/** The variable by which a shared agent's own processes and all its commands are found again. */
export const daemonMark = "SYMPHONY_AGENT_DAEMON";

/**
 * What an agent's process may inherit. No key is among them: codex reads its login from CODEX_HOME and
 * ignores OPENAI_API_KEY and CODEX_API_KEY; a provider of one's own with `env_key` names its variable in
 * `codex.env_passthrough`.
 */
export const allowedNames: readonly string[] = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
  "LANG",
  "TERM",
  "TZ",
  "TMPDIR",
  "CODEX_HOME",
];

const allowed: ReadonlySet<string> = new Set(allowedNames);

const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/;
const ownPrefix = "SYMPHONY_";

export interface EnvironmentOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly passthrough: readonly string[];
  /** These never pass, whatever else names them. */
  readonly secretNames: readonly string[];
  readonly runId: string;
}

/** The environment of an agent's process: the allow-list, what the operator added, the run cookie. */
export function agentEnvironment(options: EnvironmentOptions): Record<string, string> {
  const secret = new Set(options.secretNames);
  const added = new Set(options.passthrough);
  const passes = (name: string) =>
    !secret.has(name) &&
    !name.startsWith(ownPrefix) &&
    (allowed.has(name) || name.startsWith("LC_") || added.has(name));
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.env)) {
    if (value !== undefined && passes(name)) result[name] = value;
  }
  return { ...result, [runCookie]: options.runId };
}

interface Kept {
  /** Left out: what a login profile exports stays. */
  readonly passthrough?: readonly string[];
  /** Variables of symphony's own that are meant for the program. */
  readonly told?: readonly string[];
  /** Set for the program, whatever a login profile exports; one that `passthrough` names keeps the operator's value. */
  readonly set?: Readonly<Record<string, string>>;
}

/**
 * The line for `bash -lc`. A login profile may have exported again what the environment left out, so
 * secrets and symphony's own variables, save those of `told`, are unset before `command` runs. With `passthrough`
 * everything goes that is neither in the allow-list nor named there. `set` comes after that.
 */
export function launchLine(
  command: string,
  secretNames: readonly string[],
  { passthrough, told = [], set = {} }: Kept = {},
): string {
  const names = secretNames.filter((name) => variableName.test(name));
  const secrets = names.length > 0 ? [`unset ${names.join(" ")}`] : [];
  const rest = passthrough === undefined ? [] : [unsetAllBut([...allowedNames, ...passthrough])];
  const own = `for name in \${!${ownPrefix}@}; do case "$name" in ${[runCookie, ...told].join("|")}) ;; *) unset "$name" ;; esac; done; unset name`;
  const exported = Object.entries(set).map(([name, value]) => {
    const line = `export ${name}=${shellQuoted(value)}`;
    return passthrough?.includes(name) ? `[ -n "\${${name}+set}" ] || ${line}` : line;
  });
  return [...secrets, ...rest, own, ...exported, command].join("\n");
}

/** What a login profile exported beyond `names`; the shell's own variables stay. */
function unsetAllBut(names: readonly string[]): string {
  const kept = [...names, "LC_*", `${ownPrefix}*`, "PWD", "OLDPWD", "SHLVL", "_"];
  const patterns = kept.filter((name) => /^[A-Za-z_][A-Za-z0-9_]*\*?$/.test(name)).join("|");
  return `for name in $(compgen -e); do case $name in ${patterns}) ;; *) unset "$name" ;; esac; done`;
}

/** Credentials as tools keep them in the user's home: not for an agent to read. */
export const keptSecrets: readonly string[] = [
  ".ssh",
  ".aws",
  ".azure",
  ".gnupg",
  ".kube",
  ".docker",
  ".netrc",
  ".npmrc",
  ".pypirc",
  ".git-credentials",
  ".config/git/credentials",
  ".config/gh",
  ".config/gcloud",
  ".cargo/credentials.toml",
  ".claude/.credentials.json",
  ".claude.json",
];
