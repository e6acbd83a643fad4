import { stat } from "node:fs/promises";
import { join } from "node:path";
import { findProgram } from "../process/find-program.ts";
import { type Environment, loginEnvironment } from "../process/login.ts";
import type { KnownAgent } from "./guard/program.ts";

type Levels = readonly ["safe" | "networked", ...("networked" | "danger")[]];

/** A program that is an agent, and where it keeps its login. */
export interface KnownProgram {
  readonly name: KnownAgent;
  /** What people call it. */
  readonly title: string;
  /** The file that its own login leaves; it is never read here. */
  loginFile(env: Environment): string;
  /** Variables or secrets that it uses instead of a login, with the settings below. */
  readonly keyNames: readonly string[];
  /** The variable that points it to another provider, which its settings must name to keep; absent: it has none. */
  readonly addressName?: string;
  /** The command by which a person logs in. */
  readonly login: string;
  /** The levels that it can run at, the first being the one to begin with. */
  readonly levels: Levels;
  /** The same where one of its keys is there; absent: no others. */
  readonly levelsWithKey?: Levels;
  /** Its settings in a workflow file, as lines of YAML. */
  readonly settings: readonly string[];
}

const inHome = (env: Environment, ...parts: string[]) => join(env["HOME"] ?? "/", ...parts);

/** In the order in which they are offered. */
export const knownPrograms: readonly KnownProgram[] = [
  {
    name: "codex",
    title: "codex",
    loginFile: (env) => join(env["CODEX_HOME"] || inHome(env, ".codex"), "auth.json"),
    // It reads its login from its home, and no key of its environment.
    keyNames: [],
    login: "codex login",
    levels: ["safe", "networked"],
    settings: ["agent:", "  kind: codex"],
  },
  {
    name: "claude",
    title: "Claude Code",
    loginFile: (env) =>
      join(env["CLAUDE_CONFIG_DIR"] || inHome(env, ".claude"), ".credentials.json"),
    keyNames: ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"],
    addressName: "ANTHROPIC_BASE_URL",
    login: "claude",
    levels: ["safe", "networked"],
    settings: ["agent:", "  kind: claude"],
  },
  {
    name: "gemini",
    title: "Gemini CLI",
    loginFile: (env) => inHome(env, ".gemini", "oauth_creds.json"),
    keyNames: ["GEMINI_API_KEY"],
    login: "gemini",
    levels: ["networked"],
    levelsWithKey: ["safe", "networked"],
    settings: [
      "acp:",
      "  command: gemini --acp",
      "  env_passthrough: [GEMINI_API_KEY]",
      "  writable_paths: [~/.gemini] # its login and its sessions",
      "agent:",
      "  kind: acp",
    ],
  },
  {
    name: "opencode",
    title: "opencode",
    loginFile: (env) =>
      join(env["XDG_DATA_HOME"] || inHome(env, ".local", "share"), "opencode", "auth.json"),
    keyNames: [],
    login: "opencode auth login",
    levels: ["networked"],
    settings: [
      "acp:",
      "  command: opencode acp",
      "  # Its files, not their directory: opencode writes to that directory at each start.",
      "  readable_paths: [~/.config/opencode/opencode.json, ~/.config/opencode/opencode.jsonc]",
      "  writable_paths: [~/.local/share/opencode, ~/.local/state/opencode, ~/.cache/opencode]",
      "agent:",
      "  kind: acp",
    ],
  },
];

export interface InstalledAgent {
  readonly program: KnownProgram;
  readonly path: string;
  /** `file`: its own login is there; `key`: a variable or a secret has a key; `unseen`: it may be in a keyring; null: none was found. */
  readonly login: "file" | "key" | "unseen" | null;
}

/** Where the user's login shell finds a program; null: it does not. */
export async function programPath(program: string, env: Environment): Promise<string | null> {
  const { PATH: path = "" } = await loginEnvironment(env);
  return findProgram(program, path);
}

/** The agents of this machine that are known by name. `has` says whether a key is stored or set. */
export async function installedAgents(
  env: Environment,
  has: (name: string) => boolean,
): Promise<readonly InstalledAgent[]> {
  const found = knownPrograms.map(async (one): Promise<readonly InstalledAgent[]> => {
    const path = await programPath(one.name, env);
    if (path === null) return [];
    return [{ program: one, path, login: await loginOf(one, env, has) }];
  });
  return (await Promise.all(found)).flat();
}

/** By the presence of a file, which is not read, or of a key. */
export async function loginOf(
  { loginFile, keyNames }: KnownProgram,
  env: Environment,
  has: (name: string) => boolean,
): Promise<InstalledAgent["login"]> {
  const found = await stat(loginFile(env)).catch(() => null);
  if (found !== null && found.size > 0) return "file";
  return keyNames.some(has) ? "key" : null;
}
