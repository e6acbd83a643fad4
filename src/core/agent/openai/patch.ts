/** One change of a patch. Paths are as the model wrote them. */
export type Change =
  | { readonly kind: "add"; readonly path: string; readonly content: string }
  | { readonly kind: "delete"; readonly path: string }
  | {
      readonly kind: "update";
      readonly path: string;
      readonly moveTo: string | null;
      readonly hunks: readonly Hunk[];
    };

export interface Hunk {
  /** A line somewhere above the change, such as the head of its function. */
  readonly anchors: readonly string[];
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly atEnd: boolean;
}

/** What is wrong with a patch, in words for the model. */
export class PatchError extends Error {}

const begin = "*** Begin Patch";
const end = "*** End Patch";
const addFile = "*** Add File: ";
const deleteFile = "*** Delete File: ";
const updateFile = "*** Update File: ";
const moveTo = "*** Move to: ";
const endOfFile = "*** End of File";
const maxPatchChars = 2_000_000;

/** Reads the `*** Begin Patch` format. Throws PatchError. */
export function parsePatch(text: string): readonly Change[] {
  if (text.length > maxPatchChars) throw new PatchError("the patch is too long");
  const lines = withoutHeredoc(text.trim().split("\n"));
  if (lines[0]?.trim() !== begin) throw new PatchError(`the first line must be '${begin}'`);
  if (lines.at(-1)?.trim() !== end) throw new PatchError(`the last line must be '${end}'`);
  const body = new Lines(lines.slice(1, -1));
  const changes: Change[] = [];
  while (!body.done) changes.push(changeOf(body));
  if (changes.length === 0) throw new PatchError("the patch changes no file");
  return changes;
}

/** Some models wrap the patch as they would for a shell. */
function withoutHeredoc(lines: readonly string[]): readonly string[] {
  const [first = "", last = ""] = [lines[0]?.trim(), lines.at(-1)?.trim()];
  return /^(apply_patch\s+)?<<\s*['"]?EOF['"]?$/.test(first) && last === "EOF"
    ? lines.slice(1, -1)
    : lines;
}

class Lines {
  readonly #lines: readonly string[];
  #at = 0;

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  get done(): boolean {
    return this.#at >= this.#lines.length;
  }

  get next(): string {
    return this.#lines[this.#at] ?? "";
  }

  /** For messages; the first line of the patch is 1. */
  get number(): number {
    return this.#at + 2;
  }

  take(): string {
    const line = this.next;
    this.#at++;
    return line;
  }
}

function changeOf(lines: Lines): Change {
  const { number } = lines;
  const head = lines.take().trimEnd();
  if (head.startsWith(addFile)) return added(head.slice(addFile.length), lines);
  if (head.startsWith(deleteFile)) return { kind: "delete", path: head.slice(deleteFile.length) };
  if (head.startsWith(updateFile)) return updated(head.slice(updateFile.length), lines);
  throw new PatchError(
    `line ${number}: '${addFile}', '${deleteFile}' or '${updateFile}' and a path are expected`,
  );
}

function added(path: string, lines: Lines): Change {
  const content: string[] = [];
  while (!lines.done && lines.next.startsWith("+")) content.push(`${lines.take().slice(1)}\n`);
  return { kind: "add", path, content: content.join("") };
}

function updated(path: string, lines: Lines): Change {
  const moved = lines.next.startsWith(moveTo);
  const target = moved ? lines.take().trimEnd().slice(moveTo.length) : null;
  const hunks: Hunk[] = [];
  while (!lines.done && !/^\*\*\* (?!End of File)/.test(lines.next)) {
    if (lines.next.trim() === "") lines.take();
    else hunks.push(hunkOf(lines, hunks.length === 0));
  }
  if (hunks.length === 0 && !moved) throw new PatchError(`the update of ${path} changes nothing`);
  return { kind: "update", path, moveTo: target, hunks };
}

function hunkOf(lines: Lines, first: boolean): Hunk {
  const anchors: string[] = [];
  let headed = false;
  while (/^@@( |$)/.test(lines.next)) {
    headed = true;
    const anchor = lines.take().slice(3);
    if (anchor.trim() !== "") anchors.push(anchor);
  }
  if (!headed && !first) throw new PatchError(`line ${lines.number}: '@@' is expected`);
  const before: string[] = [];
  const after: string[] = [];
  const { number } = lines;
  while (!lines.done && !/^(@@|\*\*\*)/.test(lines.next)) {
    const line = lines.take();
    const rest = line.slice(1);
    if (line.startsWith("+")) after.push(rest);
    else if (line.startsWith("-")) before.push(rest);
    else if (line.startsWith(" ") || line === "") {
      before.push(rest);
      after.push(rest);
    } else
      throw new PatchError(
        `line ${lines.number - 1}: a line of a change starts with ' ', '+' or '-'`,
      );
  }
  if (before.length + after.length === 0)
    throw new PatchError(`line ${number}: the change is empty`);
  const atEnd = lines.next.trimEnd() === endOfFile;
  if (atEnd) lines.take();
  return { anchors, before, after, atEnd };
}

/** `text` with the hunks applied, each below the one before. Throws PatchError where one does not fit. */
export function applyHunks(text: string, hunks: readonly Hunk[], path: string): string {
  const lines = text.split("\n");
  // The empty piece behind the last newline is no line.
  if (lines.at(-1) === "") lines.pop();
  const result: string[] = [];
  let from = 0;
  for (const hunk of hunks) {
    const { at, length } = placeOf(lines, hunk, { from, path });
    result.push(...lines.slice(from, at), ...hunk.after);
    from = at + length;
  }
  result.push(...lines.slice(from));
  return result.length === 0 ? "" : `${result.join("\n")}\n`;
}

function placeOf(
  lines: readonly string[],
  { anchors, before, atEnd }: Hunk,
  { from, path }: { from: number; path: string },
): { at: number; length: number } {
  let start = from;
  for (const anchor of anchors) {
    const found = seek(lines, [anchor], { from: start, atEnd: false });
    if (found === null)
      throw new PatchError(`${path} has no line '${anchor}' below the last change`);
    start = found + 1;
  }
  if (before.length === 0)
    return { at: anchors.length > 0 && !atEnd ? start : lines.length, length: 0 };
  const found = seek(lines, before, { from: start, atEnd });
  if (found !== null) return { at: found, length: before.length };
  // A last empty line stands for the end of the file.
  const shorter = before.at(-1) === "" ? before.slice(0, -1) : [];
  const again = shorter.length > 0 ? seek(lines, shorter, { from: start, atEnd }) : null;
  if (again !== null) return { at: again, length: shorter.length };
  throw new PatchError(`${path} does not hold these lines:\n${before.join("\n").slice(0, 2_000)}`);
}

/** As exact as possible: same lines, then without trailing space, without indentation, with plain punctuation. */
const readings: readonly ((line: string) => string)[] = [
  (line) => line,
  (line) => line.trimEnd(),
  (line) => line.trim(),
  plain,
];

function seek(
  lines: readonly string[],
  wanted: readonly string[],
  { from, atEnd }: { from: number; atEnd: boolean },
): number | null {
  const last = lines.length - wanted.length;
  for (const reading of readings) {
    const read = lines.map(reading);
    const want = wanted.map(reading);
    const fits = (at: number) => want.every((line, offset) => read[at + offset] === line);
    if (atEnd && last >= from && fits(last)) return last;
    for (let at = from; at <= last; at++) if (fits(at)) return at;
  }
  return null;
}

function plain(line: string): string {
  return line
    .trim()
    .replaceAll(/[\u2010-\u2015\u2212]/g, "-")
    .replaceAll(/[\u2018-\u201B]/g, "'")
    .replaceAll(/[\u201C-\u201F]/g, '"')
    .replaceAll(/[\u00A0\u2002-\u200A\u202F\u205F\u3000]/g, " ");
}
