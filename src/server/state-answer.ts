import type { z } from "zod";
import type { Snapshot } from "../contract/system.ts";
import type { Clock } from "../core/clock.ts";
import type { Core } from "../core/core.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { View } from "../core/orchestrator/answers.ts";
import { weakTag } from "./etag.ts";
import { KeptAnswers } from "./kept-answers.ts";
import { Prepared } from "./prepared.ts";
import { safeJson } from "./redacted.ts";
import { snapshotView, time } from "./views.ts";

interface Written {
  readonly tag: string;
  /** The totals but for the seconds, which go on by themselves. */
  readonly totals: z.output<typeof Snapshot>["codex_totals"];
  /** All the rest, without the brace that opens it. */
  readonly rest: Buffer;
}

/**
 * Writes the snapshot out once for as long as nothing changes. What only says that time went by is put in front each
 * time, and is no change to the tag.
 */
export class StateAnswer {
  readonly #core: Core;
  readonly #clock: Clock;
  readonly #written = new KeptAnswers<Written>();

  constructor(core: Core, clock: Clock) {
    this.#core = core;
    this.#clock = clock;
  }

  /** Throws `unavailable` when none can be had (H-8). */
  get(limit: number): {
    readonly tag: string;
    readonly reply: Prepared<z.output<typeof Snapshot>>;
  } {
    const { tag, totals, rest } = this.#current(limit);
    const front = {
      generated_at: time(this.#clock.wall()),
      codex_totals: { ...totals, seconds_running: this.#core.orchestrator.secondsRunning() },
    };
    const head = Buffer.from(`${JSON.stringify(front).slice(0, -1)},`);
    return { tag, reply: new Prepared(Buffer.concat([head, rest])) };
  }

  #current(limit: number): Written {
    const { orchestrator, bus, secretsKnown, workspaces } = this.#core;
    const { version } = workspaces.kept;
    const marks = [...orchestrator.marks(), bus.lastSeq, secretsKnown(), version];
    return this.#written.get(String(limit), marks, () => this.#write(limit));
  }

  #write(limit: number): Written {
    const { bus, workspaces } = this.#core;
    const kept = workspaces.kept.list();
    const moment = { wall: this.#clock.wall(), seq: bus.lastSeq, kept, limit };
    const reply = snapshotView(viewOf(this.#core, limit), moment);
    const { generated_at: _, codex_totals: totals, ...rest } = reply;
    const tag = weakTag([rest, { ...totals, seconds_running: 0 }]);
    return { tag, totals, rest: Buffer.from(safeJson(rest, this.#core.redact).slice(1)) };
  }
}

/** The orchestrator's view; throws `unavailable` when none can be had (H-8). */
export function viewOf(core: Core, limit: number): View {
  try {
    return core.orchestrator.view(limit);
  } catch (cause) {
    if (cause instanceof SymphonyError) throw cause;
    throw new SymphonyError("unavailable", "no snapshot can be had now; try again", { cause });
  }
}
