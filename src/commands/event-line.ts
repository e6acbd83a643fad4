import type { StreamEvent, StreamItem } from "../client/events.ts";
import { jsonText } from "./json-text.ts";
import type { Paint, Style } from "./paint.ts";
import { plainLine } from "./terminal.ts";

const styles: readonly (readonly [pattern: RegExp, style: Style])[] = [
  [/failed|error|rejected/, "red"],
  [/blocked|requested|held/, "magenta"],
  [/retrying/, "yellow"],
  [/completed|recovered|delivered/, "green"],
];

/** One line for people: time of day, issue, type, message. */
export function eventLine(event: StreamEvent, paint: Paint): string {
  const { at, type, issue_identifier: issue, message } = event;
  const time = new Date(at).toTimeString().slice(0, 8);
  const style = styles.find(([pattern]) => pattern.test(type))?.[1] ?? "cyan";
  const parts = [
    paint.dim(time),
    issue === null ? "-" : plainLine(issue),
    paint[style](plainLine(type)),
  ];
  return [...parts, plainLine(message)].join("  ").trimEnd();
}

/** The line of a stream: NDJSON under `--json`, with `{"type":"gap","oldest_seq":N}` where events are gone. */
export function itemLine(item: StreamItem, json: boolean, paint: Paint): string {
  if (item.kind === "gap") {
    return json
      ? jsonText({ type: "gap", oldest_seq: item.oldestSeq }, 0)
      : paint.yellow(`--- gap: events before ${item.oldestSeq} are no longer kept ---`);
  }
  return json ? jsonText(item.event, 0) : eventLine(item.event, paint);
}
