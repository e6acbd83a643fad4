// Attempts on a few hosts that are reached by ssh: workspace, hooks and agent are on the host.

import { randomBytes } from "node:crypto";
import { type Clock, pause } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { WorkerHost } from "../model/worker.ts";
import type { Book } from "./book.ts";
import { type Call, callHost, lost, type Reply } from "./command-line.ts";
import { overtaken, twice } from "./refusals.ts";
import { claim, endRuns, handshake } from "./scripts.ts";

export interface HostsDeps {
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly book: Book;
  /** Of this server, for people. */
  readonly name: string;
  readonly log: {
    info(message: string, fields?: Readonly<Record<string, unknown>>): void;
    warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  };
  config(): Config;
  /** The programs that the agents in use begin with. */
  programs(): readonly string[];
  /** Attempts that run on it now. */
  running(host: string): number;
  /** It answers, and nothing of an earlier server runs there. */
  greeted(host: string): Promise<void>;
  /** null: attempts run on this machine. */
  changed(workers: readonly WorkerHost[] | null): void;
}

/** A host that hangs is known by name after this time. */
const handshakeMs = 15_000;
const tryAgainMs = 15_000;
const lookAgainMs = 300_000;
const endMs = 30_000;
/** The first git 2 that can say and choose the format of a repository's objects. */
const oldestGit = 29;

interface Seen {
  readonly why: string | null;
  readonly facts: Facts | null;
  readonly sinceWall: number;
}

/** What a host says of itself. */
export interface Facts {
  readonly root: string;
  readonly name: string;
  readonly git: string;
  /** The same for two names of one machine and login; empty: it cannot say. */
  readonly machine: string;
  /** Servers whose agents or hooks run there: an id, and a name where it is known. */
  readonly servers: readonly string[];
}

/**
 * Asks a host for what an attempt needs there: bash, git, /proc, the directory of workspaces, and a login shell that passes a
 * quoted text on. Rejects with `worker_lost`, which says what is missing.
 */
export async function greet(
  host: string,
  { root, programs, env }: { root: string; programs: readonly string[]; env: NodeJS.ProcessEnv },
): Promise<Facts> {
  const text = `it's "${randomBytes(4).toString("hex")}" $HOME \\ \\\\ \\' *`;
  const call = { script: handshake, args: [root, text, ...programs], timeoutMs: handshakeMs };
  const { words } = await callHost(host, call, env);
  const [echo, at = "", name = "", git = "-", own = "-", missing, path = "", ...more] = words;
  const [machine = "", servers = ""] = more;
  if (echo !== text) throw lost(host, "its login shell changes quoted text: make bash that shell");
  if (git === "-") throw lost(host, "it has no git");
  const [, major = 0, minor = 0] = /(\d+)\.(\d+)/.exec(git)?.map(Number) ?? [];
  if (major < 2 || (major === 2 && minor < oldestGit))
    throw lost(host, `its ${git} is too old: 2.${oldestGit} or later is needed`);
  if (own === "-") throw lost(host, "its processes cannot be found in /proc: only Linux has that");
  if (missing !== "-") {
    const message = `a login there does not find ${missing}: its PATH is ${path}`;
    throw lost(host, message, `ssh ${host} "bash -lc 'command -v ${missing}'"`);
  }
  return {
    ...{ root: requireRemote(host, at), name, git: git.replace("git version ", "") },
    machine: machine === "" ? "" : `${name} ${machine}`,
    servers: servers === "" ? [] : servers.split(", "),
  };
}

/** An absolute path of a host that can stand in a line. */
export function requireRemote(host: string, path: string): string {
  if (/^\/[^\n\r\0\t]*[^/\n\r\0\t]$/.test(path)) return path;
  throw new SymphonyError(
    "workspace_prepare_failed",
    `${host}: ${JSON.stringify(path)} cannot be the path of a workspace`,
  );
}

/** The hosts of `worker.ssh_hosts`, whether they can be used, and calls to them. */
export class SshHosts {
  readonly #deps: HostsDeps;
  readonly #seen = new Map<string, Seen>();
  readonly #stop = new AbortController();
  #again = Promise.withResolvers<void>();
  #shown = "";
  /** The attempts of this server that have not ended. */
  readonly live = new Set<string>();
  /** Hosts on which what an earlier server left was ended. */
  readonly #swept = new Set<string>();
  /** Other servers whose agents run on each host. */
  readonly #others = new Map<string, string>();
  /** Of each host that was accepted. */
  readonly #machines = new Map<string, string>();
  /** Roots of each host that have the mark of this process. */
  readonly #marked = new Map<string, ReadonlySet<string>>();

  constructor(deps: HostsDeps) {
    this.#deps = deps;
  }

  get workers(): readonly WorkerHost[] {
    const { config, running } = this.#deps;
    const { worker, agent } = config();
    return worker.sshHosts.map((name) => {
      const { why, facts, sinceWall } = this.#seenOf(name);
      return {
        ...{
          name,
          host: facts?.name ?? null,
          labels: [],
          agents: null,
          version: null,
          sinceWall,
          why,
        },
        capacity: worker.maxPerHost ?? agent.maxConcurrentAgents,
        running: running(name),
        ready: why === null,
      };
    });
  }

  /** Greets every host now, and again as long as the server runs. */
  start(): void {
    void this.#watch();
  }

  /** The configuration has changed. */
  follow(): void {
    this.#again.resolve();
  }

  close(): void {
    this.#stop.abort();
    this.#again.resolve();
  }

  /** As `callHost`; a host that is lost gets nothing until it answers again. */
  async call(host: string, call: Call): Promise<Reply> {
    try {
      return await callHost(host, call, this.#deps.env);
    } catch (error) {
      if (!call.signal?.aborted) this.failed(host, error);
      throw error;
    }
  }

  /** A host that is lost gets nothing until it answers again. Returns the error. */
  failed<E>(host: string, error: E): E {
    if (!(error instanceof SymphonyError) || error.code !== "worker_lost") return error;
    const { why, facts } = this.#seenOf(host);
    this.#note(host, { why: whyOf(host, error), facts });
    this.#tellChanges();
    // It may be asked only minutes later.
    if (why === null) this.#again.resolve();
    return error;
  }

  /** Ends every process of these attempts. Rejects with `worker_lost` when that cannot be said. */
  async endAll(host: string, attemptIds: readonly string[]): Promise<void> {
    const { book } = this.#deps;
    for (const id of attemptIds) await this.#end(host, book.cookieOf(id));
    await book.ended(attemptIds);
  }

  /**
   * Before anything is done there: of two servers with one data directory the one that was started later has the host. Rejects
   * with `worker_lost` in the other one. By default it only makes sure of the mark.
   */
  async claim(host: string, root: string | null = null): Promise<void> {
    const { book, name } = this.#deps;
    const before = this.#marked.get(host);
    if (before !== undefined && root === null) return;
    const roots = [...new Set([...(root === null ? [] : [root]), ...book.rootsOn(host)])];
    const marks = roots.map((one) => (before?.has(one) ? `=${one}` : one));
    const args = [book.server, `${book.run} ${name}`, ...marks];
    const { words } = await this.call(host, { script: claim, args, timeoutMs: handshakeMs });
    if (words[0] === "later") throw overtaken(host, words[1] ?? "");
    this.#marked.set(host, new Set([...(before ?? []), ...roots]));
  }

  async #end(host: string, cookie: string): Promise<void> {
    const { words } = await this.call(host, { script: endRuns, args: [cookie], timeoutMs: endMs });
    if (words[0] === "0") return;
    throw lost(host, `${words[0] ?? "some"} processes of an attempt cannot be ended there`);
  }

  async #watch(): Promise<void> {
    const { clock, config } = this.#deps;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#again = Promise.withResolvers<void>();
      const { sshHosts } = config().worker;
      this.#tellChanges();
      await Promise.all(sshHosts.map((host) => this.#greet(host)));
      const isLost = this.workers.some(({ ready }) => !ready);
      const over = new AbortController();
      const wait = pause(clock, isLost ? tryAgainMs : lookAgainMs, over.signal).catch(() => {});
      await Promise.race([wait, this.#again.promise]);
      over.abort();
    }
  }

  async #greet(host: string): Promise<void> {
    const { env, config, programs, book, log } = this.#deps;
    const before = this.#seen.get(host) ?? null;
    try {
      const { root } = config().worker;
      const facts = await greet(host, { root, programs: programs(), env });
      this.#requireOneName(host, facts.machine);
      await this.claim(host, facts.root);
      const others = facts.servers.filter((one) => !one.startsWith(book.server)).join(", ");
      if (others !== this.#others.get(host) && others !== "")
        log.warn("agents of another server run on a host: they are left alone", { host, others });
      this.#others.set(host, others);
      if (!this.#swept.has(host)) {
        await this.#end(host, `ssh-${book.server}-`);
        await book.ended(book.openOn({ host }));
        this.#swept.add(host);
      } else if (before?.why != null) {
        const left = book.openOn({ host }).filter((id) => !this.live.has(id));
        await this.endAll(host, left);
      }
      await this.#deps.greeted(host);
      this.#note(host, { why: null, facts });
      if (before?.why !== null) log.info("a host takes attempts", { host, root: facts.root });
    } catch (error) {
      const why = whyOf(host, error);
      this.#note(host, { why, facts: before?.facts ?? null });
      if (before?.why !== why) log.warn("a host takes no attempts", { host, reason: why });
    }
    if (!this.#stop.signal.aborted) this.#tellChanges();
  }

  /** What is ended on one of two names would be ended on the other. Rejects the one that came later. */
  #requireOneName(host: string, machine: string): void {
    const { config, running } = this.#deps;
    const { sshHosts } = config().worker;
    this.#machines.delete(host);
    const [twin] =
      [...this.#machines].find(
        ([other, its]) => its === machine && (sshHosts.includes(other) || running(other) > 0),
      ) ?? [];
    if (twin !== undefined) throw twice(host, twin);
    if (machine !== "") this.#machines.set(host, machine);
  }

  #note(host: string, { why, facts }: Omit<Seen, "sinceWall">): void {
    const before = this.#seen.get(host);
    const isSame = before !== undefined && (before.why === null) === (why === null);
    const sinceWall = isSame ? before.sinceWall : this.#deps.clock.wall();
    this.#seen.set(host, { why, facts, sinceWall });
  }

  #seenOf(host: string): Seen {
    const none = { why: "it was not asked yet", facts: null, sinceWall: this.#deps.clock.wall() };
    return this.#seen.get(host) ?? none;
  }

  #tellChanges(): void {
    const { workers } = this;
    const shown = JSON.stringify(workers.map(({ running: _, sinceWall: __, ...rest }) => rest));
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#deps.changed(workers.length === 0 ? null : workers);
  }
}

/** Without its name, which stands next to it. */
function whyOf(host: string, error: unknown): string {
  const text = messageOf(error);
  return text.startsWith(`${host}: `) ? text.slice(host.length + 2) : text;
}
