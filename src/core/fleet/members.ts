import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import { writeDurably } from "../store/durable.ts";
import { parseJson } from "../text/text.ts";
import type { Request } from "./join.ts";
import { newSecret, writeToken } from "./sealing.ts";

// The workers of a fleet as the orchestrator knows them: in its data directory, readable by its user alone.

const Member = z.object({
  id: z.string(),
  name: z.string(),
  secret: z.string(),
  joinedWall: z.number(),
  /** It gets no new attempts. */
  cordoned: z.boolean(),
});
export type Member = Readonly<z.output<typeof Member>>;

const Invitation = z.object({
  id: z.string(),
  secret: z.string(),
  untilWall: z.number(),
  used: z.boolean(),
});
type Invitation = Readonly<z.output<typeof Invitation>>;

const Stored = z.object({
  version: z.literal(1),
  fleet: z.string(),
  epoch: z.number(),
  members: z.array(Member),
  invitations: z.array(Invitation),
});
type Stored = Readonly<z.output<typeof Stored>>;

export const maxWorkers = 100;
const fileName = "fleet.json";

/** Workers and invitations; each change is on disk when it resolves. */
export class Members {
  readonly #file: string;
  #stored: Stored;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: string, stored: Stored) {
    this.#file = file;
    this.#stored = stored;
  }

  /** Begins a new epoch, which is on disk when it resolves. Rejects with `storage_corrupt` or `storage_unavailable`. */
  static async open(dataDir: string): Promise<Members> {
    const file = join(dataDir, fileName);
    const text = await readFile(file, "utf8").catch(() => null);
    const found = text === null ? empty() : Stored.safeParse(parseJson(text)).data;
    if (!found) {
      throw new SymphonyError("storage_corrupt", `${file} cannot be read`, {
        hint: `remove it, then invite each worker again: rm '${file}'`,
      });
    }
    const members = new Members(file, found);
    await members.#change((stored) => ({ ...stored, epoch: stored.epoch + 1 }));
    return members;
  }

  get fleet(): string {
    return this.#stored.fleet;
  }

  get epoch(): number {
    return this.#stored.epoch;
  }

  get all(): readonly Member[] {
    return this.#stored.members;
  }

  /** Throws `worker_not_found`. */
  named(name: string): Member {
    const found = this.all.find((one) => one.name === name);
    if (found) return found;
    throw new SymphonyError("worker_not_found", `there is no worker ${name}`, {
      hint: "symphony workers list",
    });
  }

  /** A token for one worker, valid until `untilWall`. */
  async invite(untilWall: number, wall: number): Promise<string> {
    const secret = newSecret();
    const invitation = randomBytes(4).toString("hex");
    await this.#change(({ invitations, ...rest }) => ({
      ...rest,
      invitations: [
        ...invitations.filter((one) => one.untilWall > wall).slice(-maxWorkers),
        { id: invitation, secret: secret.toString("base64url"), untilWall, used: false },
      ],
    }));
    return writeToken({ fleet: this.fleet, invitation, secret });
  }

  invitation(id: string): (Omit<Invitation, "secret"> & { readonly secret: Buffer }) | null {
    const found = this.#stored.invitations.find((one) => one.id === id);
    return found ? { ...found, secret: Buffer.from(found.secret, "base64url") } : null;
  }

  /** Uses the invitation up. Resolves with why not, or null when the worker has joined. */
  async admit(
    invitation: string,
    asked: z.output<typeof Request>,
    wall: number,
  ): Promise<string | null> {
    // Asked again, because the answer did not arrive.
    const isKnown = (one: Member) => one.id === asked.id && one.secret === asked.secret;
    if (this.all.some(isKnown)) return null;
    const open = this.invitation(invitation);
    if (open === null || open.used) return "the token was used already";
    if (open.untilWall < wall)
      return `the token has expired at ${new Date(open.untilWall).toISOString()}`;
    if (this.all.some(({ name }) => name === asked.name))
      return `there is a worker ${asked.name} already: join with another --name`;
    if (this.all.length >= maxWorkers) return `there are ${maxWorkers} workers already`;
    const { id, name, secret } = asked;
    await this.#change(({ invitations, members, ...rest }) => ({
      ...rest,
      // Kept until it is pruned, so that its second use can be answered.
      invitations: invitations.map((one) => (one.id === invitation ? { ...one, used: true } : one)),
      members: [...members, { id, name, secret, joinedWall: wall, cordoned: false }],
    }));
    return null;
  }

  async cordon(name: string, cordoned: boolean): Promise<Member> {
    const { id } = this.named(name);
    await this.#change(({ members, ...rest }) => ({
      ...rest,
      members: members.map((one) => (one.id === id ? { ...one, cordoned } : one)),
    }));
    return this.named(name);
  }

  async remove(name: string): Promise<Member> {
    const member = this.named(name);
    await this.#change(({ members, ...rest }) => ({
      ...rest,
      members: members.filter(({ id }) => id !== member.id),
    }));
    return member;
  }

  /** One after another; in force once it is on disk. */
  async #change(change: (stored: Stored) => Stored): Promise<void> {
    const write = this.#writing.then(async () => {
      const next = change(this.#stored);
      await writeDurably(this.#file, `${JSON.stringify(next)}\n`);
      this.#stored = next;
    });
    this.#writing = write.catch(() => {});
    await write;
  }
}

function empty(): Stored {
  return {
    version: 1,
    fleet: randomBytes(8).toString("hex"),
    epoch: 0,
    members: [],
    invitations: [],
  };
}
