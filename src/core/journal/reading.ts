import { SymphonyError } from "../model/errors.ts";
import type { Checkpoint, Moment, RecordFile } from "./file.ts";
import { Replay, type Source } from "./replay.ts";

/** How long a replay may keep other work waiting. */
const sliceMs = 8;

/** The segment of a checkpoint, from there to its end. */
export function sourceOf(file: RecordFile, { segment }: Checkpoint): Source {
  const end = file.endOf(segment);
  return {
    contentsWith: (number) => file.contentsWith(segment, number),
    batchAfter(last) {
      const batch = file.batchAfter(last);
      return batch !== null && batch.first <= end ? batch : null;
    },
  };
}

/**
 * The state as it was at `moment`: after the last decision that was not later. Rejects with `not_recorded` when the record
 * begins later. Other work gets its turn while it is reached.
 */
export async function stateAt(file: RecordFile, moment: Moment): Promise<Replay> {
  const checkpoint = file.checkpointBefore(moment);
  if (checkpoint === null) throw notRecorded(file);
  const replay = new Replay({ checkpoint, source: sourceOf(file, checkpoint) });
  let slice = performance.now();
  for (const _ of replay.decisions(moment)) {
    if (performance.now() - slice < sliceMs) continue;
    await new Promise((resolve) => setImmediate(resolve));
    slice = performance.now();
  }
  return replay;
}

function notRecorded(file: RecordFile): SymphonyError {
  const [oldest] = file.segments();
  const begins = oldest ? `it begins at ${new Date(oldest.at).toISOString()}` : "it is empty";
  return new SymphonyError("not_recorded", `the record does not reach back that far: ${begins}`, {
    hint: "history.retention_days says how long it is kept",
  });
}
