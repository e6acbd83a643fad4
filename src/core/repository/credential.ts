import type { GitAddress } from "../config/git.ts";
import { runCookie } from "../process/environment.ts";
import { gitEnvironment } from "./git.ts";

/** Variables of the server's environment that ssh and curl may need to reach a remote. */
const inherited: readonly string[] = [
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

/** The file that notes that the credential was refused; without the variable nothing does. */
export const refusedVariable = "SYMPHONY_GIT_REFUSED";

/**
 * Answers git's password prompt from the environment of this call. Git LFS asks again after each refusal, thousands of
 * times a minute, so it gets no second answer.
 */
const helper =
  '!f() { case "$1" in erase) test -z "$SYMPHONY_GIT_REFUSED" || : > "$SYMPHONY_GIT_REFUSED";; get) test -e "$SYMPHONY_GIT_REFUSED" || printf \'username=%s\\npassword=%s\\n\' "$SYMPHONY_GIT_USER" "$SYMPHONY_GIT_PASSWORD";; esac; }; f';

/**
 * A site sends the old name of a renamed repository to the new one. git itself follows the first request only, and forgets
 * that for a private repository, whose first answer is 401. The credential stays at the site.
 */
const redirects = ["http.followRedirects", "true"] as const;

const thisMachine = ["localhost", "127.0.0.1", "::1"];

/** curl reads `http_proxy` in lower case only, and would ask this machine through the proxy too. */
function proxyNames(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const of = (name: string) => env[name] || env[name.toUpperCase()] || "";
  const proxies = ["https_proxy", "http_proxy", "all_proxy"].filter((name) => of(name) !== "");
  if (proxies.length === 0) return {};
  const direct = [of("no_proxy"), ...thisMachine].filter((entry) => entry !== "").join(",");
  const lower = Object.fromEntries(proxies.map((name) => [name, of(name)]));
  return { ...lower, no_proxy: direct, NO_PROXY: direct };
}

/** What a remote asks for over http. */
export interface Credential {
  readonly user: string;
  readonly password: string;
}

/** Whether a value can be a password: a line break would let it add further fields to the answer. */
export function isPassword(value: string): boolean {
  return value !== "" && !/\p{Cc}/u.test(value);
}

/**
 * The environment of git for a remote: that of every call, and what is needed to reach the remote.
 * The credential is sent only to the site of the address, and is in no argument and no file.
 */
export function remoteEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { protocol, address }: GitAddress,
  { credential, runId }: { readonly credential: Credential | null; readonly runId: string },
): Record<string, string> {
  const kept = inherited.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const reach = { path: env["PATH"], home: env["HOME"], protocol };
  const own = { ...Object.fromEntries(kept), ...proxyNames(env), [runCookie]: runId };
  const isHttp = protocol === "https" || protocol === "http";
  if (!isHttp) return { ...gitEnvironment(reach), ...own };
  if (credential === null)
    return { ...gitEnvironment({ ...reach, settings: [redirects] }), ...own };
  const { protocol: scheme, host } = new URL(address);
  const forSite = [`credential.${scheme}//${host}.helper`, helper] as const;
  return {
    ...gitEnvironment({ ...reach, settings: [forSite, redirects] }),
    ...own,
    SYMPHONY_GIT_USER: credential.user,
    SYMPHONY_GIT_PASSWORD: credential.password,
  };
}
