import { messageOf, SymphonyError } from "../model/errors.ts";
import { clusterClient, namesCluster } from "./cluster.ts";
import {
  answeredAtOnce,
  answerMs,
  type Engine,
  type EngineFacts,
  type JoinRequest,
  type Lease,
  type LeaseAnswer,
  maxRequests,
  mostParts,
  type Note,
  type Observed,
  type Opening,
  ofTls,
  type Part,
  type Queue,
  type QueueWorker,
  type Reader,
  readAtOnce,
  refused,
  type Stream,
  type Taker,
  unavailable,
  untilRoom,
  waitMs,
} from "./engine.ts";
import { type JobsPlace, openQueue, openTaker } from "./jobs.ts";
import { loadRedis, type Redis, type RedisPackages } from "./packages.ts";
import { factsOf, unfitness } from "./redis-facts.ts";
import { after, type Entries, foundIn } from "./redis-parts.ts";
import { claimScript, giveBackScript, leaveScript, observeScript, renewScript } from "./scripts.ts";
import { namesSentinels, sentinelOptions } from "./sentinel.ts";

const connectMs = 10_000;
const longestPauseMs = 3_000;
/** A stream that no reader trims ends by itself. */
const streamSeconds = 3_600;

/** Errors that no wait mends, and what does. */
const final: readonly (readonly [RegExp, string])[] = [
  [
    /WRONGPASS|NOAUTH|invalid password|without any password/i,
    "the user or the password of its URL is wrong",
  ],
  [/NOPERM/i, "its user may not run a command that a fleet needs"],
  [/cluster support disabled/i, "it is no Redis Cluster: its URL begins with redis://"],
  ...ofTls,
];

/** The connections of one process to a Redis: one for commands, one that waits, and those of BullMQ. */
export class RedisEngine implements Engine {
  readonly #redis: Redis;
  /** For commands that wait: nothing else passes on it. */
  readonly #waiting: Redis;
  /** All keys begin with it; the braces keep them in one slot of a cluster. */
  readonly #prefix: string;
  readonly #loaded: RedisPackages;
  readonly #url: string;
  readonly #all: Redis[] = [];
  trouble: string | null = null;
  /** What a connection ended with last; a command says only how often it was tried. */
  #ended: unknown = null;
  /** What its sentinels have answered, if they name no master. */
  #noMaster: Error | null = null;

  private constructor(loaded: RedisPackages, url: string, fleet: string) {
    this.#loaded = loaded;
    this.#url = url;
    this.#prefix = `{symphony:${fleet}}`;
    this.#redis = this.#connection({ commandTimeout: answerMs });
    this.#waiting = this.#connection({});
  }

  /** Rejects as `openEngine`; `address` is the URL's, for people. */
  static async open(
    url: string,
    { address, fleet }: Pick<Opening, "address" | "fleet">,
  ): Promise<RedisEngine> {
    const engine = new RedisEngine(await loadRedis(), url, fleet);
    try {
      await engine.#ready(address);
      await engine.#requireFit(address);
      return engine;
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw error;
    }
  }

  async wall(): Promise<number> {
    // Of the node that has the keys: TIME alone would ask any node of a cluster.
    const found = await this.#redis.eval("return redis.call('time')", 1, this.#key("lead"));
    const [seconds = 0, micros = 0] = Array.isArray(found) ? found.map(Number) : [];
    return seconds * 1_000 + micros / 1_000;
  }

  lead(): Promise<string | null> {
    return this.#redis.get(this.#key("lead"));
  }

  async observe(lead: string, leaseMs: number, workers: readonly string[]): Promise<Observed> {
    const keys = [this.#key("lead"), ...workers.map((id) => this.#key("worker", id))];
    const found = await this.#redis.evalBuffer(observeScript, keys.length, ...keys, lead, leaseMs);
    const [answer, ...presences] = Array.isArray(found) ? found : [];
    return {
      lead: String(answer),
      presences: workers.map((_, at) => (Buffer.isBuffer(presences[at]) ? presences[at] : null)),
    };
  }

  async leave(lead: string): Promise<void> {
    await this.#evaluated(leaveScript, [this.#key("lead")], [lead]);
  }

  claim(lease: Lease, before: string): Promise<LeaseAnswer> {
    const { worker, epoch, instance, leaseMs, presence } = lease;
    const keys = [this.#key("lead"), this.#key("worker", worker)];
    return this.#evaluated(claimScript, keys, [epoch, instance, leaseMs, presence, before]);
  }

  renew({ worker, epoch, instance, leaseMs, presence }: Lease): Promise<LeaseAnswer> {
    const keys = [this.#key("lead"), this.#key("worker", worker)];
    return this.#evaluated(renewScript, keys, [epoch, instance, leaseMs, presence]);
  }

  giveBack({ worker, instance, leaseMs, presence }: Lease): Promise<LeaseAnswer> {
    const keys = [this.#key("worker", worker)];
    return this.#evaluated(giveBackScript, keys, [instance, leaseMs, presence]);
  }

  async note(kind: Note, of: string, value: string | Buffer | null, keptMs?: number) {
    const at = this.#key(kind, of);
    if (value === null) await this.#redis.del(at);
    else if (keptMs === undefined) await this.#redis.set(at, value);
    else await this.#redis.set(at, value, "PX", keptMs);
  }

  async notes(kind: Note, of: readonly string[]): Promise<readonly (Buffer | null)[]> {
    if (of.length === 0) return [];
    return this.#redis.mgetBuffer(...of.map((one) => this.#key(kind, one)));
  }

  async append(stream: Stream, { run, seq, isLast, data }: Part): Promise<void> {
    const name = this.#nameOf(stream);
    const answers = await this.#redis
      .pipeline()
      .xadd(name, "*", "r", run, "s", seq, "l", isLast ? 1 : 0, "d", data)
      .expire(name, streamSeconds)
      .xlen(name)
      .exec();
    const error = answers?.find(([failure]) => failure !== null)?.[0];
    if (error) throw error;
    if (Number(answers?.[2]?.[1]) > mostParts) await untilRoom(() => this.#redis.xlen(name));
  }

  reader(): Reader {
    const last = new Map<string, string>();
    let read: readonly string[] = [];
    return {
      next: async (streams) => {
        const names = streams.map((stream) => this.#nameOf(stream));
        const found = await this.#read(names, last).catch((error: unknown) => {
          // An engine that came back empty counts from the beginning again.
          last.clear();
          throw error;
        });
        read = found.map(([name]) => name);
        return found.flatMap(([name, entries]) => {
          for (const { id } of entries) last.set(name, id);
          return entries.flatMap(({ part }) => part ?? []);
        });
      },
      done: async () => {
        for (const name of read) {
          const id = last.get(name);
          if (id !== undefined) await this.#redis.xtrim(name, "MINID", after(id)).catch(() => {});
        }
      },
    };
  }

  async ask(invitation: string, sealed: Buffer): Promise<string> {
    const inbox = this.#key("joins");
    const entry = ["invitation", invitation, "request", sealed] as const;
    const id = String(await this.#redis.xadd(inbox, "MAXLEN", "~", maxRequests, "*", ...entry));
    await this.#redis.expire(inbox, streamSeconds);
    return id;
  }

  async requests(): Promise<readonly JoinRequest[]> {
    const found = await this.#redis.xrangeBuffer(
      this.#key("joins"),
      "-",
      "+",
      "COUNT",
      answeredAtOnce,
    );
    return found.map(([id, [, invitation, , sealed]]) => {
      const none = Buffer.alloc(0);
      return { id: String(id), invitation: String(invitation ?? ""), sealed: sealed ?? none };
    });
  }

  async deleteRequest(id: string): Promise<void> {
    await this.#redis.xdel(this.#key("joins"), id);
  }

  queue(worker: string): Queue {
    return openQueue(this.#loaded.bullmq, worker, this.#jobs());
  }

  taker(of: Taker): QueueWorker {
    return openTaker(this.#loaded.bullmq, of, this.#jobs());
  }

  waiting(worker: string): Promise<number> {
    return this.#redis.llen(this.#key(worker, "wait"));
  }

  facts(): Promise<EngineFacts> {
    return factsOf(this.#redis, this.#url);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#all) one.disconnect();
  }

  #key(...parts: readonly string[]): string {
    return [this.#prefix, ...parts].join(":");
  }

  #nameOf({ way, worker }: Stream): string {
    return this.#key(way, worker);
  }

  async #evaluated(
    script: string,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
  ): Promise<string> {
    return String(await this.#redis.eval(script, keys.length, ...keys, ...args));
  }

  /** A connection that says nothing although it should is given up and made anew. */
  async #read(names: readonly string[], last: ReadonlyMap<string, string>): Promise<Entries> {
    const places = [...names, ...names.map((name) => last.get(name) ?? "0-0")];
    const late = setTimeout(() => this.#waiting.disconnect(true), waitMs + answerMs);
    try {
      const how = ["COUNT", readAtOnce, "BLOCK", waitMs, "STREAMS"] as const;
      return foundIn(await this.#waiting.xreadBuffer(...how, ...places));
    } finally {
      clearTimeout(late);
    }
  }

  #jobs(): JobsPlace {
    const connection = this.#connection({ maxRetriesPerRequest: null });
    return { options: { connection, prefix: this.#prefix } };
  }

  #connection(options: Readonly<Record<string, unknown>>): Redis {
    const all = {
      ...{ connectTimeout: connectMs, keepAlive: 10_000, maxRetriesPerRequest: 1, ...options },
      // A way that is lost silently: TCP itself would notice after a quarter of an hour. No command waits for longer.
      socketTimeout: answerMs,
      // A master that is one no more: the next connection finds the new one.
      reconnectOnError: ({ message }: Error) => /READONLY/.test(message),
      // Workers of one fleet do not come back in the same instant.
      retryStrategy: (times: number) =>
        Math.min(100 * 2 ** Math.min(times, 5), longestPauseMs) * (0.5 + Math.random()),
    };
    const { Redis } = this.#loaded.ioredis;
    const made = namesCluster(this.#url)
      ? clusterClient(this.#loaded.ioredis, this.#url, all)
      : namesSentinels(this.#url)
        ? new Redis({ ...all, ...sentinelOptions(this.#url) })
        : new Redis(this.#url, all);
    made.on("error", (failure: Error & { readonly lastNodeError?: Error }) => {
      const error = failure.lastNodeError ?? failure;
      this.trouble = finalOf(error);
      this.#ended = error;
    });
    made.on("ready", () => {
      this.trouble = null;
    });
    made.on("sentinelError", ({ message }) => {
      const isUnknown = /invalid reply|No such master/.test(message);
      this.#noMaster = new Error(isUnknown ? "its sentinels know no such master" : message);
    });
    this.#all.push(made);
    return made;
  }

  async #ready(address: string): Promise<void> {
    try {
      // A node of a cluster that has other keys answers too, and is refused by name.
      await this.wall().catch((error: unknown) => {
        if (!/^(MOVED|ASK) /.test(messageOf(error))) throw error;
      });
    } catch (error) {
      const never = finalOf(error) ?? this.trouble ?? finalOf(this.#noMaster);
      if (never !== null) throw refused(address, never, error);
      const ended = this.#noMaster ?? this.#ended ?? error;
      // What it says before it closes a connection is often not read any more.
      const isClosed = /EPIPE|ECONNRESET|max number of clients/.test(messageOf(ended));
      const full = "it closes new connections: it may have as many as its maxclients allows";
      throw unavailable(address, "Redis", isClosed ? new Error(full, { cause: ended }) : ended);
    }
  }

  async #requireFit(address: string): Promise<void> {
    const why = await unfitness(this.#redis, this.#url, this.#key("none"));
    if (why === null) return;
    const [what, hint] = why;
    throw new SymphonyError("engine_refused", `the engine at ${address} ${what}`, { hint });
  }
}

function finalOf(error: unknown): string | null {
  if (error === null) return null;
  const text = messageOf(error);
  return final.find(([form]) => form.test(text))?.[1] ?? null;
}
