import { shellQuoted } from "../text/text.ts";

/**
 * The variable that marks every process of a run. Its value names the data directory and the
 * attempt.
 */
export const runCookie = "SYMPHONY_RUN_ID";

/** The variable that marks a shared agent's own processes and all its commands. */
export const daemonMark = "SYMPHONY_AGENT_DAEMON";

/**
 * What an agent's process may inherit. It contains no key: codex reads its login from CODEX_HOME
 * and ignores OPENAI_API_KEY and CODEX_API_KEY; a custom provider with `env_key` names its variable
 * in `codex.env_passthrough`.
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

const proxyNames = /^(?:(?:https?|all|no)_proxy|(?:HTTPS?|ALL|NO)_PROXY)$/;

/**
 * The variables of a proxy that a program which reaches its provider by itself may inherit: those without a password, which
 * the commands of its model could read. One with a password has to be named by the operator.
 */
export function openProxies(env: EnvironmentOptions["env"]): readonly string[] {
  return Object.keys(env).filter((name) => proxyNames.test(name) && !env[name]?.includes("@"));
}

export interface EnvironmentOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly passthrough: readonly string[];
  /** Always removed, even when another list names them. */
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
  /** PATH for the program, whatever a login profile makes of it. */
  readonly path?: string | undefined;
  /** If omitted, everything that a login profile exports is kept. */
  readonly passthrough?: readonly string[];
  /** Symphony's own variables that are meant for the program. */
  readonly ownVariables?: readonly string[];
  /**
   * Set for the program, even when a login profile exports another value; a variable named in
   * `passthrough` keeps the operator's value.
   */
  readonly set?: Readonly<Record<string, string>>;
}

/**
 * The line for a shell. The shell may export again what the environment left out, by BASH_ENV or a login profile. So
 * secrets and symphony's own variables, except those in `told`, are unset before `command` runs.
 * With `passthrough`, every variable is unset that is neither in the allow-list nor named there.
 * `set` is applied after that.
 */
export function launchLine(
  command: string,
  secretNames: readonly string[],
  { path, passthrough, ownVariables = [], set = {} }: Kept = {},
): string {
  const names = secretNames.filter((name) => variableName.test(name));
  const secrets = names.length > 0 ? [`unset ${names.join(" ")}`] : [];
  const rest = passthrough === undefined ? [] : [unsetAllBut([...allowedNames, ...passthrough])];
  const own = `for name in \${!${ownPrefix}@}; do case "$name" in ${[runCookie, ...ownVariables].join("|")}) ;; *) unset "$name" ;; esac; done; unset name`;
  const exported = Object.entries(set).map(([name, value]) => {
    const line = `export ${name}=${shellQuoted(value)}`;
    return passthrough?.includes(name) ? `[ -n "\${${name}+set}" ] || ${line}` : line;
  });
  const search = path === undefined ? [] : [`export PATH=${shellQuoted(path)}`];
  return [...secrets, ...rest, own, ...search, ...exported, command].join("\n");
}

/** Unsets what a login profile exported beyond `names`; keeps the shell's own variables. */
function unsetAllBut(names: readonly string[]): string {
  const kept = [...names, "LC_*", `${ownPrefix}*`, "PWD", "OLDPWD", "SHLVL", "_"];
  const patterns = kept.filter((name) => /^[A-Za-z_][A-Za-z0-9_]*\*?$/.test(name)).join("|");
  return `for name in $(compgen -e); do case $name in ${patterns}) ;; *) unset "$name" ;; esac; done`;
}
