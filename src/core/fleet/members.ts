import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Secrets } from "../secrets/secrets.ts";
import { durableJson, OneByOne, removeLeftovers } from "../store/durable.ts";
import type { Request } from "./join.ts";
import { keyBytes, keyFor, newSecret, seal, unseal, writeToken } from "./sealing.ts";

// The workers of a fleet as the orchestrator knows them: in its data directory, their keys sealed.

const Sealed = z.object({
  id: z.string(),
  /** Base64, sealed with the fleet's key for this id. */
  secret: z.string(),
});

const Member = Sealed.extend({
  name: z.string(),
  joinedWall: z.number(),
  /** It gets no new attempts. */
  cordoned: z.boolean(),
});
/** `secret` is the key itself, in base64. */
export type Member = Readonly<z.output<typeof Member>>;

const Invitation = Sealed.extend({ untilWall: z.number(), used: z.boolean() });
type Invitation = Readonly<z.output<typeof Invitation>>;

const Stored = z.object({
  fleet: z.string(),
  epoch: z.number(),
  members: z.array(Member),
  invitations: z.array(Invitation),
});
type Stored = Readonly<z.output<typeof Stored>>;

export const maxWorkers = 100;
const epochsPerMs = 1_000;

/**
 * The number of a server's lead: above its earlier ones, and above all that came after the backup from which its file was
 * restored. `chance` (below 1,000) keeps two servers that begin with copies of one file in the same instant apart.
 */
export function nextEpoch(before: number, wall: number, chance: number): number {
  return Math.max(before + 1, Math.floor(wall) * epochsPerMs + chance);
}
const formatVersion = 2;
const fileName = "fleet.json";
/** The secret that seals the keys of workers and invitations: it is sealed and backed up as all secrets are. */
const keyName = "SYMPHONY_FLEET_KEY";

/** The key that seals what a worker and the server write to each other. */
export function lettersKey({ secret }: Pick<Member, "secret">): Buffer {
  return keyFor(Buffer.from(secret, "base64url"), "letters");
}

export interface MembersOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly secrets: Pick<Secrets, "lookup" | "put">;
}

/** Workers and invitations; each change is on disk when it resolves. */
export class Members {
  readonly #stored: OneByOne<Stored>;
  readonly #key: Buffer;
  #all: readonly Member[] = [];

  private constructor(stored: OneByOne<Stored>, key: Buffer) {
    this.#stored = stored;
    this.#key = key;
    this.#open();
  }

  /**
   * Begins a new epoch, which is on disk when it resolves. Rejects with `storage_corrupt`, also where the key of the
   * fleet is not among the secrets any more, or `storage_unavailable`.
   */
  static async open({ dataDir, clock, secrets }: MembersOptions): Promise<Members> {
    const file = join(dataDir, fileName);
    await removeLeftovers(file);
    const document = new Low<Stored>(durableJson(file, formatVersion, Stored), empty());
    await document.read();
    const stored = new OneByOne(document);
    const { members, invitations } = stored.current;
    const key = await keyOf(secrets, members.length + invitations.length === 0, file);
    const opened = new Members(stored, key);
    const [wall, chance] = [clock.wall(), randomInt(epochsPerMs)];
    await opened.#change((all) => ({ ...all, epoch: nextEpoch(all.epoch, wall, chance) }));
    return opened;
  }

  get fleet(): string {
    return this.#stored.current.fleet;
  }

  get epoch(): number {
    return this.#stored.current.epoch;
  }

  get all(): readonly Member[] {
    return this.#all;
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
        { ...this.#sealed(invitation, secret), untilWall, used: false },
      ],
    }));
    return writeToken({ fleet: this.fleet, invitation, secret });
  }

  invitation(id: string): (Omit<Invitation, "secret"> & { readonly secret: Buffer }) | null {
    const found = this.#stored.current.invitations.find((one) => one.id === id);
    return found ? { ...found, secret: this.#unsealed(found) } : null;
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
    const { id, name } = asked;
    const sealed = this.#sealed(id, Buffer.from(asked.secret, "base64url"));
    await this.#change(({ invitations, members, ...rest }) => ({
      ...rest,
      // Kept until it is pruned, so that its second use can be answered.
      invitations: invitations.map((one) => (one.id === invitation ? { ...one, used: true } : one)),
      members: [...members, { ...sealed, name, joinedWall: wall, cordoned: false }],
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

  async #change(change: (stored: Stored) => Stored): Promise<void> {
    await this.#stored.change(change);
    this.#open();
  }

  #open(): void {
    this.#all = this.#stored.current.members.map((one) => ({
      ...one,
      secret: this.#unsealed(one).toString("base64url"),
    }));
  }

  #sealed(id: string, secret: Buffer): z.output<typeof Sealed> {
    return { id, secret: seal(this.#key, id, secret).toString("base64url") };
  }

  #unsealed({ id, secret }: z.output<typeof Sealed>): Buffer {
    const plain = unseal(this.#key, id, Buffer.from(secret, "base64url"));
    if (plain !== null) return plain;
    throw unreadable(`it was sealed with another ${keyName}`);
  }
}

/** Made with the first fleet; the keys of workers that are there need the one that sealed them. */
async function keyOf(
  secrets: MembersOptions["secrets"],
  isNew: boolean,
  file: string,
): Promise<Buffer> {
  const known = secrets.lookup(keyName);
  if (known !== undefined) return readKey(known);
  if (!isNew) throw unreadable(`${file}: the secret ${keyName}, which seals it, is gone`);
  const key = newSecret();
  await secrets.put(keyName, key.toString("base64url"));
  return key;
}

function readKey(text: string): Buffer {
  const key = Buffer.from(text, "base64url");
  if (key.length === keyBytes) return key;
  throw unreadable(`the secret ${keyName} is not the one that symphony made`);
}

function unreadable(why: string): SymphonyError {
  return new SymphonyError("storage_corrupt", `the workers of the fleet cannot be read: ${why}`, {
    hint: `put that secret back (symphony restore FILE), or move ${fileName} aside and invite each worker again: symphony serve --accept-loss ${fileName}`,
  });
}

function empty(): Stored {
  return { fleet: randomBytes(8).toString("hex"), epoch: 0, members: [], invitations: [] };
}
