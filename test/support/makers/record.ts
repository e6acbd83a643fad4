import { type Batch, RecordFile } from "../../../src/core/journal/file.ts";
import { sourceOf } from "../../../src/core/journal/reading.ts";
import { Recorder, type RecorderOptions } from "../../../src/core/journal/recorder.ts";
import { Replay } from "../../../src/core/journal/replay.ts";
import { FakeClock } from "../fakes/fake-clock.ts";

/** A recorder without secrets, events and a limit of age, but for `options`. */
export function recorderFor(file: string, options: Partial<RecorderOptions> = {}): Recorder {
  return new Recorder({
    file,
    version: "1.0.0",
    clock: new FakeClock(),
    redact: (text) => text,
    secretsKnown: () => 0,
    lastEvent: () => 0,
    shown: () => ({ config: {}, origins: {} }),
    days: () => null,
    ...options,
  });
}

/** Every batch of the record, in order. */
export function batchesOf(file: RecordFile): Batch[] {
  const batches: Batch[] = [];
  for (let batch = file.batchAfter(0); batch; batch = file.batchAfter(batch.first)) {
    batches.push(batch);
  }
  return batches;
}

/** Every text of the record, decompressed. */
export function recordTexts(path: string): string {
  const file = RecordFile.open(path);
  const texts: string[] = [];
  for (const { id } of file.segments()) {
    for (let from = file.firstOf(id); from; from = file.checkpointAfter(from)) {
      texts.push(from.body, JSON.stringify(from));
    }
    for (
      let contents = file.contentsWith(id, Number.MAX_SAFE_INTEGER);
      contents !== null;
      contents = file.contentsWith(id, contents.first - 1)
    ) {
      texts.push(...contents.texts);
    }
  }
  texts.push(...batchesOf(file).map(({ body }) => body));
  file.close();
  return texts.join("\n");
}

/** Makes every decision of the record again; those that differ, and how many there are. */
export function replayedRecord(path: string) {
  const file = RecordFile.open(path);
  const differing: string[] = [];
  let decisions = 0;
  for (const { id } of file.segments()) {
    const checkpoint = file.firstOf(id);
    if (checkpoint === null) continue;
    const replay = new Replay({ checkpoint, source: sourceOf(file, checkpoint) });
    for (const { number, input, mark, recorded } of replay.decisions()) {
      decisions += 1;
      if (mark !== recorded) differing.push(`${number} ${input.type}: ${mark}, not ${recorded}`);
    }
    const last = file.checkpointBefore({ input: replay.input });
    if (last?.segment === id && last.input === replay.input && last.hash !== replay.hash()) {
      differing.push(`the state after ${replay.input}`);
    }
  }
  file.close();
  return { decisions, differing };
}
