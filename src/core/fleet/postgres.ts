import { messageOf, SymphonyError } from "../model/errors.ts";
import {
  bytesOf,
  factsIn,
  factsQuery,
  finalOf,
  isEmptied,
  isForbidden,
  nameOf,
  partOf,
  settingsOf,
  textOf,
  unfitness,
} from "./database.ts";
import {
  answeredAtOnce,
  type Engine,
  type EngineFacts,
  type JoinRequest,
  type Lease,
  type LeaseAnswer,
  maxRequests,
  mostParts,
  type Note,
  type Observed,
  type Opening,
  type Part,
  type Queue,
  type QueueWorker,
  type Reader,
  readAtOnce,
  refused,
  type Stream,
  type Taker,
  unavailable,
  untilRoom,
  waitMs,
} from "./engine.ts";
import { Floor } from "./floor.ts";
import { type JobsPlace, openQueue, openTaker } from "./jobs.ts";
import { loadPostgres, type PgPool, type PostgresPackages, type Row } from "./packages.ts";
import { bringUp, migrationMs, requireUsable, standingOf, tablesQuery } from "./table-versions.ts";
import { jobsSchema, ownTables, sweeps, sweptAtOnce, type Tables } from "./tables.ts";
import { Wakeups } from "./wakeups.ts";

const sweepMs = 60_000;
/** After as many parts it is asked whether they are read. */
const countedEach = 50;

type OpeningHere = Opening & { readonly own?: Tables };

/** The connections of one process to a PostgreSQL: two for commands, one that waits, and those of BullMQ. */
export class PostgresEngine implements Engine {
  readonly #loaded: PostgresPackages;
  readonly #settings: object;
  readonly #fleet: string;
  readonly #tables: Opening["tables"];
  /** Those of this version. */
  readonly #own: Tables;
  readonly #pool: PgPool;
  readonly #wakeups: Wakeups;
  readonly #log: Opening["log"];
  #sweptAt = performance.now();
  #appended = 0;
  /** Until one has worked again it is said once. */
  #saysUnswept = true;
  #trouble: string | null = null;
  /** The tables became those of a newer version: that stays, whatever else is answered. */
  #overtaken: string | null = null;

  private constructor(
    loaded: PostgresPackages,
    url: string,
    { fleet, tables, log, own = ownTables }: OpeningHere,
  ) {
    this.#loaded = loaded;
    this.#own = own;
    this.#fleet = fleet;
    this.#tables = tables;
    this.#log = log;
    this.#settings = settingsOf(url);
    this.#pool = new loaded.pg.Pool({ ...this.#settings, max: 2, idleTimeoutMillis: 0 });
    this.#pool.on("error", () => {});
    this.#wakeups = new Wakeups(() => new loaded.pg.Client(this.#settings));
  }

  /** Rejects as `openEngine`. */
  static async open(url: string, opening: OpeningHere): Promise<PostgresEngine> {
    const engine = new PostgresEngine(await loadPostgres(), url, opening);
    try {
      await engine.#ready(opening.address);
      return engine;
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw error;
    }
  }

  get trouble(): string | null {
    return this.#overtaken ?? this.#trouble;
  }

  async wall(): Promise<number> {
    const [row] = await this.#query("SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms");
    return Number(row?.["ms"]);
  }

  async lead(): Promise<string | null> {
    const [row] = await this.#query("SELECT symphony.lead_of($1) AS lead", [this.#fleet]);
    return textOf(row?.["lead"]);
  }

  async observe(lead: string, leaseMs: number, workers: readonly string[]): Promise<Observed> {
    const look = () =>
      this.#query("SELECT * FROM symphony.observe($1, $2, $3, $4)", [
        ...[this.#fleet, lead, leaseMs, workers],
      ]);
    const [row] = await look().catch(async (error: unknown) => {
      if (this.#tables !== "make" || !isEmptied(error)) throw error;
      // The database came back without its tables.
      await this.#make();
      return look();
    });
    void this.#sweep();
    const presences = Array.isArray(row?.["presences"]) ? row["presences"] : [];
    return {
      lead: String(row?.["answer"]),
      presences: workers.map((_, at) => bytesOf(presences[at])),
    };
  }

  async leave(lead: string): Promise<void> {
    await this.#query("DELETE FROM symphony.lead WHERE fleet = $1 AND lead = $2", [
      ...[this.#fleet, lead],
    ]);
  }

  claim(lease: Lease, before: string): Promise<LeaseAnswer> {
    return this.#hold(lease, before);
  }

  renew(lease: Lease): Promise<LeaseAnswer> {
    return this.#hold(lease, null);
  }

  giveBack({ worker, instance, leaseMs, presence }: Lease): Promise<LeaseAnswer> {
    const values = [worker, instance, leaseMs, presence];
    return this.#answer("SELECT symphony.give_back($1, $2, $3, $4, $5) AS answer", values);
  }

  async note(kind: Note, of: string, value: string | Buffer | null, keptMs?: number) {
    const where = [this.#fleet, kind, of];
    if (value === null) {
      await this.#query("DELETE FROM symphony.note WHERE (fleet, kind, of) = ($1, $2, $3)", where);
      return;
    }
    await this.#query(
      `INSERT INTO symphony.note VALUES ($1, $2, $3, $4, symphony.after($5))
       ON CONFLICT (fleet, kind, of) DO UPDATE SET value = excluded.value, until = excluded.until`,
      [...where, Buffer.from(value), keptMs ?? null],
    );
  }

  async notes(kind: Note, of: readonly string[]): Promise<readonly (Buffer | null)[]> {
    if (of.length === 0) return [];
    const rows = await this.#query(
      `SELECT of, value FROM symphony.note WHERE fleet = $1 AND kind = $2 AND of = ANY($3)
       AND (until IS NULL OR until > clock_timestamp())`,
      [this.#fleet, kind, of],
    );
    const found = new Map(rows.map((row) => [row["of"], bytesOf(row["value"])]));
    return of.map((one) => found.get(one) ?? null);
  }

  async append(stream: Stream, { run, seq, isLast, data }: Part): Promise<void> {
    const values = [this.#fleet, nameOf(stream), run, seq, isLast, data, this.#channel(stream)];
    await this.#query("SELECT symphony.append($1, $2, $3, $4, $5, $6, $7)", values);
    this.#appended += 1;
    if (this.#appended % countedEach !== 0) return;
    await untilRoom(async () => {
      const [row] = await this.#query(
        `SELECT count(*) AS n FROM (
           SELECT FROM symphony.part WHERE fleet = $1 AND stream = $2 LIMIT ${mostParts + 1}) AS parts`,
        [this.#fleet, nameOf(stream)],
      );
      return Number(row?.["n"]);
    });
  }

  reader(): Reader {
    let read: readonly unknown[] = [];
    let from: readonly string[] = [];
    let floor = new Floor();
    const look = async (streams: readonly Stream[]) => {
      const rows = await this.#query(
        `SELECT id, run, seq, is_last, data FROM symphony.part
         WHERE fleet = $1 AND stream = ANY($2)
         AND id > CASE WHEN (SELECT last_value FROM symphony.part_id_seq) < $3 THEN 0 ELSE $3 END
         ORDER BY id LIMIT ${readAtOnce}`,
        [this.#fleet, streams.map(nameOf), floor.at],
      ).catch((error: unknown) => {
        // It may come back with earlier numbers.
        floor = new Floor();
        throw error;
      });
      floor.saw(rows.map((row) => Number(row["id"])));
      return rows;
    };
    return {
      next: async (streams) => {
        const channels = streams.map((stream) => this.#channel(stream));
        let rows = await look(streams);
        if (rows.length === 0) {
          const isTold = await this.#wakeups.wait(new Set(channels), waitMs);
          rows = await look(streams);
          if (!isTold && rows.length > 0) this.#wakeups.doubt();
        }
        read = rows.map((row) => row["id"]);
        from = streams.map(nameOf);
        return rows.map(partOf);
      },
      done: async () => {
        if (read.length === 0) return;
        // A database that counts anew may have given the numbers to parts of others.
        await this.#query(
          "DELETE FROM symphony.part WHERE fleet = $1 AND stream = ANY($2) AND id = ANY($3::bigint[])",
          [this.#fleet, from, read],
        );
      },
    };
  }

  async ask(invitation: string, sealed: Buffer): Promise<string> {
    const values = [this.#fleet, invitation, sealed, maxRequests];
    const [row] = await this.#query("SELECT symphony.ask($1, $2, $3, $4) AS id", values);
    return String(row?.["id"]);
  }

  async requests(): Promise<readonly JoinRequest[]> {
    const rows = await this.#query(
      `SELECT id, invitation, sealed FROM symphony.request WHERE fleet = $1 ORDER BY id LIMIT ${answeredAtOnce}`,
      [this.#fleet],
    );
    return rows.map((row) => ({
      id: String(row["id"]),
      invitation: String(row["invitation"]),
      sealed: bytesOf(row["sealed"]) ?? Buffer.alloc(0),
    }));
  }

  async deleteRequest(id: string): Promise<void> {
    await this.#query("DELETE FROM symphony.request WHERE id = $1", [id]);
  }

  /** Opened anew after a failure: one that began while the database was away stays so. */
  queue(worker: string): Queue {
    const { bullmq } = this.#loaded;
    let open: Queue | null = null;
    const queue = () => {
      open ??= openQueue(bullmq, worker, this.#jobs());
      return open;
    };
    return {
      add: async (run, instance) => {
        const used = queue();
        await used.add(run, instance).catch(async (error: unknown) => {
          open = null;
          void used.close().catch(() => {});
          if (this.#tables === "make" && isEmptied(error)) await this.#make();
          throw error;
        });
      },
      drop: (run) => queue().drop(run),
      forget: () => queue().forget(),
      close: async () => open?.close(),
    };
  }

  taker(of: Taker): QueueWorker {
    return openTaker(this.#loaded.bullmq, of, this.#jobs());
  }

  async waiting(worker: string): Promise<number> {
    const [row] = await this.#query(
      `SELECT count(*) AS n FROM ${jobsSchema}.job WHERE queue = $1 AND state = 'waiting'`,
      [worker],
    );
    return Number(row?.["n"]);
  }

  async facts(): Promise<EngineFacts> {
    const [row] = await this.#query(factsQuery);
    return factsIn(row ?? {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#saysUnswept = false;
    await this.#wakeups.close();
    await this.#pool.end().catch(() => {});
  }

  #hold({ worker, epoch, instance, leaseMs, presence }: Lease, before: string | null) {
    const values = [worker, epoch, instance, leaseMs, presence, before];
    return this.#answer("SELECT symphony.hold($1, $2, $3, $4, $5, $6, $7) AS answer", values);
  }

  async #answer(text: string, values: readonly unknown[]): Promise<LeaseAnswer> {
    const [row] = await this.#query(text, [this.#fleet, ...values]);
    return String(row?.["answer"]);
  }

  async #query(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    try {
      const { rows } = await this.#pool.query(text, values);
      this.#trouble = null;
      return rows;
    } catch (error) {
      this.#trouble = finalOf(error, this.#tables);
      if (isEmptied(error)) await this.#lookAgain().catch(() => {});
      throw this.#overtaken === null ? error : new Error(this.#overtaken, { cause: error });
    }
  }

  #jobs(): JobsPlace {
    const connection = { ...this.#settings, schema: jobsSchema, max: 1, idleTimeoutMillis: 0 };
    return {
      options: { connection },
      backend: this.#loaded.bullmq.createPostgresBackend,
    };
  }

  #channel({ way, worker }: Stream): string {
    return `symphony_${this.#fleet}_${way === "up" ? way : worker}`.slice(0, 63);
  }

  /** A function that is gone: a newer server may have changed the tables meanwhile. */
  async #lookAgain(): Promise<void> {
    const { rows } = await this.#pool.query(tablesQuery);
    const standing = standingOf(rows[0] ?? {}, this.#own);
    if (standing.includes("newer")) this.#overtaken = `it ${standing}`;
  }

  async #ready(address: string): Promise<void> {
    try {
      const unfit = await unfitness(this.#pool);
      if (unfit !== null) throw refused(address, unfit, null);
      const [row = {}] = await this.#query(tablesQuery);
      let standing = standingOf(row, this.#own);
      const mayMake = this.#tables === "make" && /^(usable|none|earlier)$/.test(standing);
      // Those of BullMQ may be from an earlier version of it.
      if (mayMake) standing = await this.#make(standing);
      requireUsable(standing, { address, tables: this.#tables });
    } catch (error) {
      if (error instanceof SymphonyError) throw error;
      const never = finalOf(error, this.#tables);
      throw never === null
        ? unavailable(address, "PostgreSQL", error)
        : refused(address, never, error);
    }
  }

  /**
   * The tables of a database that has none or earlier ones, and what a newer BullMQ changes of its own. The server alone does
   * so. Where they are, a user who may make nothing works with those of BullMQ as they are.
   */
  async #make(standing = "none"): Promise<string> {
    const times = { query_timeout: migrationMs, statement_timeout: migrationMs };
    const client = new this.#loaded.pg.Client({ ...this.#settings, ...times });
    client.on("error", () => {});
    try {
      await client.connect();
      await this.#loaded.bullmq.runMigrations(client, jobsSchema).catch((error: unknown) => {
        if (standing === "none" || !isForbidden(error)) throw error;
      });
      return standing === "usable" ? standing : await bringUp(client, this.#own);
    } finally {
      await client.end().catch(() => {});
    }
  }

  async #sweep(): Promise<void> {
    if (performance.now() - this.#sweptAt < sweepMs) return;
    this.#sweptAt = Number.POSITIVE_INFINITY;
    let why: string | null = null;
    for (const one of sweeps) {
      try {
        while ((await this.#query(one)).length === sweptAtOnce);
      } catch (error) {
        why ??= messageOf(error);
      }
    }
    this.#sweptAt = performance.now();
    if (why !== null && this.#saysUnswept)
      this.#log?.warn("the engine of the fleet keeps what nothing needs any more", { reason: why });
    this.#saysUnswept = why === null;
  }
}
