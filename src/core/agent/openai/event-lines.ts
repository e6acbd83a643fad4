import { isObject, parseJson } from "../../text/text.ts";

// The stream of events of a model, as its client can read it.

type Bytes = ReadableStream<Uint8Array<ArrayBuffer>>;

/** Lines that only keep a connection alive; the client would read them as events without JSON. */
const empty =
  /^(?:data:\s*(?:ping|heartbeat|keep-?alive)?|event:\s*(?:ping|heartbeat|keep-?alive))\s*$/i;
const done = /^data:\s*\[DONE\]\s*$/;

/**
 * The body with its lines as `\n`, without those that only keep the connection alive; `ended` is called for the line by which
 * a provider says that its answer is whole.
 */
export function eventLines(body: Bytes, ended: () => void): Bytes {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  /** The pieces of the line that has not ended: together they are as long as the whole answer where no line ends. */
  let open: string[] = [];
  /** A `\r` at the end of a piece, which may be the first half of an end of line. */
  let half = "";
  let before = "";
  const whole = (lines: readonly string[]) =>
    lines
      .filter((line) => {
        if (done.test(line)) ended();
        return !empty.test(line);
      })
      .map((written) => {
        const line = readable(written, before);
        // Some servers leave out the empty line that ends an event.
        const isNext = line.startsWith("data:") && before.startsWith("data:");
        const ends = isNext && parseJson(before.slice(5)) !== undefined;
        before = line;
        return `${ends ? "\n" : ""}${line}\n`;
      })
      .join("");
  const filter = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(piece, controller) {
      const read = `${half}${decoder.decode(piece, { stream: true })}`;
      half = read.endsWith("\r") ? "\r" : "";
      const [first = "", ...lines] = read.slice(0, read.length - half.length).split(/\r\n?|\n/);
      open.push(first);
      const last = lines.pop();
      if (last === undefined) return;
      const text = whole([open.join(""), ...lines]);
      open = [last];
      if (text !== "") controller.enqueue(encoder.encode(text));
    },
    flush(controller) {
      const text = whole(`${open.join("")}${half}${decoder.decode()}`.split(/\r\n?|\n/));
      controller.enqueue(encoder.encode(`${text}\n`));
    },
  });
  return body.pipeThrough(filter);
}

/** A line whose event the client cannot read: an error in plain text, or a type that only the line before names. */
function readable(line: string, before: string): string {
  const [, value = "", words] = /^data:\s*((?:([a-z]).*)|\{.*)$/i.exec(line) ?? [];
  if (words !== undefined && !before.startsWith("data:")) {
    return `data: ${JSON.stringify({ type: "error", error: { message: value } })}`;
  }
  const type = /^event:\s*(response\.[a-z_.]+)\s*$/.exec(before)?.[1];
  if (type === undefined || value === "" || value.startsWith('{"type":')) return line;
  const event = parseJson(value);
  return isObject(event) && event["type"] === undefined
    ? `data: ${JSON.stringify({ type, ...event })}`
    : line;
}

/** Whether the body begins as a document, JSON or a page, and not as a stream of events; with the body as it was. */
export async function isDocument(
  body: Bytes,
): Promise<{ readonly is: boolean; readonly body: Bytes }> {
  const reader = body.getReader();
  const read: Uint8Array<ArrayBuffer>[] = [];
  let start = "";
  while (start === "") {
    const { value, done: isOver } = await reader.read();
    if (isOver) break;
    read.push(value);
    start = new TextDecoder().decode(value.subarray(0, 1_000)).trimStart().slice(0, 1);
  }
  const rest = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const first = read.shift();
      if (first !== undefined) return controller.enqueue(first);
      const { value, done: isOver } = await reader.read();
      if (isOver) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { is: /^[{[<]/.test(start), body: rest };
}
