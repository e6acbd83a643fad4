import { runCookie } from "../agent/environment.ts";
import type { GitAddress } from "../config/git-address.ts";

/** What git, ssh and curl may need of the server's environment to reach a remote. */
const inherited: readonly string[] = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "TMPDIR",
  "SSH_AUTH_SOCK",
  "HTTPS_PROXY",
  "https_proxy",
  "HTTP_PROXY",
  "http_proxy",
  "ALL_PROXY",
  "all_proxy",
  "NO_PROXY",
  "no_proxy",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "GIT_SSL_CAINFO",
];

/** No program of anybody's runs: no hook, no monitor, no upkeep in the background, nothing in submodules. */
const settings: readonly (readonly [string, string])[] = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.attributesFile", "/dev/null"],
  ["core.protectNTFS", "true"],
  ["core.protectHFS", "true"],
  ["submodule.recurse", "false"],
  ["fetch.recurseSubmodules", "false"],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["advice.detachedHead", "false"],
];

/** Answers git's question for a password out of the environment of that one call. */
const helper =
  '!f() { test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "$SYMPHONY_GIT_USER" "$SYMPHONY_GIT_PASSWORD"; }; f';

/**
 * The environment of git while symphony clones: nobody's configuration, one transport, no questions. `password` goes to the
 * site of the address alone, and is in no argument and no file.
 */
export function cloneEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { protocol, login }: GitAddress,
  { password, runId }: { readonly password: string | null; readonly runId: string },
): Record<string, string> {
  const kept = inherited.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const withLogin = login !== null && password !== null;
  const all = withLogin
    ? [...settings, [`credential.${login.site}.helper`, helper] as const]
    : settings;
  return {
    ...Object.fromEntries(kept),
    ...(withLogin && { SYMPHONY_GIT_USER: login.user, SYMPHONY_GIT_PASSWORD: password }),
    ...Object.fromEntries(
      all.flatMap(([key, value], at) => [
        [`GIT_CONFIG_KEY_${at}`, key],
        [`GIT_CONFIG_VALUE_${at}`, value],
      ]),
    ),
    GIT_CONFIG_COUNT: String(all.length),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_NO_LAZY_FETCH: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    SSH_ASKPASS: "",
    GIT_SSH_COMMAND: "ssh -o BatchMode=yes",
    GIT_ALLOW_PROTOCOL: protocol,
    LC_ALL: "C",
    [runCookie]: runId,
  };
}
