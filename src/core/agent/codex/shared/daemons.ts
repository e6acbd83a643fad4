import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../../clock.ts";
import { messageOf, SymphonyError } from "../../../model/errors.ts";
import {
  answers,
  type DaemonRecord,
  endDaemon,
  isAlive,
  type Launch,
  recordedDaemons,
  saveRecord,
  startDaemon,
} from "./daemon.ts";

const beatsPerLimit = 5;
const longestBeatMs = 10_000;

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
  /** The runs that have a thread in it. */
  readonly runs: Set<string>;
}

/** The shared agents of one data directory. One server owns them at a time. */
export class Daemons {
  readonly #options: DaemonsOptions;
  readonly #running = new Map<string, Daemon>();
  /** Which agent had a thread last: for a while no other one may write to it. */
  readonly #lastHosts = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();
  #beats = 0;
  #cancelBeat: () => void = () => {};

  constructor(options: DaemonsOptions) {
    this.#options = options;
  }

  /** Takes up what an earlier server left, and ends what of it does not answer. Rejects when `signal` aborts. */
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
   * An agent with room for one more run, which `runId` takes at once; a new one is started when there is none.
   * Rejects with `codex_not_found` or `port_exit`.
   */
  acquire(
    launch: Launch,
    place: { runId: string; threadId: string | null; room: number },
  ): Promise<Daemon> {
    // One after the other: two that come together must not both start an agent.
    const mine = this.#turn.then(() => this.#acquire(launch, place));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** The run's thread is over, or goes on without us. */
  async release(daemon: Daemon, runId: string, configHash: string): Promise<void> {
    daemon.runs.delete(runId);
    // Of an old configuration, nothing new will come to it.
    if (daemon.runs.size === 0 && daemon.record.config_hash !== configHash) await this.end(daemon);
  }

  remember(threadId: string, daemon: Daemon): void {
    this.#lastHosts.delete(threadId);
    this.#lastHosts.set(threadId, daemon.record.id);
    const [oldest] = this.#lastHosts.keys();
    if (this.#lastHosts.size > rememberedThreads && oldest) this.#lastHosts.delete(oldest);
  }

  /** The version, once it said so. */
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

  /** Stops saying that a server is there; what runs goes on for its limit. */
  close(): void {
    this.#cancelBeat();
  }

  async #acquire(
    launch: Launch,
    { runId, threadId, room }: { runId: string; threadId: string | null; room: number },
  ): Promise<Daemon> {
    const fit = this.all
      .filter(({ record, runs }) => record.config_hash === launch.configHash && runs.size < room)
      .sort((a, b) => b.runs.size - a.runs.size);
    const holder = this.#lastHosts.get(threadId ?? "");
    const isHolder = (one: Daemon) => one.record.id === holder;
    const daemon =
      (await this.#firstSound([...fit.filter(isHolder), ...fit.filter((one) => !isHolder(one))])) ??
      (await this.#start(launch));
    daemon.runs.add(runId);
    return daemon;
  }

  /** One that is only slow keeps its threads; one that is gone is forgotten. */
  async #firstSound(daemons: readonly Daemon[]): Promise<Daemon | null> {
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
    const beatMs = Math.min(longestBeatMs, ...limits);
    this.#cancelBeat = clock.after(beatMs, () => void this.#beat());
  }
}

const rememberedThreads = 10_000;

/** Nobody holds the thread any more. */
export function daemonGone(id: string): SymphonyError {
  return new SymphonyError("codex_daemon_lost", `the shared codex ${id} is gone`, {
    details: { daemon: id },
  });
}
