import { About } from "./about.ts";
import { isList, type Json } from "./codec.ts";
import type { Batch, Checkpoint, RecordFile } from "./file.ts";
import { sourceOf } from "./reading.ts";
import { type Line, markOf } from "./record.ts";
import { Replay, type Replayed, type Source } from "./replay.ts";
import { Names } from "./shared.ts";

/** The format of the file; a later version of symphony still replays it. */
export const reproFormat = "symphony-repro-1";

/** The decisions about one issue with all they depend on: everything is redacted, and nothing else is needed to replay it. */
export interface Repro {
  readonly format: typeof reproFormat;
  /** The symphony that made the file. */
  readonly version: string;
  readonly issue: { readonly id: string; readonly identifier: string };
  /** One for each stretch that the record has without a gap. */
  readonly parts: readonly ReproPart[];
}

export interface ReproPart {
  /** The symphony that made the decisions. */
  readonly version: string;
  readonly checkpoint: Omit<Checkpoint, "body"> & { readonly body: Json };
  readonly contents: Readonly<Record<string, Json>>;
  readonly batches: readonly ReproBatch[];
  readonly decisions: readonly ReproDecision[];
}

type ReproBatch = Omit<Batch, "body"> & { readonly lines: readonly Line[] };

/** What was decided about the issue. */
export interface ReproDecision {
  /** The number of the decision. */
  readonly number: number;
  readonly wall: number;
  readonly input: string;
  readonly words: readonly string[];
  /** As `markOf`, of the effects about the issue; null: the record did not replay when the file was made. */
  readonly mark: string | 0 | null;
}

interface Wanted {
  readonly issue: Repro["issue"];
  readonly version: string;
  /** Epoch ms: earlier decisions are left out. */
  readonly since: number;
}

/** Resolves with the decisions about an issue; `parts` is empty when there are none. Other work gets its turn meanwhile. */
export async function reproOf(file: RecordFile, { issue, version, since }: Wanted): Promise<Repro> {
  const parts: ReproPart[] = [];
  const segments = file.segments();
  for (const [at, segment] of segments.entries()) {
    const next = segments[at + 1];
    if (next && next.at <= since) continue;
    const start = startOf(file, segment.id, since);
    if (start === null) continue;
    const full = await partOf(file, start, { issue, version: segment.version });
    if (full === null) continue;
    const slim = slimmed(full, issue.id);
    parts.push(isSame(replayPart(slim, issue.id), full.decisions) ? slim : full);
  }
  return { format: reproFormat, version, issue, parts };
}

/** The last checkpoint of the segment that is not later than `since`, or its first. */
function startOf(file: RecordFile, segment: number, since: number): Checkpoint | null {
  let start = file.firstOf(segment);
  for (let next = start; next !== null && next.at <= since; next = file.checkpointAfter(next)) {
    start = next;
  }
  return start;
}

async function partOf(
  file: RecordFile,
  start: Checkpoint,
  { issue, version }: Pick<Wanted, "issue" | "version">,
): Promise<ReproPart | null> {
  const decisions: ReproDecision[] = [];
  const about = new About(issue.id);
  const names = new Names((text) => text);
  const source = noting(sourceOf(file, start));
  let first = start;
  let checkpoint = start;
  let replay = new Replay({ checkpoint, source: source.source });
  for (;;) {
    const next = file.checkpointAfter(checkpoint);
    for (const one of replay.decisions(next && { input: next.input })) {
      const decision = decisionOf(one, about, names);
      if (decision === null) continue;
      decisions.push({ ...decision, mark: one.mark === one.recorded ? decision.mark : null });
    }
    if (next === null) break;
    checkpoint = next;
    if (decisions.length > 0) continue;
    // Nothing so far: it is enough to begin here.
    source.forget();
    replay = new Replay({ checkpoint, source: source.source });
    first = next;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const last = decisions.at(-1);
  if (!last) return null;
  return {
    version,
    checkpoint: { ...first, body: JSON.parse(first.body) },
    contents: source.contents(),
    batches: batchesOf(sourceOf(file, first), first.input, last.number),
    decisions,
  };
}

/** A source that notes each content that is read. */
function noting(source: Source) {
  const read = new Map<number, string>();
  return {
    source: {
      batchAfter: (input: number) => source.batchAfter(input),
      contentsWith(number: number) {
        const contents = source.contentsWith(number);
        const text = contents?.texts[number - contents.first];
        if (text === undefined) return null;
        read.set(number, text);
        return { first: number, texts: [text] };
      },
    },
    contents: (): Readonly<Record<string, Json>> =>
      Object.fromEntries([...read].map(([number, text]) => [number, JSON.parse(text)])),
    forget: () => read.clear(),
  };
}

/** The batches up to the decision `last`. */
function batchesOf(source: Source, first: number, last: number): readonly ReproBatch[] {
  const batches: ReproBatch[] = [];
  let input = first;
  while (input < last) {
    const batch = source.batchAfter(input);
    if (batch === null) break;
    const { body, ...facts } = batch;
    const lines = body.split("\n").slice(0, last - input);
    batches.push({ ...facts, count: lines.length, lines: lines.map((line) => JSON.parse(line)) });
    input += lines.length;
  }
  return batches;
}

/** Decides again; the decisions about the issue, as they are made now. */
export function replayPart(part: ReproPart, issueId: string): readonly ReproDecision[] {
  const { checkpoint } = part;
  const replay = new Replay({
    checkpoint: { ...checkpoint, body: JSON.stringify(checkpoint.body) },
    source: {
      contentsWith(number) {
        const content = part.contents[number];
        return content === undefined ? null : { first: number, texts: [JSON.stringify(content)] };
      },
      batchAfter(input) {
        const batch = part.batches.find(({ first }) => first > input);
        if (!batch) return null;
        const { lines, ...facts } = batch;
        return { ...facts, body: lines.map((line) => JSON.stringify(line)).join("\n") };
      },
    },
  });
  const about = new About(issueId);
  const names = new Names((text) => text);
  const decisions: ReproDecision[] = [];
  for (const one of replay.decisions()) {
    const decision = decisionOf(one, about, names);
    if (decision !== null) decisions.push(decision);
  }
  return decisions;
}

/** What is decided about the issue now; null: the decision has nothing to do with it. */
function decisionOf(one: Replayed, about: About, names: Names): ReproDecision | null {
  const own = about.of(one);
  if (own === null) return null;
  const { number, wall, input, refusal } = one;
  const mark = markOf(own.effects, refusal, names);
  return { number, wall, input: input.type, words: own.words, mark };
}

/** The first decision that is made differently now; null: all are made as they were. */
export function firstDifference(
  now: readonly ReproDecision[],
  recorded: readonly ReproDecision[],
): { readonly now: ReproDecision | null; readonly recorded: ReproDecision | null } | null {
  for (let at = 0; at < Math.max(now.length, recorded.length); at++) {
    const [one, other] = [now[at] ?? null, recorded[at] ?? null];
    if (one?.number === other?.number && one?.mark === other?.mark) continue;
    // The earlier of the two is where they part.
    if (one && other && one.number < other.number) return { now: one, recorded: null };
    if (one && other && one.number > other.number) return { now: null, recorded: other };
    return { now: one, recorded: other };
  }
  return null;
}

function isSame(now: readonly ReproDecision[], then: readonly ReproDecision[]): boolean {
  return firstDifference(now, then) === null;
}

const keptChars = 200;

/** Without the texts of other issues, as far as decisions about this one do not depend on them. */
function slimmed(part: ReproPart, issueId: string): ReproPart {
  const contents = Object.entries(part.contents).map(([number, content]) => [
    number,
    isOther(content, issueId) ? { ...Object(content), ...withoutText } : content,
  ]);
  const batches = part.batches.map((batch) => ({
    ...batch,
    lines: batch.lines.map((line) => slimLine(line, issueId)),
  }));
  return { ...part, contents: Object.fromEntries(contents), batches };
}

const withoutText = { title: "", description: null, nativeRef: null, url: null };

function isOther(content: Json, issueId: string): boolean {
  const { id, identifier } = Object(content);
  return typeof identifier === "string" && id !== issueId;
}

function slimLine(line: Line, issueId: string): Line {
  const [ticks, wall, event, mark, input, more] = line;
  const { issueId: other } = Object(input);
  if (typeof other !== "string" || other === issueId) return line;
  const short = cutTexts(input);
  return more === undefined
    ? [ticks, wall, event, mark, short]
    : [ticks, wall, event, mark, short, more];
}

function cutTexts(json: Json): Json {
  if (typeof json === "string") return json.slice(0, keptChars);
  if (typeof json !== "object" || json === null) return json;
  if (isList(json)) return json.map(cutTexts);
  return Object.fromEntries(Object.entries(json).map(([key, item]) => [key, cutTexts(item)]));
}
