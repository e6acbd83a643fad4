// codex processes that several issues share and that outlive the server.

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Clock } from "../../../clock.ts";
import { messageOf, SymphonyError } from "../../../model/errors.ts";
import { startDetached } from "../../../process/program.ts";
import { liveProcesses, type ProcessEntry } from "../../../process/table.ts";
import { endTree } from "../../../process/tree.ts";
import { parseJson } from "../../../text/text.ts";
import { openSocket } from "./socket.ts";
import { watchdogArgs } from "./watchdog.ts";

const beatsPerLimit = 5;
const maxBeatMs = 10_000;

export interface DaemonsOptions {
  /** In the data directory: sockets, records and logs. */
  readonly dir: string;
  readonly clock: Clock;
  /** The mark of the processes of the agent with this id; unique on this machine. */
  markOf(id: string): string;
  onTrouble(message: string): void;
}

/** One running shared agent. */
export interface Daemon {
  readonly record: DaemonRecord;
  /** The runs with a thread in it. */
  readonly runs: Set<string>;
}

/** The shared agents of one data directory. One server owns them at a time. */
export class Daemons {
  readonly #options: DaemonsOptions;
  readonly #running = new Map<string, Daemon>();
  /** The last agent of each thread: for a while no other agent may write to it. */
  readonly #lastHosts = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();
  #beats = 0;
  #cancelBeat: () => void = () => {};

  constructor(options: DaemonsOptions) {
    this.#options = options;
  }

  /**
   * Resumes the agents that an earlier server left, and ends those that do not answer. Rejects when
   * `signal` aborts.
   */
  async restore(signal?: AbortSignal): Promise<void> {
    const { dir } = this.#options;
    for (const record of await recordedDaemons(dir)) {
      signal?.throwIfAborted();
      if (await answers(record)) this.#add(record);
      else await endDaemon(dir, record);
    }
    if (this.#running.size > 0) await this.#beat();
  }

  find(id: string): Daemon | null {
    return this.#running.get(id) ?? null;
  }

  get all(): readonly Daemon[] {
    return [...this.#running.values()];
  }

  /**
   * An agent with room for one more run, reserved for `runId` immediately; starts a new one when
   * there is none. Rejects with `codex_not_found` or `port_exit`.
   */
  acquire(
    launch: Launch,
    place: { runId: string; threadId: string | null; capacity: number },
  ): Promise<Daemon> {
    // One call at a time: two simultaneous calls must not both start an agent.
    const mine = this.#turn.then(() => this.#acquire(launch, place));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** The run's thread has ended, or continues without this server. */
  async release(daemon: Daemon, runId: string, configHash: string): Promise<void> {
    const { runs, record } = daemon;
    runs.delete(runId);
    // An agent with an old configuration, or in a mount around one workspace, gets no new threads.
    const isOver = record.config_hash !== configHash || record.hidden.length > 0;
    if (runs.size === 0 && isOver) await this.end(daemon);
  }

  remember(threadId: string, daemon: Daemon): void {
    this.#lastHosts.delete(threadId);
    this.#lastHosts.set(threadId, daemon.record.id);
    const [oldest] = this.#lastHosts.keys();
    if (this.#lastHosts.size > rememberedThreads && oldest) this.#lastHosts.delete(oldest);
  }

  /** Records the version, once the agent has reported it. */
  async learned(daemon: Daemon, codexVersion: string): Promise<void> {
    if (daemon.record.codex_version === codexVersion) return;
    const record = { ...daemon.record, codex_version: codexVersion };
    this.#running.set(record.id, { ...daemon, record });
    await saveRecord(this.#options.dir, record);
  }

  /** Ends the agent and all its threads. */
  async end(daemon: Daemon): Promise<void> {
    this.#running.delete(daemon.record.id);
    await endDaemon(this.#options.dir, daemon.record);
    await rm(join(this.#options.dir, `${daemon.record.id}.log`), { force: true });
  }

  async endUnused(): Promise<void> {
    await Promise.all(this.all.filter(({ runs }) => runs.size === 0).map((one) => this.end(one)));
  }

  /** Stops the heartbeat of the server; running agents continue until their limit. */
  close(): void {
    this.#cancelBeat();
  }

  async #acquire(
    launch: Launch,
    { runId, threadId, capacity }: { runId: string; threadId: string | null; capacity: number },
  ): Promise<Daemon> {
    const fit = this.all
      .filter(
        ({ record, runs }) => record.config_hash === launch.configHash && runs.size < capacity,
      )
      .sort((a, b) => b.runs.size - a.runs.size);
    const holder = this.#lastHosts.get(threadId ?? "");
    const isHolder = (one: Daemon) => one.record.id === holder;
    const daemon =
      (await this.#firstHealthy([
        ...fit.filter(isHolder),
        ...fit.filter((one) => !isHolder(one)),
      ])) ?? (await this.#start(launch));
    daemon.runs.add(runId);
    return daemon;
  }

  /** An agent that is only slow keeps its threads; one that has exited is removed. */
  async #firstHealthy(daemons: readonly Daemon[]): Promise<Daemon | null> {
    for (const daemon of daemons) {
      const { id } = daemon.record;
      if (await answers(daemon.record)) return daemon;
      this.#options.onTrouble(`the shared codex ${id} does not answer and gets no new thread`);
      if (!(await isAlive(daemon.record))) await this.end(daemon);
    }
    return null;
  }

  async #start(launch: Launch): Promise<Daemon> {
    const { dir, clock, markOf } = this.#options;
    const id = randomBytes(4).toString("hex");
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    await this.#beat();
    const place = { ...{ dir, id }, mark: markOf(id), heartbeat: this.#heartbeat };
    const record = await startDaemon(launch, { ...place, wall: clock.wall() });
    return this.#add(record);
  }

  #add(record: DaemonRecord): Daemon {
    const daemon: Daemon = { record, runs: new Set() };
    this.#running.set(record.id, daemon);
    return daemon;
  }

  get #heartbeat(): string {
    return join(this.#options.dir, "heartbeat");
  }

  async #beat(): Promise<void> {
    this.#cancelBeat();
    this.#beats += 1;
    const { clock, onTrouble } = this.#options;
    const text = `${process.pid} ${clock.wall()} ${this.#beats}\n`;
    await writeFile(this.#heartbeat, text, { mode: 0o600 }).catch((error: unknown) =>
      onTrouble(`the heartbeat could not be written: ${messageOf(error)}`),
    );
    const limits = this.all.map(({ record }) => record.orphan_limit_ms / beatsPerLimit);
    const beatMs = Math.min(maxBeatMs, ...limits);
    this.#cancelBeat = clock.after(beatMs, () => void this.#beat());
  }
}

const rememberedThreads = 10_000;

/** The error for a thread that no agent holds any more. */
export function daemonGone(id: string): SymphonyError {
  return new SymphonyError("codex_daemon_lost", `the shared codex ${id} is gone`, {
    details: { daemon: id },
  });
}

const startLimitMs = 20_000;
const connectLimitMs = 5_000;
const killLimitMs = 3_000;
const pollMs = 25;

const Record = z.object({
  id: z.string(),
  /** The pid of the watchdog, which leads the group. */
  pid: z.number(),
  socket: z.string(),
  mark: z.string(),
  started_at: z.number(),
  codex_version: z.string().nullable(),
  config_hash: z.string(),
  orphan_limit_ms: z.number(),
  /** As `Launch` has it; records of earlier versions have none. */
  hidden: z.array(z.string()).default([]),
});

/** The record of one shared agent in the data directory. */
type DaemonRecord = z.infer<typeof Record>;

export interface Launch {
  /** The shell line that starts the agent with `mark`, listening on `socket`. */
  lineWith(mark: string, socket: string): Promise<string>;
  readonly env: Readonly<Record<string, string>>;
  /** Agents with another configuration get no further threads. */
  readonly configHash: string;
  readonly orphanLimitMs: number;
  /** What a mount around it hides, except one workspace and what that borrows; empty without a mount. */
  readonly hidden: readonly string[];
}

export interface DaemonPaths {
  /** Mode 0700, in the data directory. */
  readonly dir: string;
  readonly id: string;
  readonly mark: string;
  readonly heartbeat: string;
  readonly wall: number;
}

/** Starts an agent that outlives this process. Rejects with `codex_not_found` or `port_exit`. */
async function startDaemon(launch: Launch, place: DaemonPaths): Promise<DaemonRecord> {
  const { dir, id, mark } = place;
  const socket = join(dir, id, "sock");
  // A directory of its own: a mount that hides the others keeps this one.
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
  const { heartbeat } = place;
  const line = await launch.lineWith(mark, socket);
  const { pid, ended } = startDetached({
    argv: ["bash", ...watchdogArgs({ line, heartbeat, mark, limitMs: launch.orphanLimitMs })],
    cwd: dir,
    env: launch.env,
    log: join(dir, `${id}.log`),
  });
  const record: DaemonRecord = {
    ...{ id, socket, mark },
    pid: pid ?? 0,
    started_at: place.wall,
    codex_version: null,
    config_hash: launch.configHash,
    orphan_limit_ms: launch.orphanLimitMs,
    hidden: [...launch.hidden],
  };
  await saveRecord(dir, record);
  if (await comesUp(record, ended)) return record;
  const failure = await startFailed(dir, id);
  await endDaemon(dir, record);
  throw failure;
}

async function saveRecord(dir: string, record: DaemonRecord): Promise<void> {
  await writeFile(join(dir, `${record.id}.json`), `${JSON.stringify(record)}\n`, { mode: 0o600 });
}

/** Every recorded agent of the directory, alive or not; unreadable records are left out. */
async function recordedDaemons(dir: string): Promise<readonly DaemonRecord[]> {
  const names = await readdir(dir).catch(() => []);
  const files = names.filter((name) => name.endsWith(".json"));
  const texts = await Promise.all(files.map((name) => readFile(join(dir, name), "utf8")));
  return texts.flatMap((text) => {
    const found = Record.safeParse(parseJson(text));
    return found.success ? [found.data] : [];
  });
}

/** True when it accepts connections. */
async function answers({ socket }: DaemonRecord): Promise<boolean> {
  try {
    (await openSocket(socket, connectLimitMs)).close();
    return true;
  } catch {
    return false;
  }
}

/** True while one of its processes exists. */
async function isAlive({ mark }: DaemonRecord): Promise<boolean> {
  return (await liveProcesses()).some(({ daemon }) => daemon === mark);
}

/** Ends the agent with every command of its threads, and removes its record. */
async function endDaemon(dir: string, { id, pid, mark, socket }: DaemonRecord): Promise<void> {
  // The record may be old and its pid reused: only a group in which a process has the mark is
  // ended.
  const isMember = ({ daemon }: ProcessEntry) => daemon === mark;
  const live = (await liveProcesses()).filter(isMember);
  const leads = live.some(({ groupId }) => groupId === pid);
  await endTree({ group: leads ? pid : null, leads, isMember }, killLimitMs);
  await rm(socket, { force: true });
  await rm(join(dir, id), { recursive: true, force: true });
  await rm(join(dir, `${id}.json`), { force: true });
}

async function comesUp(record: DaemonRecord, ended: AbortSignal): Promise<boolean> {
  const end = performance.now() + startLimitMs;
  while (performance.now() < end && !ended.aborted) {
    if (await answers(record)) return true;
    await delay(pollMs);
  }
  return false;
}

async function startFailed(dir: string, id: string): Promise<SymphonyError> {
  const text = await readFile(join(dir, `${id}.log`), "utf8").catch(() => "");
  const missing = /command not found|No such file or directory/.test(text);
  const hint = "install codex, or set codex.command to its path";
  if (missing) {
    const message = "the agent's command was not found: install it, or set codex.command";
    return new SymphonyError("codex_not_found", message, { hint });
  }
  const log = join(dir, `${id}.log`);
  return new SymphonyError("port_exit", `the shared codex did not start; its output is in ${log}`, {
    hint: "codex.command must take --listen, as codex app-server does",
  });
}
