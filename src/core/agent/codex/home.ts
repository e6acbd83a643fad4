import { createHash, randomUUID } from "node:crypto";
import {
  chmod,
  lstat,
  mkdir,
  readdir,
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
import { SharedRuns } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { allowedNames, daemonMark, runCookie } from "../../process/environment.ts";
import { loginsIn } from "../../process/home-places.ts";
import { loginEnvironment } from "../../process/login.ts";
import { canNest, type Nesting } from "../../process/sandbox.ts";
import { systemSecretsHere } from "../../process/system-secrets.ts";
import { isAlive } from "../../process/table.ts";
import { isInside, isSystem, type View } from "../../process/view.ts";
import type { SessionSpec } from "../agent.ts";
import { confinementOf } from "../confinement.ts";
import { commandsOf } from "../guard/program.ts";
import type { ThreadRecords } from "../records.ts";
import { pickOperatorConfig } from "./operator-config.ts";
import { homeConfig } from "./profile.ts";
import type { CodexConfig } from "./settings.ts";

export interface HomesOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Agents must never read it. */
  readonly dataDir: string;
  /** Below it an agent sees only its own workspace. */
  workspaceRoot(): string;
}

/** The CODEX_HOME of one server's agents. */
export interface CodexHome {
  /** The value of CODEX_HOME. */
  readonly path: string;
  /** Paths that no command of an agent may read. */
  readonly denied: readonly string[];
  /** Changes when any of its rules changes. */
  readonly fingerprint: string;
  /** Creates the temporary folder of one run, the only one that the run may write. */
  scratch(runId: string): Promise<string>;
  /**
   * The temporary folder of all runs in shared processes; it outlives the server like those
   * processes.
   */
  sharedScratch(): Promise<string>;
  /** A path outside of every workspace that only the operator may write. */
  readonly outside: string;
}

interface Prepared {
  readonly home: CodexHome;
  /** What each session that uses it is told. */
  readonly said: readonly string[];
}

const operatorsOwn = ["auth.json", "config.toml", "history.jsonl", "sessions", "archived_sessions"];

/** Homes in which this process has looked for what crashed runs left. */
const swept = new Set<string>();
/** One preparation after the other: they write the same files. */
let turn: Promise<unknown> = Promise.resolve();

/**
 * Prepares the private home before each start; does nothing when the operator's own home is used.
 */
export class CodexHomes {
  readonly #options: HomesOptions;
  /** By their settings: sessions that start together share one preparation. */
  readonly #prepared = new Map<string, SharedRuns<Prepared>>();

  constructor(options: HomesOptions) {
    this.#options = options;
  }

  /** null with `codex.home: inherit`. Rejects with `agent_unavailable` when the directory cannot be made, or is all of the user's. */
  async prepare(
    config: CodexConfig,
    spec: Pick<SessionSpec, "readable" | "onLog">,
  ): Promise<CodexHome | null> {
    await refuseWholeHome(config, this.#options);
    if (config.home === "inherit") return null;
    const { readable } = spec;
    const key = JSON.stringify([config, readable]);
    const runs = this.#prepared.get(key) ?? new SharedRuns(() => this.#inTurn(config, readable));
    this.#prepared.set(key, runs);
    try {
      const { home, said } = await runs.run();
      for (const line of said) spec.onLog(line);
      return home;
    } catch (cause) {
      const message = `the private home of codex cannot be made: ${messageOf(cause)}`;
      throw new SymphonyError("agent_unavailable", message, {
        cause,
        hint: "symphony config overlay set codex.home <a directory you may write>",
      });
    }
  }

  async #inTurn(config: CodexConfig, readable: SessionSpec["readable"]): Promise<Prepared> {
    const said: string[] = [];
    const onLog = (line: string) => said.push(line);
    const spec = { onLog, ...(readable && { readable }) };
    const made = turn.then(() => this.#prepare(config, spec));
    turn = made.catch(() => {});
    return { home: await made, said };
  }

  async #prepare(
    config: CodexConfig,
    spec: Pick<SessionSpec, "readable" | "onLog">,
  ): Promise<CodexHome> {
    const base = baseOf(config.home, this.#options);
    const path = join(base, "home");
    const databases = join(path, "databases");
    if (!swept.has(path)) await sweepScratch(join(base, "tmp"));
    swept.add(path);
    await privately(base, path, databases, join(path, "sessions"), join(base, "tmp"));
    const operatorHome = operatorHomeOf(this.#options.env);
    await linkLogin(join(operatorHome, "auth.json"), join(path, "auth.json"));
    const text = await readFile(join(operatorHome, "config.toml"), "utf8").catch(() => "");
    const operator = pickOperatorConfig(text);
    const hidden = new Set(operator.credentialNames);
    const { readable, covered } = await this.#machine(config, spec);
    // Where codex's own sandbox cannot have a /proc, its commands see that of ours, which shows no other process of the machine.
    const nesting = await nestingOf(config, text, this.#options.env);
    const proc = nesting === "outer /proc" ? ["/proc"] : [];
    const denied = await this.#denied(operatorHome, path, covered);
    const written = homeConfig({
      operator,
      readable: [...proc, ...readable],
      denied,
      databases,
      visible: [...allowedNames, "LC_*", ...config.envPassthrough, runCookie, daemonMark].filter(
        (name) => !hidden.has(name),
      ),
    });
    const file = join(path, "config.toml");
    // A person's own codex, which continues a thread here, writes settings of its own into it.
    if ((await readFile(file, "utf8").catch(() => null)) !== written) await replace(file, written);
    const logins = await existing(loginsIn(userHome(this.#options.env)));
    return {
      path,
      // Logins need no rule where nothing around them is shown; that they cannot be read is tested all the same.
      denied: [...new Set([...denied, ...logins])],
      fingerprint: sha(written),
      outside: join(base, "outside"),
      async scratch(runId) {
        const dir = join(base, "tmp", `${process.pid}-${sha(runId)}`);
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

  /**
   * What codex itself sees of the machine, with its home writable; its own sandbox for commands is inside. null at
   * `danger`, where a person may let a command leave the sandbox, for a line that is more than codex, where the login
   * is in a keyring, and where sandboxes do not nest.
   */
  async around(
    config: CodexConfig,
    spec: SessionSpec,
    home: CodexHome | null,
  ): Promise<View | null> {
    const { env, dataDir, workspaceRoot } = this.#options;
    const { command, allowGit } = config;
    const operatorHome = operatorHomeOf(env);
    const path = home?.path ?? operatorHome;
    const text = await readFile(join(operatorHome, "config.toml"), "utf8").catch(() => "");
    if (spec.level === "danger" || !(await nestingOf(config, text, env))) return null;
    const { settings, tables } = pickOperatorConfig(text);
    const files = [...settings, ...tables].join("\n").matchAll(/["'](\/[^"'\n]+)["']/g);
    // What the operator's own settings name, their codex runs outside of every sandbox.
    const fixed = home ? [] : [join(path, "config.toml")];
    const named = await existing([...fixed, ...[...files].flatMap(([, file]) => file ?? [])]);
    const { PATH: search = "" } = await loginEnvironment(env);
    const confinement = await confinementOf({
      ...{ spec, lines: [command], env, path: search, dataDir, workspaceRoot: workspaceRoot() },
      readable: { key: "agent.readable", paths: [] },
      writable: null,
    });
    const own = await existing([home ? dirname(path) : path, join(operatorHome, "auth.json")]);
    return {
      ...{ ...confinement, level: "networked", cwd: spec.workspace, emptied: [] },
      shown: [
        ...confinement.shown,
        ...named.map((from) => ({ from, to: from, as: "readable" as const })),
        ...own.map((from) => ({ from, to: from, as: "writable" as const })),
      ],
      nests: true,
      ...(allowGit && { guarded: [".git/hooks", ".git/config", ".codex", ".agents"] }),
    };
  }

  /**
   * Where a person may let a command leave codex's sandbox: what stays hidden from it, held by a mount around codex
   * itself. codex keeps only the denials of an approved command, and would hide its own workspace with the others.
   * Empty at `danger`, in the operator's own home, where sandboxes do not nest, and where codex's home is in one of them:
   * there the denials hold.
   */
  async hiddenAround(
    config: CodexConfig,
    spec: SessionSpec,
    home: CodexHome | null,
  ): Promise<readonly string[]> {
    const { env, dataDir, workspaceRoot } = this.#options;
    const isAsked = config.approvalPolicy !== "never";
    const never = { ...config, approvalPolicy: "never", process: "per_issue" as const };
    if (!home || !isAsked || spec.level === "danger" || !(await nestingOf(never, "", env))) {
      return [];
    }
    const hidden = outermost(await existing([dataDir, workspaceRoot()]));
    // A mount that keeps codex's own home would show what the denials there hide: the threads of other issues.
    const [base = dirname(home.path)] = await existing([dirname(home.path)]);
    return hidden.some((path) => isInside(base, path)) ? [] : hidden;
  }

  /** What commands are shown of the machine, as agents of every kind are, and what is hidden in it. */
  async #machine(
    { command }: CodexConfig,
    { readable, onLog }: Pick<SessionSpec, "readable" | "onLog">,
  ): Promise<{ readonly readable: readonly string[]; readonly covered: readonly string[] }> {
    const { env, dataDir, workspaceRoot } = this.#options;
    const root = workspaceRoot();
    const { PATH: path = "" } = await loginEnvironment(env);
    // Each workspace is added by codex itself.
    const workspace = join(root, "none");
    const { shown, hidden } = await confinementOf({
      spec: { ...{ workspace, level: "safe", onLog }, ...(readable && { readable }) },
      ...{ lines: [command], env, path, dataDir, workspaceRoot: root },
      readable: { key: "agent.readable", paths: [] },
      writable: null,
    });
    // A rule for a link breaks the sandbox; what it leads to has a rule of its own.
    const places = shown.filter(({ as }) => as !== "link").map(({ from }) => from);
    const covered = hidden.filter(
      (one) => !places.includes(one) && (isSystem(one) || places.some((dir) => isInside(one, dir))),
    );
    return { readable: places.toSorted(), covered: [...covered, ...(await systemSecretsHere())] };
  }

  /**
   * Only existing paths: what does not exist cannot be read, and a rule for it would leave an empty
   * file there.
   */
  async #denied(operatorHome: string, path: string, covered: readonly string[]): Promise<string[]> {
    const { dataDir, workspaceRoot } = this.#options;
    await mkdir(workspaceRoot(), { recursive: true });
    const own = await realpath(dirname(path));
    const around = (await existing(covered)).map((each) => withoutOwn(each, own));
    const wanted = [
      dataDir,
      workspaceRoot(),
      ...operatorsOwn.map((name) => join(operatorHome, name)),
      join(path, "sessions"),
    ];
    const settings = join(own, "home", "config.toml");
    const all = [...(await existing(wanted)), settings, ...(await Promise.all(around)).flat()];
    // A rule inside what another rule denies makes every command fail.
    return outermost(all);
  }
}

function outermost(all: readonly string[]): string[] {
  return [...new Set(all)].filter(
    (path) => !all.some((other) => other !== path && isInside(path, other)),
  );
}

/** How codex's sandbox works in ours; null: it has none around it. `text`: the operator's `config.toml`. */
async function nestingOf(
  { command, approvalPolicy, process }: CodexConfig,
  text: string,
  env: Env,
): Promise<Nesting | null> {
  const [[program = ""] = [], ...more] = commandsOf(command);
  const isCodex = more.length === 0 && /(^|\/)codex$/.test(program);
  if (!isCodex || approvalPolicy !== "never" || process === "shared") return null;
  if (/^\s*cli_auth_credentials_store\s*=\s*["'](keyring|auto)/m.test(text)) return null;
  return canNest(env);
}

/** The targets of the paths that exist: a rule for a link breaks the sandbox. */
async function existing(paths: readonly string[]): Promise<readonly string[]> {
  const real = await Promise.all(paths.map((path) => realpath(path).catch(() => null)));
  return real.filter((path) => path !== null);
}

/** A directory; if codex's own one is in it, everything else in it. */
async function withoutOwn(dir: string, own: string): Promise<readonly string[]> {
  if (!isInside(own, dir)) return [dir];
  if (own === dir) return [];
  const names = await readdir(dir);
  const others = names.map(async (name) => {
    const path = join(dir, name);
    return (await lstat(path)).isSymbolicLink() ? [] : withoutOwn(path, own);
  });
  return (await Promise.all(others)).flat();
}

type Env = Readonly<Record<string, string | undefined>>;

function userHome(env: Env): string {
  return env["HOME"] || homedir();
}

/** Removes the directories of processes that are gone: a server, `symphony doctor` and a worker may use one home at the same time. */
async function sweepScratch(dir: string): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    // An operator's own directory may hold other files.
    const pid = /^(\d+)-[0-9a-f]+$/.exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    await rm(join(dir, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

function baseOf(wish: string, { env, dataDir }: Pick<HomesOptions, "env" | "dataDir">): string {
  if (wish !== "private") return resolve(wish.replace(/^~(?=\/|$)/, userHome(env)));
  return join(userHome(env), ".symphony", "codex", sha(dataDir));
}

/** What codex has as its own may be written by it, and by commands that leave its own sandbox. */
async function refuseWholeHome({ home }: CodexConfig, options: HomesOptions): Promise<void> {
  const wish = home === "inherit" ? operatorHomeOf(options.env) : baseOf(home, options);
  const [user = "", dir] = await existing([userHome(options.env), wish]);
  if (dir === undefined || !isInside(user, dir)) return;
  const message = `${dir} cannot be the home of codex: it is all of yours, and agents could write every file in it`;
  throw new SymphonyError("agent_unavailable", message, {
    hint: "symphony config overlay set codex.home private",
  });
}

/** The CODEX_HOME of agents with these settings, which holds their threads. */
export function agentsHomeOf(
  { home }: Pick<CodexConfig, "home">,
  options: Pick<HomesOptions, "env" | "dataDir">,
): string {
  return home === "inherit" ? operatorHomeOf(options.env) : join(baseOf(home, options), "home");
}

/** Codex finds a record by the id in its name, in the directories of any date. */
export async function threadRecords(
  config: Pick<CodexConfig, "home">,
  options: Pick<HomesOptions, "env" | "dataDir">,
): Promise<ThreadRecords> {
  const root = join(agentsHomeOf(config, options), "sessions");
  await mkdir(root, { recursive: true, mode: 0o700 });
  return { root, directoryFor: (directory) => directory };
}

/** The operator's own CODEX_HOME. */
export function operatorHomeOf(env: Env): string {
  return env["CODEX_HOME"] || join(userHome(env), ".codex");
}

/** A link, so that a login or a refreshed token in one home is also used in the other. */
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
