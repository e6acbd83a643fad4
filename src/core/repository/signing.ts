import { oneLine } from "../text/text.ts";
import { GitFailure, gitEnvironment, operatorSettings, type ProtectedGit, runGit } from "./git.ts";

/** The operator's program and key for signatures, as their own git has them. */
export interface Signer {
  readonly settings: readonly (readonly [string, string])[];
  /** What the program needs of the server's environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** A commit that was not signed; the message is the reason, in one line. */
export class SigningFailure extends Error {}

const keys: readonly string[] = [
  "gpg.format",
  "user.signingkey",
  "gpg.program",
  "gpg.openpgp.program",
  "gpg.x509.program",
  "gpg.ssh.program",
  "gpg.ssh.defaultkeycommand",
];
const inherited: readonly string[] = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "XDG_CONFIG_HOME",
  "XDG_RUNTIME_DIR",
  "GNUPGHOME",
  "SSH_AUTH_SOCK",
];
const limitMs = 60_000;
const maxReasonChars = 300;

/** Reads the operator's git for how to sign. No repository has a part in it. */
export async function operatorSigner(
  env: Readonly<Record<string, string | undefined>>,
): Promise<Signer> {
  const own = Object.fromEntries(
    inherited.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const])),
  );
  const output = await operatorSettings("^(gpg|user)\\.", own);
  const found = output.split("\0").flatMap((entry) => {
    const at = entry.indexOf("\n");
    const key = entry.slice(0, Math.max(at, 0));
    return keys.includes(key) ? [[key, entry.slice(at + 1)] as const] : [];
  });
  return { settings: found, env: own };
}

interface Unsigned {
  readonly tree: string;
  readonly parents: readonly string[];
  /** Author and committer, as `whoOf`. */
  readonly who: string;
  readonly message: string;
}

/**
 * Writes a signed commit into symphony's own directory, whose git reads nothing that an agent wrote; resolves with its id.
 * Rejects with `SigningFailure` when the operator's program fails or takes longer than a minute.
 */
export async function writeSigned(
  git: ProtectedGit,
  { settings, env }: Signer,
  { tree, parents, who, message }: Unsigned,
  signal: AbortSignal,
): Promise<string> {
  const [, name = "", email = "", seconds = "0"] = /^(.*) <(.*)> (\d+) \+0000$/.exec(who) ?? [];
  const above = parents.flatMap((id) => ["-p", id]);
  const reach = { path: env["PATH"], home: env["HOME"], protocol: "none", settings } as const;
  try {
    const { status, stdout, said } = await runGit({
      args: ["commit-tree", "-S", tree, ...above],
      cwd: git.dir,
      env: {
        ...env,
        ...gitEnvironment(reach),
        ...{ GIT_DIR: git.dir, GIT_AUTHOR_NAME: name, GIT_AUTHOR_EMAIL: email },
        ...{ GIT_COMMITTER_NAME: name, GIT_COMMITTER_EMAIL: email },
        ...{ GIT_AUTHOR_DATE: `${seconds} +0000`, GIT_COMMITTER_DATE: `${seconds} +0000` },
      },
      ...{ timeoutMs: limitMs, input: message, signal },
    });
    if (status === 0) return stdout.trim();
    throw new SigningFailure(reasonIn(said));
  } catch (error) {
    if (!(error instanceof GitFailure)) throw error;
    throw new SigningFailure(
      "it took longer than a minute, as a program that waits for a person does",
    );
  }
}

function reasonIn(said: string): string {
  const lines = said.split(/[\r\n]+/).filter((line) => line.trim() !== "");
  const exact = lines.filter((line) => !/failed to write commit object/.test(line));
  return oneLine(exact.join("; ") || "git signed nothing", maxReasonChars);
}
