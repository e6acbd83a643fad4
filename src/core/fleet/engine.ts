import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { type Job, loadPackages, type Packages, type Redis } from "./packages.ts";

// The engine between orchestrator and workers: BullMQ on Redis. Nothing here is loaded without a fleet.

/** The jobs of one worker, as the orchestrator sees them. */
export interface Queue {
  /** `instance`: the process of the worker that it is meant for. */
  add(run: string, instance: string): Promise<void>;
  /** Does nothing for one that a worker has taken. */
  drop(run: string): Promise<void>;
  close(): Promise<void>;
}

/** The jobs of one worker, as that sees them. */
export interface QueueWorker {
  run(): Promise<void>;
  isRunning(): boolean;
  close(force: boolean): Promise<void>;
}

/** One attempt at a job, and nothing of it is left when it has ended. */
const kept = { attempts: 1, removeOnComplete: true, removeOnFail: true };

/** Longest wait for the answer to one command. */
export const answerMs = 5_000;
const connectMs = 10_000;
const retryTakingMs = 500;
const longestPauseMs = 3_000;

/** Errors that no wait mends, and what does. */
const final: readonly (readonly [RegExp, string])[] = [
  [
    /WRONGPASS|NOAUTH|invalid password|without any password/i,
    "the user or the password of its URL is wrong",
  ],
  [/NOPERM/i, "its user may not run a command that a fleet needs"],
  [
    /certificate|self[- ]signed|ERR_TLS/i,
    "its certificate is not trusted: set NODE_EXTRA_CA_CERTS to the file of its authority",
  ],
];

/** The connections of one process to the engine: one for commands, one that waits, and those of BullMQ. */
export class Engine implements AsyncDisposable {
  readonly redis: Redis;
  /** For commands that wait: nothing else passes on it. */
  readonly waiting: Redis;
  /** All keys begin with it; the braces keep them in one slot of a cluster. */
  readonly prefix: string;
  readonly #loaded: Packages;
  readonly #url: string;
  readonly #others: Redis[] = [];
  /** Why nothing can be expected of it any more. */
  trouble: string | null = null;

  private constructor(loaded: Packages, url: string, fleet: string) {
    this.#loaded = loaded;
    this.#url = url;
    this.prefix = `{symphony:${fleet}}`;
    this.redis = this.#connection({ commandTimeout: answerMs });
    this.waiting = this.#connection({});
  }

  /**
   * Connects and checks the engine. Rejects with `engine_missing` (no package), `engine_refused` (what no wait mends: a
   * password, a right, a certificate, an eviction policy) or `engine_unavailable`.
   */
  static async open(url: string, fleet: string): Promise<Engine> {
    const address = addressOf(url);
    const engine = new Engine(await loadPackages(), url, fleet);
    try {
      await engine.#ready(address);
      await engine.#requirePolicy(address);
      return engine;
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw error;
    }
  }

  key(...parts: readonly string[]): string {
    return [this.prefix, ...parts].join(":");
  }

  /** The wall clock of this machine minus that of the engine, ms. */
  async skewMs(clock: Pick<Clock, "wall">): Promise<number> {
    const before = clock.wall();
    const [seconds = 0, micros = 0] = (await this.redis.time()).map(Number);
    return (before + clock.wall()) / 2 - (seconds * 1_000 + micros / 1_000);
  }

  /** The queue of one worker. */
  queue(worker: string): Queue {
    const connection = this.#connection({ maxRetriesPerRequest: null });
    const queue = new this.#loaded.bullmq.Queue(worker, { connection, prefix: this.prefix });
    queue.on("error", () => {});
    return {
      async add(run, instance) {
        // References only: what an attempt needs travels sealed.
        const mark = randomUUID();
        await queue.add("attempt", { mark, instance }, { ...kept, jobId: run });
        // An id that exists already is dropped silently, and the job that comes back looks new.
        const there = await queue.getJob(run);
        if (there === undefined) throw new Error(`the engine has no job ${run}`);
        if (there.data["mark"] !== mark)
          throw new Error(`the engine has another job ${run}: an id came twice, which is a bug`);
      },
      async drop(run) {
        await queue.remove(run).catch(() => {});
      },
      close: () => queue.close(),
    };
  }

  /** Takes the jobs of one worker; renewing their locks is up to `take`. */
  taker(
    worker: string,
    take: (job: Job, token: string) => Promise<void>,
    lockMs: number,
    concurrency: number,
  ): QueueWorker {
    const connection = this.#connection({ maxRetriesPerRequest: null });
    const taker = new this.#loaded.bullmq.Worker(
      worker,
      async (job: Job, token?: string) => take(job, token ?? ""),
      {
        ...{ connection, prefix: this.prefix, concurrency, autorun: false },
        // By a monotonic timer of its own: BullMQ reckons by the wall clock.
        skipLockRenewal: true,
        // A job belongs to one worker; what becomes of it is decided by the orchestrator alone.
        skipStalledCheck: true,
        // After the engine was away it waits this long, 15 s by default: a whole lease.
        runRetryDelay: retryTakingMs,
        // Seconds: a wake-up that an engine lost with its keys delays a job by no more.
        drainDelay: 1,
        lockDuration: lockMs,
        maxStalledCount: 0,
      },
    );
    taker.on("error", () => {});
    return taker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of [this.redis, this.waiting, ...this.#others]) one.disconnect();
  }

  #connection(options: Readonly<Record<string, unknown>>): Redis {
    const made = new this.#loaded.ioredis.Redis(this.#url, {
      ...{ connectTimeout: connectMs, keepAlive: 10_000, maxRetriesPerRequest: 1, ...options },
      // Workers of one fleet do not come back in the same instant.
      retryStrategy: (times: number) =>
        Math.min(100 * 2 ** Math.min(times, 5), longestPauseMs) * (0.5 + Math.random()),
    });
    made.on("error", (error: Error) => {
      this.trouble = finalOf(error);
    });
    made.on("ready", () => {
      this.trouble = null;
    });
    this.#others.push(made);
    return made;
  }

  async #ready(address: string): Promise<void> {
    try {
      await this.redis.time();
      await this.redis.eval("return 1", 0);
    } catch (error) {
      const never = finalOf(error) ?? this.trouble;
      if (never !== null) throw refused(address, never, error);
      throw new SymphonyError(
        "engine_unavailable",
        `the engine at ${address} does not answer: ${messageOf(error)}`,
        {
          cause: error,
          hint: "start Redis there, or correct the address",
        },
      );
    }
  }

  /** Locks expire by themselves, so every policy but one may evict a lease. A policy that may not be read is taken as it is. */
  async #requirePolicy(address: string): Promise<void> {
    const policy = await this.redis.config("GET", "maxmemory-policy").catch(() => null);
    const value = Array.isArray(policy) ? String(policy[1]) : "noeviction";
    if (value === "noeviction") return;
    throw new SymphonyError(
      "engine_refused",
      `the engine at ${address} evicts keys when its memory is full (maxmemory-policy ${value}): a lease could vanish`,
      {
        hint: "redis-cli config set maxmemory-policy noeviction",
      },
    );
  }
}

function finalOf(error: unknown): string | null {
  const text = messageOf(error);
  return final.find(([form]) => form.test(text))?.[1] ?? null;
}

function refused(address: string, why: string, cause: unknown): SymphonyError {
  return new SymphonyError("engine_refused", `the engine at ${address} refuses symphony: ${why}`, {
    cause,
    hint: "correct the URL of the engine, then start again",
  });
}

/**
 * The address of the engine without user and password, for people. Throws `invalid_config` for a URL that no fleet can use.
 */
export function addressOf(text: string): string {
  const url = URL.parse(text);
  if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine must begin with redis:// or rediss:// and name a host",
      {
        hint: "such as rediss://user:password@redis.example.com:6379/0, kept in a secret: symphony secrets add FLEET_URL",
      },
    );
  }
  if (url.search !== "" || url.hash !== "") {
    throw new SymphonyError(
      "invalid_config",
      "the URL of the engine may have no query: each parameter would be an option of its client",
      { hint: "leave out what follows the number of the database" },
    );
  }
  return `${url.protocol}//${url.host}${url.pathname === "/" ? "" : url.pathname}`;
}
