import { randomUUID } from "node:crypto";
import { appendFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { objectOf, parseJson, textOf } from "../../text/text.ts";
import { type ClaudeHome, transcriptOf } from "./home.ts";

interface Sent {
  readonly steerId: string;
  isDelivered: boolean;
}

/**
 * Guidance in mid-turn: each is a message with an id of its own. The ids are on disk before the
 * message is sent, so that after a crash the record of the conversation shows which were taken up.
 */
export class Guidance {
  readonly #home: ClaudeHome;
  readonly #sent = new Map<string, Sent>();

  constructor(home: ClaudeHome) {
    this.#home = home;
  }

  /** The id of the message for this guidance; `again` when it was sent before. */
  async sent(steerId: string): Promise<{ readonly uuid: string; readonly again: boolean }> {
    const known = [...this.#sent].find(([, one]) => one.steerId === steerId);
    if (known) return { uuid: known[0], again: true };
    const uuid = randomUUID();
    this.#sent.set(uuid, { steerId, isDelivered: false });
    await appendFile(this.#file, `${JSON.stringify({ steer_id: steerId, uuid })}\n`, {
      flush: true,
    });
    return { uuid, again: false };
  }

  idOf(uuid: string): string | null {
    return this.#sent.get(uuid)?.steerId ?? null;
  }

  /** False when this was known. */
  delivered(uuid: string): boolean {
    const sent = this.#sent.get(uuid);
    if (!sent || sent.isDelivered) return false;
    sent.isDelivered = true;
    return true;
  }

  /** The guidance of earlier processes that the session has taken up, also if that was never reported. */
  async takenUp(threadId: string): Promise<readonly string[]> {
    const text = await readFile(this.#file, "utf8").catch(() => "");
    if (text === "") return [];
    await rm(this.#file, { force: true });
    const transcript = (await transcriptOf(this.#home, threadId)) ?? "";
    return text.split("\n").flatMap((line) => {
      const { steer_id: id, uuid } = objectOf(parseJson(line));
      const steerId = textOf(id);
      const known = textOf(uuid);
      return steerId !== null && known !== null && transcript.includes(known) ? [steerId] : [];
    });
  }

  get #file(): string {
    return join(this.#home.own, "guidance.jsonl");
  }
}
