import { createHash, randomUUID } from "node:crypto";
import {
  chmod,
  mkdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { CodexConfig } from "../../config/config.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { allowedNames, daemonMark, runCookie } from "../environment.ts";
import { keptSecrets } from "../kept-secrets.ts";
import { homeConfig } from "./home-config.ts";
import { pickOperatorConfig } from "./operator-config.ts";

export interface HomesOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Never to be read by an agent. */
  readonly dataDir: string;
  /** An agent sees its own workspace and no other one below it. */
  workspaceRoot(): string;
}

/** The CODEX_HOME of one server's agents. */
export interface CodexHome {
  /** For CODEX_HOME. */
  readonly path: string;
  /** What no command of an agent may read. */
  readonly denied: readonly string[];
  /** Changes with every rule of it. */
  readonly fingerprint: string;
  /** The temporary folder of one run, made now; the only one it may write. */
  scratch(runId: string): Promise<string>;
  /** The temporary folder of all runs in shared processes; it outlives the server as they do. */
  sharedScratch(): Promise<string>;
  /** A path outside of every workspace where nobody but the operator may write. */
  readonly outside: string;
}

const operatorsOwn = ["auth.json", "config.toml", "history.jsonl", "sessions", "archived_sessions"];

/** Makes the private home ready for each start, and tells nothing to do where the operator's own is used. */
export class CodexHomes {
  readonly #options: HomesOptions;
  readonly #written = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: HomesOptions) {
    this.#options = options;
  }

  /** null with `codex.home: inherit`. Rejects with `agent_unavailable` when the directory cannot be made. */
  async prepare(config: CodexConfig): Promise<CodexHome | null> {
    if (config.home === "inherit") return null;
    const made = this.#turn.then(() => this.#prepare(config));
    this.#turn = made.catch(() => {});
    try {
      return await made;
    } catch (cause) {
      const message = `the private home of codex cannot be made: ${messageOf(cause)}`;
      throw new SymphonyError("agent_unavailable", message, {
        cause,
        hint: "symphony config overlay set codex.home <a directory you may write>",
      });
    }
  }

  async #prepare(config: CodexConfig): Promise<CodexHome> {
    const base = this.#base(config.home);
    const path = join(base, "home");
    const databases = join(path, "databases");
    if (config.home === "private" && !this.#written.has(path)) {
      // One server has this directory: what is there now is of runs that crashed.
      await rm(join(base, "tmp"), { recursive: true, force: true, maxRetries: 3 });
    }
    await privately(base, path, databases, join(path, "sessions"), join(base, "tmp"));
    const operatorHome = this.#operatorHome();
    await linkLogin(join(operatorHome, "auth.json"), join(path, "auth.json"));
    const text = await readFile(join(operatorHome, "config.toml"), "utf8").catch(() => "");
    const operator = pickOperatorConfig(text);
    const hidden = new Set(operator.credentialNames);
    const denied = await this.#denied(operatorHome, path);
    const written = homeConfig({
      operator,
      denied,
      databases,
      visible: [...allowedNames, "LC_*", ...config.envPassthrough, runCookie, daemonMark].filter(
        (name) => !hidden.has(name),
      ),
    });
    if (this.#written.get(path) !== written) {
      await replace(join(path, "config.toml"), written);
      this.#written.set(path, written);
    }
    return {
      path,
      denied,
      fingerprint: sha(written),
      outside: join(base, "outside"),
      async scratch(runId) {
        const dir = join(base, "tmp", sha(runId));
        await privately(dir);
        return dir;
      },
      async sharedScratch() {
        const dir = join(base, "shared-tmp");
        await privately(dir);
        return dir;
      },
    };
  }

  #base(wish: string): string {
    if (wish !== "private") return resolve(wish.replace(/^~(?=\/|$)/, this.#userHome));
    return join(this.#userHome, ".symphony", "codex", sha(this.#options.dataDir));
  }

  get #userHome(): string {
    return this.#options.env["HOME"] || homedir();
  }

  #operatorHome(): string {
    return this.#options.env["CODEX_HOME"] || join(this.#userHome, ".codex");
  }

  /** Of what does not exist nothing can be read; a rule for it would leave an empty file there. */
  async #denied(operatorHome: string, path: string): Promise<string[]> {
    const { dataDir, workspaceRoot } = this.#options;
    await mkdir(workspaceRoot(), { recursive: true });
    const wanted = [
      dataDir,
      workspaceRoot(),
      ...operatorsOwn.map((name) => join(operatorHome, name)),
      ...keptSecrets.map((name) => join(this.#userHome, name)),
      join(path, "sessions"),
    ];
    // A rule for a link breaks the sandbox: it has to name what the link leads to.
    const real = await Promise.all(wanted.map((each) => realpath(each).catch(() => null)));
    const settings = join(await realpath(path), "config.toml");
    return [...new Set([...real.filter((each) => each !== null), settings])];
  }
}

/** A link, so that a login or a refreshed token of either is that of both. */
async function linkLogin(target: string, link: string): Promise<void> {
  if (target === link || (await readlink(link).catch(() => null)) === target) return;
  await rm(link, { force: true });
  await symlink(target, link);
}

async function privately(...dirs: readonly string[]): Promise<void> {
  for (const dir of dirs) {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chmod(dir, 0o700);
  }
}

async function replace(file: string, text: string): Promise<void> {
  const draft = join(dirname(file), `.config-${randomUUID()}`);
  await writeFile(draft, text, { mode: 0o600 });
  await rename(draft, file);
}

function sha(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
