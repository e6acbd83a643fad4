import { type Batch, RecordFile } from "../../../src/core/journal/file.ts";

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
  const file = new RecordFile(path);
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
