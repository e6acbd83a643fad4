import assert from "node:assert/strict";
import type { Clock } from "../../../src/core/clock.ts";
import type { Attempt } from "../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { AgentPause, StorageTrouble } from "../../../src/core/model/gates.ts";
import { recordOf } from "../../../src/core/orchestrator/records.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";
import { SaveQueue } from "../../../src/core/store/saves.ts";
import type { IssueRecord } from "../../../src/core/store/store.ts";

interface FaultyDiskParts {
  readonly clock: Clock;
  /** Whether this one write fails. */
  fails(): boolean;
  onTrouble(trouble: StorageTrouble | null): void;
}

/** The disk of a simulated world behind the real queue of writes: any write may fail, and pending writes are lost with the process. */
export class FaultyDisk {
  readonly records = new Map<string, IssueRecord>();
  pauses: readonly AgentPause[] = [];
  #savesPauses = false;
  readonly #parts: FaultyDiskParts;
  /** By attempt, whether the row on disk has an end. */
  readonly #rows = new Map<string, boolean>();
  /** By attempt, whether the row that the core last passed on has an end. */
  readonly #given = new Map<string, boolean>();
  /** Issues that an operator stopped, as this process has them and as the next one will read them. */
  #stopped = new Set<string>();
  #savedStops = new Set<string>();
  #saves: SaveQueue;
  #trouble: StorageTrouble | null = null;
  failures = 0;

  constructor(parts: FaultyDiskParts) {
    this.#parts = parts;
    this.#saves = this.#queue();
  }

  get isTroubled(): boolean {
    return this.#trouble !== null;
  }

  /** A crash: pending writes and running attempts are gone. */
  restarted(): void {
    this.#trouble = null;
    this.#savesPauses = false;
    this.#saves = this.#queue();
    this.#stopped = new Set(this.#savedStops);
    for (const id of this.#rows.keys()) this.#rows.set(id, true);
    this.#given.clear();
    for (const [id, ended] of this.#rows) this.#given.set(id, ended);
  }

  saveRecord(id: string, record: IssueRecord | null): void {
    this.#saves.now(`record ${id}`, () => this.#write(() => this.#put(id, record)));
  }

  savePauses(pauses: readonly AgentPause[]): void {
    this.#savesPauses = true;
    const write = () => {
      this.pauses = pauses;
    };
    this.#saves.now("pauses", () => this.#write(write));
  }

  /** Throws the disk's error for a write that is not retried. */
  saveRecordFirst(id: string, record: IssueRecord | null): void {
    this.#write(() => this.#put(id, record));
  }

  saveAttempt({ id, endedAt }: Attempt): boolean {
    const ended = endedAt !== null;
    this.#given.set(id, ended);
    return this.#saves.now(`attempt ${id}`, () => this.#write(() => this.#rows.set(id, ended)));
  }

  stopped(issueId: string): void {
    this.#stopped.add(issueId);
  }

  released(issueId: string): void {
    this.#stopped.delete(issueId);
    this.#savedStops.delete(issueId);
  }

  /** Before a process is started. */
  mayStart(issueId: string): void {
    assert.ok(!this.isTroubled, `FAULT-9: ${issueId} is started while a save is outstanding`);
    assert.ok(
      !this.#stopped.has(issueId),
      `FAULT-9: ${issueId} was stopped by an operator and runs`,
    );
  }

  /** Between two inputs. */
  look(state: State, issueIds: Iterable<string>): void {
    assert.equal(
      state.storage?.waiting,
      this.#trouble?.waiting,
      "FAULT-9: the core knows of the trouble",
    );
    if (this.isTroubled) return;
    this.#savedStops = new Set(this.#stopped);
    const pauses = [...state.pauses.values()];
    // What a start restores is saved with the next change.
    if (this.#savesPauses) {
      assert.deepEqual(this.pauses, pauses, "FAULT-9: the pauses are not on disk as in force");
    }
    for (const id of issueIds) {
      // The retry of an attempt that is stopping is withdrawn when the attempt has ended.
      const row = state.issues.get(id);
      const isLeaving = row?.claim === "running" && row.stopping !== null;
      if (isLeaving && row.stopping.leadsTo !== "hold") continue;
      const inForce = decided(recordOf(state, id));
      const saved = decided(this.records.get(id) ?? null);
      assert.deepEqual(saved, inForce, `FAULT-9: ${id} is not on disk as it is in force`);
    }
    for (const { attemptId } of state.issues.of("running").values()) {
      assert.equal(
        this.#rows.get(attemptId),
        false,
        `FAULT-9: ${attemptId} runs and is not on disk`,
      );
    }
    assert.deepEqual(this.#rows, this.#given, "FAULT-9: an attempt is not on disk as it ended");
  }

  #queue(): SaveQueue {
    const saves = new SaveQueue(this.#parts.clock);
    saves.follow((trouble) => {
      if (saves !== this.#saves) return;
      this.#trouble = trouble;
      this.#parts.onTrouble(trouble);
    });
    return saves;
  }

  #put(id: string, record: IssueRecord | null): void {
    if (record) this.records.set(id, record);
    else this.records.delete(id);
  }

  #write(work: () => void): void {
    if (this.#parts.fails()) {
      this.failures++;
      throw new SymphonyError("storage_unavailable", "Cannot use the disk: it is full");
    }
    work();
  }
}

/** A record without its copy of the issue: the tracker may have returned a newer version since. */
function decided(record: IssueRecord | null) {
  if (record === null) return null;
  const { issue: _, ...rest } = record;
  return rest;
}
