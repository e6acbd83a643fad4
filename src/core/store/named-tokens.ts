import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import { type Caller, roles } from "../model/role.ts";
import { durableJson, OneByOne, removeLeftovers } from "./durable.ts";

const formatVersion = 1;
const fileName = "tokens.json";
const prefix = "symphony_";

export const maxTokens = 500;

const NamedToken = z.strictObject({
  name: z.string().min(1),
  role: z.enum(roles),
  /** SHA-256 of the token, hex: a token has 256 random bits, so nothing slower is needed. */
  digest: z.string(),
  createdWall: z.number(),
  /** null: it does not expire. */
  untilWall: z.number().nullable(),
});
export type NamedToken = Readonly<z.output<typeof NamedToken>>;

type All = NamedToken[];

/** The tokens of people and programs, each with a name and a role. Each change is on disk when it resolves. */
export class NamedTokens {
  readonly #stored: OneByOne<All>;
  readonly #clock: Clock;
  #byDigest = new Map<string, NamedToken>();
  readonly #leavers = new Map<string, Set<() => void>>();

  private constructor(stored: OneByOne<All>, clock: Clock) {
    this.#stored = stored;
    this.#clock = clock;
    this.#index();
  }

  /** Loads `tokens.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`. */
  static async open(dir: string, clock: Clock): Promise<NamedTokens> {
    const file = join(dir, fileName);
    await removeLeftovers(file);
    const document = new Low<All>(durableJson(file, formatVersion, z.array(NamedToken)), []);
    await document.read();
    return new NamedTokens(new OneByOne(document), clock);
  }

  get all(): readonly NamedToken[] {
    return this.#stored.current;
  }

  /**
   * A new token, which is shown once: only its digest is kept. Rejects with `token_exists` for a name that is taken,
   * also by an expired one, and `too_many_tokens`.
   */
  async add(given: Pick<NamedToken, "name" | "role" | "untilWall">) {
    const token = `${prefix}${randomBytes(32).toString("base64url")}`;
    const entry = {
      ...given,
      digest: digestOf(token),
      createdWall: Math.round(this.#clock.wall()),
    };
    await this.#change((all) => {
      if (all.some(({ name }) => sameName(name, given.name))) throw taken(given.name);
      if (all.length < maxTokens) return [...all, entry];
      throw new SymphonyError("too_many_tokens", `there are ${maxTokens} tokens already`, {
        hint: "symphony tokens remove NAME",
      });
    });
    return { token, entry };
  }

  /** It admits no request from now on, and the streams that it opened end. Rejects with `token_not_found`. */
  async remove(name: string): Promise<void> {
    await this.#change((all) => {
      const rest = all.filter((one) => one.name !== name);
      if (rest.length < all.length) return rest;
      throw new SymphonyError("token_not_found", `there is no token ${name}`, {
        hint: "symphony tokens list",
      });
    });
    for (const leave of this.#leavers.get(name) ?? []) leave();
  }

  /** Whose token `given` is; null for one that is unknown or has expired. */
  holder(given: string): Caller | null {
    const found = this.#byDigest.get(digestOf(given));
    return found === undefined || this.#isOver(found) ? null : found;
  }

  /** When the token `given` expired; null: it is unknown, or has not. */
  expiredAt(given: string): number | null {
    const found = this.#byDigest.get(digestOf(given));
    return found !== undefined && this.#isOver(found) ? found.untilWall : null;
  }

  /** Calls `leave` once the token of that name is removed or expires; the returned function ends that. */
  onEnd(name: string, leave: () => void): () => void {
    const leavers = this.#leavers.get(name) ?? new Set();
    this.#leavers.set(name, leavers.add(leave));
    const untilWall = this.all.find((one) => one.name === name)?.untilWall ?? null;
    const cancel =
      untilWall === null ? null : this.#clock.after(untilWall - this.#clock.wall(), leave);
    return () => {
      cancel?.();
      leavers.delete(leave);
      if (leavers.size === 0) this.#leavers.delete(name);
    };
  }

  /** Resolves when no write is running or waiting. */
  async settled(): Promise<void> {
    await this.#stored.settled();
  }

  async #change(change: (all: All) => All): Promise<void> {
    await this.#stored.change(change);
    this.#index();
  }

  #index(): void {
    this.#byDigest = new Map(this.all.map((one) => [one.digest, one]));
  }

  #isOver({ untilWall }: NamedToken): boolean {
    return untilWall !== null && untilWall <= this.#clock.wall();
  }
}

/** Whether a text has the form of a named token: it was one, even if no such token is known any more. */
export function isNamedToken(text: string): boolean {
  return text.startsWith(prefix) && /^[\w-]{43}$/.test(text.slice(prefix.length));
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function taken(name: string): SymphonyError {
  return new SymphonyError("token_exists", `there is a token ${name} already`, {
    hint: `choose another name, or remove it first: symphony tokens remove ${name}`,
  });
}
