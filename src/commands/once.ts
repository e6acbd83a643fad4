import type { Bus } from "../core/bus.ts";
import { exitCodes } from "./exit-codes.ts";

/** Watches how attempts end; the returned function gives the exit code of a `--once` run. */
export function onceOutcome(bus: Bus): () => number {
  let failed = 0;
  let blocked = 0;
  bus.subscribe({ filter: { types: ["attempt.ended", "issue.blocked"] } }, (event) => {
    if (event.type === "issue.blocked") blocked++;
    else if (event.data["outcome"] !== "succeeded") failed++;
  });
  return () => {
    if (blocked > 0) return exitCodes.needsPerson;
    return failed > 0 ? exitCodes.failed : exitCodes.done;
  };
}
