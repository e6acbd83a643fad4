import { setTimeout as pause } from "node:timers/promises";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";

// What a fleet needs of the engine between orchestrator and workers. Nothing else of core/fleet knows which engine it is.

/** Longest wait for the answer to one command. */
export const answerMs = 5_000;
/** Longest wait for the first of the parts that a reader asks for, and how many it gets at once. */
export const waitMs = 1_000;
export const readAtOnce = 64;
/** Of machines that ask to join: the oldest are dropped. Some are answered at once. */
export const maxRequests = 1_000;
export const answeredAtOnce = 20;

/** Of an error of TLS, on whichever engine: no wait mends it. */
export const ofTls: readonly (readonly [RegExp, string])[] = [
  [/altname/i, "its certificate is for another name than that in its URL"],
  [
    /certificate|self[- ]signed|ERR_TLS/i,
    "its certificate is not trusted: set NODE_EXTRA_CA_CERTS to the file of its authority",
  ],
];

/** The jobs of one worker, as the orchestrator sees them. */
export interface Queue {
  /** `instance`: the process of the worker that it is meant for. */
  add(run: string, instance: string): Promise<void>;
  /** One that a worker has taken stays until its lock has ended: it is tried for a minute. */
  drop(run: string): Promise<void>;
  /** Its worker never comes back: nothing of it is left when it resolves. */
  forget(): Promise<void>;
  close(): Promise<void>;
}

/** The jobs of one worker, as that sees them. */
export interface QueueWorker {
  run(): Promise<void>;
  isRunning(): boolean;
  close(force: boolean): Promise<void>;
}

/** A job of `bullmq`. */
export interface Job {
  readonly id?: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
  /** Resolves with 0 when the lock is not this token's any more. */
  extendLock(token: string, ms: number): Promise<number>;
}

export interface Taker {
  readonly worker: string;
  take(job: Job, token: string): Promise<void>;
  readonly lockMs: number;
  readonly concurrency: number;
}

/** A lease of a worker, as its engine has it; `presence` is sealed. */
export interface Lease {
  readonly worker: string;
  readonly epoch: string;
  /** The process that holds it. */
  readonly instance: string;
  readonly leaseMs: number;
  readonly presence: Buffer;
}

/**
 * `ok` or `ok MS` (the lead lasts for MS yet), `no lead`, `lead EPOCH` (another one leads), `gone` (it has expired), or `held`
 * (by another process).
 */
export type LeaseAnswer = string;

/** What the engine had at one moment. */
export interface Observed {
  /** `kept`, `taken` (nothing led before, or an earlier epoch of the same holder), or `held LEAD`. */
  readonly lead: string;
  /** Of each worker, sealed; null: it has no lease. */
  readonly presences: readonly (Buffer | null)[];
}

/** A part of a letter, in the stream from the server to a worker (`down`) or back (`up`). */
export interface Stream {
  readonly way: "up" | "down";
  readonly worker: string;
}

export interface Part {
  readonly run: string;
  readonly seq: number;
  readonly isLast: boolean;
  readonly data: Buffer;
}

/** Reads streams from their beginning, and deletes what was read. */
export interface Reader {
  /**
   * What was not read before, in the order of each stream; waits up to a second for the first. Rejects when the engine
   * does not answer: then it begins anew, and parts may come a second time.
   */
  next(streams: readonly Stream[]): Promise<readonly Part[]>;
  /** What came last is not needed any more. */
  done(): Promise<void>;
}

/** A machine asks to join; `sealed` with the secret of its invitation. */
export interface JoinRequest {
  readonly id: string;
  readonly invitation: string;
  readonly sealed: Buffer;
}

/** What the one side leaves for the other to look up: about a worker (`order`, `agents`, `joined`) or a run (`end`). */
export type Note = "order" | "agents" | "joined" | "end";

/** For people: what the engine is, and what of it endangers a fleet. */
export interface EngineFacts {
  readonly name: string;
  /** Its address, where the URL names those that know it. */
  readonly master?: string;
  /** What follows `the engine at ADDRESS`, and the command that mends it. */
  readonly faults: readonly (readonly [what: string, next: string])[];
}

/** The connections of one process to the engine. The engine counts the time of everything that expires. */
export interface Engine extends AsyncDisposable {
  /** Why nothing can be expected of it any more; null: it may answer. */
  readonly trouble: string | null;
  /** Its wall clock, epoch ms. */
  wall(): Promise<number>;

  /** Who leads, as `leadOf` writes it; null: no orchestrator does. */
  lead(): Promise<string | null>;
  /** Takes the lead, and reads every lease in the same moment: an engine that loses its data loses it before or after. */
  observe(lead: string, leaseMs: number, workers: readonly string[]): Promise<Observed>;
  /** Gives the lead up, if it is this one's. */
  leave(lead: string): Promise<void>;
  /** Takes the lease, unless another process holds it; `before`: an instance of this process that has ended. */
  claim(lease: Lease, before: string): Promise<LeaseAnswer>;
  /** Renews what is there; never makes it anew, so that a lease that was lost is noticed. */
  renew(lease: Lease): Promise<LeaseAnswer>;
  /** Anyone may claim the lease, and until it expires the orchestrator reads its presence. */
  giveBack(lease: Lease): Promise<LeaseAnswer>;

  /** null deletes it; `keptMs`: it expires then. */
  note(kind: Note, of: string, value: string | Buffer | null, keptMs?: number): Promise<void>;
  notes(kind: Note, of: readonly string[]): Promise<readonly (Buffer | null)[]>;

  /** Resolves when the engine has it, a second later at most while its reader is behind. A stream that no reader trims ends by itself. */
  append(stream: Stream, part: Part): Promise<void>;
  reader(): Reader;

  /** Resolves with the request's id. */
  ask(invitation: string, sealed: Buffer): Promise<string>;
  /** The oldest that were not deleted. */
  requests(): Promise<readonly JoinRequest[]>;
  deleteRequest(id: string): Promise<void>;

  queue(worker: string): Queue;
  /** Takes the jobs of one worker; renewing their locks is up to `take`. */
  taker(of: Taker): QueueWorker;
  /** How many jobs of the worker were not taken yet. */
  waiting(worker: string): Promise<number>;

  facts(): Promise<EngineFacts>;
}

/** How a process comes to its engine. */
export interface Opening {
  /** Of the URL, for people. */
  readonly address: string;
  readonly fleet: string;
  /** Of a database that has none: the server makes them, a worker needs them. */
  readonly tables: "make" | "need" | "any";
  /** What fails there without a caller. */
  readonly log?:
    | { warn(message: string, facts: Readonly<Record<string, unknown>>): void }
    | undefined;
}

/**
 * The wall clock of this machine minus that of the engine, ms. Of what an answer that took its time leaves open the least is
 * taken: a slow engine makes no clock wrong.
 */
export async function skewOf(
  engine: Pick<Engine, "wall">,
  clock: Pick<Clock, "wall">,
): Promise<number> {
  const before = clock.wall();
  const wall = await engine.wall();
  const after = clock.wall();
  if (wall >= before && wall <= after) return 0;
  return wall < before ? before - wall : after - wall;
}

/** What no wait mends; `why` says it of the engine. */
export function refused(address: string, why: string, cause: unknown): SymphonyError {
  return new SymphonyError("engine_refused", `the engine at ${address} refuses symphony: ${why}`, {
    cause,
    hint: "correct the URL of the engine, then start again",
  });
}

export function unavailable(address: string, what: string, cause: unknown): SymphonyError {
  const message = `the engine at ${address} does not answer: ${messageOf(cause)}`;
  return new SymphonyError("engine_unavailable", message, {
    cause,
    hint: `start ${what} there, or correct the address`,
  });
}

/** Parts of one stream that may wait in the engine for their reader. */
export const mostParts = 250;
const againMs = 50;
const longestMs = 1_000;

/**
 * A writer that is quicker than the reader waits here, so that what waits does not fill the engine and a short letter of
 * another attempt is not late. Not for long: the reader may be gone. `waiting` counts the parts now.
 */
export async function untilRoom(waiting: () => Promise<number>): Promise<void> {
  const end = performance.now() + longestMs;
  while (performance.now() < end && (await waiting().catch(() => 0)) > mostParts)
    await pause(againMs);
}
