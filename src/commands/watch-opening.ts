import type { StreamEvent } from "../client/events.ts";
import { messageOf } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import type { Diff, Opening, TimelineLine } from "./watch-rows.ts";

/** The newest lines of the timeline are kept. */
const keptLines = 500;
/** However many events come, the issue is read at most this often. */
const calmMs = 1_000;
const workEvents = /^(agent\.file_change|work\.committed|turn\.|attempt\.)/;
/** Too frequent to read the issue for each; the state has what they change. */
const frequent = /^(agent\.|steer\.)/;

/** The issue that is shown in full, read again as it changes. */
export class OpenIssue {
  data: Opening;
  readonly #context: Pick<CommandContext, "client">;
  readonly #changed: () => void;
  readonly #end = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #readAt = 0;
  #reads = 0;
  #newest = 0;
  #wantsDiff = false;

  constructor(context: Pick<CommandContext, "client">, issue: string, changed: () => void) {
    this.#context = context;
    this.#changed = changed;
    this.data = { issue, detail: null, fault: null, timeline: [], diff: null };
    this.readSoon();
  }

  close(): void {
    this.#end.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** From now on the diff is read too. */
  showDiff(): void {
    this.#wantsDiff = true;
    this.readSoon();
  }

  event({ issue_identifier: issue, seq, at, type, message }: StreamEvent): void {
    if (issue !== this.data.issue) return;
    this.#set({ timeline: merged(this.data.timeline, [{ seq, at, type, message }]) });
    if (!frequent.test(type) || workEvents.test(type)) this.readSoon();
  }

  readSoon(): void {
    if (this.#timer !== null || this.#end.signal.aborted) return;
    const waitMs = Math.max(this.#readAt + calmMs - Date.now(), 0);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#readAt = Date.now();
      void this.#read();
    }, waitMs);
  }

  async #read(): Promise<void> {
    const params = { id: this.data.issue };
    const options = { signal: this.#end.signal };
    this.#reads += 1;
    const number = this.#reads;
    try {
      const client = await this.#context.client();
      const [detail, diff] = await Promise.all([
        client.issues.detail({ params }, options),
        this.#wantsDiff ? client.git.diff({ params }, options).then(diffOf, faultOf) : null,
      ]);
      // The reply of an earlier read may come later.
      if (number < this.#newest) return;
      this.#newest = number;
      const timeline = detail.recent_events.map(({ event: type, ...line }) => ({ ...line, type }));
      this.#set({
        detail,
        fault: null,
        timeline: merged(timeline, this.data.timeline),
        ...(diff !== null && { diff }),
      });
    } catch (error) {
      if (!this.#end.signal.aborted) this.#set({ fault: messageOf(error) });
    }
  }

  #set(news: Partial<Opening>): void {
    this.data = { ...this.data, ...news };
    this.#changed();
  }
}

/** Each event once, in order, the newest kept. */
function merged(
  one: readonly TimelineLine[],
  other: readonly TimelineLine[],
): readonly TimelineLine[] {
  const bySeq = new Map([...one, ...other].map((line) => [line.seq, line]));
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(-keptLines);
}

interface Work {
  readonly patch: string;
  readonly truncated: boolean;
  readonly files: readonly { additions: number | null; deletions: number | null }[];
}

function diffOf({ patch, files, truncated }: Work): Diff {
  const sum = (counts: readonly (number | null)[]) =>
    counts.reduce<number>((total, count) => total + (count ?? 0), 0);
  const count = `${files.length} ${files.length === 1 ? "file" : "files"}`;
  const added = sum(files.map(({ additions }) => additions));
  const removed = sum(files.map(({ deletions }) => deletions));
  const rest = truncated ? ", the rest is not shown" : "";
  const lines = patch === "" ? [] : patch.trimEnd().split("\n");
  return { lines, summary: `${count}, +${added} -${removed}${rest}` };
}

function faultOf(error: unknown): Diff {
  return { lines: [], summary: messageOf(error) };
}
