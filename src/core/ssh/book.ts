import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import { durableJson, OneByOne, removeLeftovers } from "../store/durable.ts";

/** What is known of the workspace of an issue on a host. */
const Place = z.object({
  host: z.string(),
  /** On this machine: what came back. */
  path: z.string(),
  /** On the host: absolute and physical. */
  remotePath: z.string(),
  /** The commit, branch and tree there when both were the same; empty: they never were. */
  seen: z.string(),
  /** The commit and the digest of the files here at that time. */
  here: z.object({ head: z.string(), digest: z.string() }).nullable(),
  /** As `here`, of what was sent last, until the host has answered. */
  sending: z.object({ head: z.string(), digest: z.string() }).nullable().default(null),
  /** Something there may not have come back. */
  isBehind: z.boolean(),
});
export type Place = Readonly<z.output<typeof Place>>;

/** A directory on a host whose issue was removed here while the host could not say what is in it. */
const Left = Place.pick({ host: true, remotePath: true, seen: true });
export type Left = Readonly<z.output<typeof Left>>;

const Stored = z.object({
  /** In the cookies of this server's agents: another server may use the same host. */
  server: z.string(),
  /** By the id of the issue. */
  places: z.record(z.string(), Place),
  /** Hosts with an agent that is not known to have ended, by the id of its attempt. */
  open: z.record(z.string(), z.object({ host: z.string(), issueId: z.string() })),
  left: z.array(Left).default([]),
});
type Stored = Readonly<z.output<typeof Stored>>;

const fileName = "ssh.json";

/** Which host has which workspace, and which agents may still run; each change is on disk when it resolves. */
export class Book {
  readonly #stored: OneByOne<Stored>;
  /** Of this process, in the marks on hosts: a server that is started later with a copy of the data directory has another. */
  readonly run = randomBytes(8).toString("hex");

  private constructor(stored: OneByOne<Stored>) {
    this.#stored = stored;
  }

  /** Rejects with `storage_corrupt` or `storage_unavailable`. */
  static async open(dataDir: string): Promise<Book> {
    const file = join(dataDir, fileName);
    await removeLeftovers(file);
    const empty = { server: randomBytes(8).toString("hex"), places: {}, open: {}, left: [] };
    const document = new Low<Stored>(durableJson(file, 1, Stored), empty);
    await document.read();
    const stored = new OneByOne(document);
    // The name of this server has to be the same after a crash.
    await stored.change((all) => all);
    return new Book(stored);
  }

  /** The beginning of every cookie of this server. */
  get server(): string {
    return this.#stored.current.server;
  }

  cookieOf(attemptId: string): string {
    return `ssh-${this.server}-${attemptId}.`;
  }

  placeOf(issueId: string): Place | null {
    return this.#stored.current.places[issueId] ?? null;
  }

  /** The directories of workspaces on this host. */
  rootsOn(host: string): readonly string[] {
    const all = [...Object.values(this.#stored.current.places), ...this.#stored.current.left];
    return all.flatMap((one) => (one.host === host ? dirname(one.remotePath) : []));
  }

  /** By its path on this machine. */
  issueAt(path: string): string | null {
    const all = Object.entries(this.#stored.current.places);
    return all.find(([, place]) => place.path === path)?.[0] ?? null;
  }

  async put(issueId: string, place: Place): Promise<Place> {
    await this.#stored.change((all) => ({
      ...all,
      places: { ...all.places, [issueId]: place },
      left: all.left.filter((one) => !isSame(one, place)),
    }));
    return place;
  }

  async change(issueId: string, change: Partial<Place>): Promise<void> {
    const place = this.placeOf(issueId);
    if (place !== null) await this.put(issueId, { ...place, ...change });
  }

  async drop(issueId: string): Promise<void> {
    await this.#stored.change(({ places: { [issueId]: _, ...places }, ...all }) => ({
      ...all,
      places,
    }));
  }

  /** Its issue has no workspace any more, and the directory on the host is looked at when that answers. */
  async leave(issueId: string): Promise<void> {
    await this.#stored.change(({ places: { [issueId]: place, ...places }, left, ...all }) => ({
      ...{ ...all, places },
      left: place ? [...left.filter((one) => !isSame(one, place)), Left.parse(place)] : left,
    }));
  }

  leftOn(host: string): readonly Left[] {
    return this.#stored.current.left.filter((one) => one.host === host);
  }

  async settle(of: Left): Promise<void> {
    await this.#stored.change(({ left, ...all }) => ({
      ...all,
      left: left.filter((one) => !isSame(one, of)),
    }));
  }

  /** Before an agent or hook may start. */
  async began(attemptId: string, run: { host: string; issueId: string }): Promise<void> {
    await this.#stored.change((all) => ({ ...all, open: { ...all.open, [attemptId]: run } }));
  }

  /** Nothing of it runs any more. */
  async ended(attemptIds: readonly string[]): Promise<void> {
    if (attemptIds.length === 0) return;
    await this.#stored.change((all) => ({
      ...all,
      open: Object.fromEntries(Object.entries(all.open).filter(([id]) => !attemptIds.includes(id))),
    }));
  }

  /** The attempts that may still run something, on this host or for this issue. */
  openOn(of: { readonly host?: string; readonly issueId?: string }): readonly string[] {
    return Object.entries(this.#stored.current.open).flatMap(([id, one]) =>
      (of.host ?? one.host) === one.host && (of.issueId ?? one.issueId) === one.issueId ? id : [],
    );
  }

  hostOf(attemptId: string): string | null {
    return this.#stored.current.open[attemptId]?.host ?? null;
  }
}

function isSame(one: Left, other: Left): boolean {
  return one.host === other.host && one.remotePath === other.remotePath;
}
