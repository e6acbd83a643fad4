import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";
import { appendFile, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { parseJson } from "../../text/text.ts";
import { type ClaudeHome, transcriptOf } from "./home.ts";

const sentEntry = z.object({
  steer_id: z.string(),
  uuid: z.string(),
  thread: z.string(),
  message: z.string(),
  /** The agent reported that a request to the model has it. */
  delivered: z.boolean(),
});
type Sent = z.output<typeof sentEntry>;

/** What became of the guidance of earlier processes. */
export interface Earlier {
  /** The record of its session has it, also if that was never reported. */
  readonly takenUp: readonly string[];
  /** Reported as delivered, but the process ended before it was recorded: the session does not know it. */
  readonly lost: readonly string[];
}

/**
 * Guidance in mid-turn: each is a message with an id of its own. The messages are on disk before they
 * are sent, so that after a crash the record of the conversation shows which were taken up. The agent
 * writes that record late, so what it reported as delivered may be missing in it.
 */
export class Guidance {
  readonly #home: ClaudeHome;
  readonly #thread: string;
  readonly #sent = new Map<string, Sent>();
  #lost: readonly Sent[] = [];

  constructor(home: ClaudeHome, thread: string) {
    this.#home = home;
    this.#thread = thread;
  }

  /** The id of the message for this guidance; `again` when it was sent before. */
  async sent(
    steerId: string,
    message: string,
  ): Promise<{ readonly uuid: string; readonly again: boolean }> {
    const known = [...this.#sent.values()].find((one) => one.steer_id === steerId);
    if (known) return { uuid: known.uuid, again: true };
    const uuid = randomUUID();
    const sent = { steer_id: steerId, uuid, thread: this.#thread, message, delivered: false };
    this.#sent.set(uuid, sent);
    await appendFile(this.#file, lineOf(sent), { flush: true });
    return { uuid, again: false };
  }

  idOf(uuid: string): string | null {
    return this.#sent.get(uuid)?.steer_id ?? null;
  }

  /** False when this was known. On disk before it is reported. */
  delivered(uuid: string): boolean {
    const sent = this.#sent.get(uuid);
    if (!sent || sent.delivered) return false;
    const delivered = { ...sent, delivered: true };
    this.#sent.set(uuid, delivered);
    try {
      appendFileSync(this.#file, lineOf(delivered), { flush: true });
    } catch {
      // Without the line a crash right now loses the guidance; ending the turn for that would lose more.
    }
    return true;
  }

  /** Reads what earlier processes left, once, before the first turn. */
  async earlier(): Promise<Earlier> {
    const text = await readFile(this.#file, "utf8").catch(() => "");
    if (text === "") return { takenUp: [], lost: [] };
    const entries = text
      .split("\n")
      .flatMap((line) => sentEntry.safeParse(parseJson(line)).data ?? []);
    // The last line about a message is the true one.
    const all = [...new Map(entries.map((entry) => [entry.steer_id, entry])).values()];
    const recorded = new Set<string>();
    for (const thread of new Set(all.map((entry) => entry.thread))) {
      const transcript = (await transcriptOf(this.#home, thread)) ?? "";
      for (const { steer_id: id, uuid } of all) if (transcript.includes(uuid)) recorded.add(id);
    }
    this.#lost = all.filter((entry) => entry.delivered && !recorded.has(entry.steer_id));
    await this.#rewrite(this.#lost);
    return {
      takenUp: all.flatMap((entry) => (recorded.has(entry.steer_id) ? [entry.steer_id] : [])),
      lost: this.#lost.map(({ message }) => message),
    };
  }

  /** The lost guidance is sent again in the message with this id; call it before that is sent. */
  async sentAgain(uuid: string): Promise<void> {
    if (this.#lost.length === 0) return;
    const lines = this.#lost.map((sent) => lineOf({ ...sent, uuid, thread: this.#thread }));
    this.#lost = [];
    await appendFile(this.#file, lines.join(""), { flush: true });
  }

  async #rewrite(kept: readonly Sent[]): Promise<void> {
    if (kept.length === 0) return rm(this.#file, { force: true });
    await writeFile(`${this.#file}.tmp`, kept.map(lineOf).join(""), { flush: true });
    await rename(`${this.#file}.tmp`, this.#file);
  }

  get #file(): string {
    return join(this.#home.own, "guidance.jsonl");
  }
}

/** Before the next prompt; the messages are an operator's. */
export function guidanceAgain(messages: readonly string[]): string {
  if (messages.length === 0) return "";
  const list = messages.map((message, at) => `${at + 1}. ${message.trim()}`).join("\n\n");
  return `This guidance came before the interruption, and takes precedence over earlier instructions about the work:\n\n${list}\n\n`;
}

function lineOf(sent: Sent): string {
  return `${JSON.stringify(sent)}\n`;
}
