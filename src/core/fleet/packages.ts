import { SymphonyError } from "../model/errors.ts";
import type { Job } from "./engine.ts";

// The optional packages of a fleet, and what is used of them. They are described here, not imported by their types:
// symphony is checked and built without them.

/** Of a client of `ioredis`. */
export interface Redis {
  get(key: string): Promise<string | null>;
  mgetBuffer(...keys: readonly string[]): Promise<readonly (Buffer | null)[]>;
  set(
    key: string,
    value: string | Buffer,
    ...options: readonly (string | number)[]
  ): Promise<unknown>;
  del(key: string): Promise<number>;
  expire(key: string, seconds: number): Promise<number>;
  eval(
    script: string,
    keys: number,
    ...args: readonly (string | number | Buffer)[]
  ): Promise<unknown>;
  evalBuffer(
    script: string,
    keys: number,
    ...args: readonly (string | number | Buffer)[]
  ): Promise<unknown>;
  llen(list: string): Promise<number>;
  info(): Promise<string>;
  config(...args: readonly string[]): Promise<unknown>;
  cluster(what: "INFO"): Promise<string>;
  xadd(stream: string, ...args: readonly (string | number | Buffer)[]): Promise<unknown>;
  xlen(stream: string): Promise<number>;
  xdel(stream: string, id: string | Buffer): Promise<number>;
  xtrim(stream: string, ...args: readonly (string | number)[]): Promise<number>;
  xrangeBuffer(
    stream: string,
    ...args: readonly (string | number)[]
  ): Promise<readonly [Buffer, readonly Buffer[]][]>;
  xreadBuffer(...args: readonly (string | number)[]): Promise<unknown>;
  pipeline(): Pipeline;
  disconnect(reconnect?: boolean): void;
  /** Of a cluster. */
  nodes?(): readonly Redis[];
  readonly stream?: { readonly remoteAddress?: string; readonly remotePort?: number };
  on(event: "error" | "sentinelError", listener: (error: Error) => void): unknown;
  on(event: "ready", listener: () => void): unknown;
}

interface ClusterClient extends Redis {
  sendCommand(command: { setTimeout(ms: number): void }, ...more: readonly unknown[]): unknown;
}

interface Pipeline {
  xadd(stream: string, ...args: readonly (string | number | Buffer)[]): Pipeline;
  expire(key: string, seconds: number): Pipeline;
  xlen(stream: string): Pipeline;
  exec(): Promise<readonly (readonly [Error | null, unknown])[] | null>;
}

interface BullQueue {
  add(name: string, data: object, options: object): Promise<Job>;
  getJob(id: string): Promise<Job | undefined>;
  remove(id: string): Promise<unknown>;
  obliterate(how: { readonly force: boolean }): Promise<void>;
  close(): Promise<void>;
  on(event: "error", listener: () => void): unknown;
}

interface BullWorker {
  run(): Promise<void>;
  isRunning(): boolean;
  close(force: boolean): Promise<void>;
  on(event: "error", listener: () => void): unknown;
}

/** Keeps jobs elsewhere than in Redis. */
export type Backend = (name: string, options: object, more?: object) => unknown;

export interface Bull {
  readonly Queue: new (name: string, options: object, backend?: Backend) => BullQueue;
  readonly Worker: new (
    name: string,
    take: (job: Job, token?: string) => Promise<void>,
    options: object,
    backend?: Backend,
  ) => BullWorker;
}

export interface RedisPackages {
  readonly bullmq: Bull;
  readonly ioredis: {
    readonly Redis: new (...given: readonly (string | object)[]) => Redis;
    readonly Cluster: new (nodes: readonly object[], options: object) => ClusterClient;
  };
}

export interface Row {
  readonly [column: string]: unknown;
}

/** Of `pg`: a connection, or a pool of them. */
export interface Pg {
  query(text: string, values?: readonly unknown[]): Promise<{ readonly rows: readonly Row[] }>;
  end(): Promise<void>;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  on(event: "notification", listener: (message: { channel: string }) => void): unknown;
}

export interface PgClient extends Pg {
  connect(): Promise<unknown>;
}

export interface PgPool extends Pg {
  connect(): Promise<Pg & { release(): void }>;
}

export interface PostgresPackages {
  readonly bullmq: Bull & {
    readonly createPostgresBackend: Backend;
    runMigrations(client: Pg, schema: string): Promise<number>;
  };
  readonly pg: {
    readonly Pool: new (settings: object) => PgPool;
    readonly Client: new (settings: object) => PgClient;
  };
}

/** Names in variables: neither the compiler nor the bundler looks for them. */
const names = { bullmq: "bullmq", ioredis: "ioredis", pg: "pg" };

/** Rejects with `engine_missing` when the packages are not installed. */
export async function loadRedis(): Promise<RedisPackages> {
  try {
    const [bullmq, ioredis] = await Promise.all([import(names.bullmq), import(names.ioredis)]);
    return { bullmq, ioredis };
  } catch (cause) {
    throw missing("a fleet", "bullmq@6.7 ioredis@6", cause);
  }
}

/** Rejects with `engine_missing` when the packages are not installed. */
export async function loadPostgres(): Promise<PostgresPackages> {
  try {
    const [bullmq, pg] = await Promise.all([import(names.bullmq), import(names.pg)]);
    return { bullmq, pg: pg.default };
  } catch (cause) {
    throw missing("a fleet on PostgreSQL", "bullmq@6.7 pg@8", cause);
  }
}

/** `wanted`: what `npm install` gets. */
function missing(who: string, wanted: string, cause: unknown): SymphonyError {
  const packages = wanted.replaceAll(/@\S+/g, "").replace(" ", " and ");
  const message = `${who} needs the packages ${packages}, which are not installed`;
  return new SymphonyError("engine_missing", message, {
    cause,
    hint: `npm install --global ${wanted}, next to symphony itself`,
  });
}
