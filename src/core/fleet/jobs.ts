import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import type { Queue, QueueWorker, Taker } from "./engine.ts";
import type { Backend, Bull } from "./packages.ts";

// The queues of workers: BullMQ, on whichever engine.

/** One attempt at a job, and nothing of it is left when it has ended. */
const kept = { attempts: 1, removeOnComplete: true, removeOnFail: true };
/** What became of jobs, which nothing here reads. */
const streams = { events: { maxLen: 256 } };
const retryTakingMs = 500;
const dropTries = 12;
const dropAgainMs = 5_000;

/** Where BullMQ keeps its jobs; without a backend in Redis. */
export interface JobsPlace {
  readonly options: object;
  readonly backend?: Backend;
}

export function openQueue({ Queue }: Bull, worker: string, { options, backend }: JobsPlace): Queue {
  const queue = new Queue(worker, { ...options, streams }, backend);
  queue.on("error", () => {});
  let isClosed = false;
  return {
    async add(run, instance) {
      // References only: what an attempt needs travels sealed.
      const mark = randomUUID();
      await queue.add("attempt", { mark, instance }, { ...kept, jobId: run });
      // An id that exists already is dropped silently, and the job that comes back looks new.
      const there = await queue.getJob(run);
      // One that is not there any more was taken and has ended.
      if (there !== undefined && there.data["mark"] !== mark)
        throw new Error(`the engine has another job ${run}: an id came twice, which is a bug`);
    },
    async drop(run) {
      // The lock of a worker that died ends by itself; until then its job stays.
      for (let left = dropTries; left > 0 && !isClosed; left--) {
        const found = await queue.remove(run).catch(() => null);
        if (found === 1 || (await queue.getJob(run).catch(() => null)) === undefined) return;
        await setTimeout(dropAgainMs, undefined, { ref: false });
      }
    },
    forget: () => queue.obliterate({ force: true }),
    close() {
      isClosed = true;
      return queue.close();
    },
  };
}

export function openTaker(
  { Worker }: Bull,
  { worker, take, lockMs, concurrency }: Taker,
  { options, backend }: JobsPlace,
): QueueWorker {
  const settings = {
    ...options,
    concurrency,
    autorun: false,
    // By a monotonic timer of its own: BullMQ reckons by the wall clock.
    skipLockRenewal: true,
    // A job belongs to one worker; what becomes of it is decided by the orchestrator alone.
    skipStalledCheck: true,
    // After the engine was away it waits this long, 15 s by default: a whole lease.
    runRetryDelay: retryTakingMs,
    // Seconds: a wake-up that an engine lost with its data delays a job by no more.
    drainDelay: 1,
    lockDuration: lockMs,
    maxStalledCount: 0,
  };
  const taker = new Worker(worker, async (job, token) => take(job, token ?? ""), settings, backend);
  taker.on("error", () => {});
  return taker;
}
