import { createHash } from "node:crypto";
import type { Middleware } from "koa";
import type { z } from "zod";
import type { Snapshot } from "../contract/system.ts";
import type { Clock } from "../core/clock.ts";
import type { Core } from "../core/core.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { View } from "../core/orchestrator/view.ts";
import { redactDeep } from "../core/text/redact.ts";
import { snapshotView, time } from "./views.ts";

const maxAnswers = 8;

/** Serialized replies, cached until the data they show changes: reads are far more frequent. */
export class KeptAnswers<T> {
  readonly #kept = new Map<string, T>();
  readonly #isCurrent: (answer: T) => boolean;
  #marks: readonly unknown[] = [];

  /** `isCurrent`: looks at what no mark shows, at each use of a kept reply. */
  constructor(isCurrent: (answer: T) => boolean = () => true) {
    this.#isCurrent = isCurrent;
  }

  /** The kept reply to `question`, if none of `marks` has changed. */
  peek(question: string, marks: readonly unknown[]): T | undefined {
    const same = marks.every((mark, index) => mark === this.#marks[index]);
    const known = same ? this.#kept.get(question) : undefined;
    return known !== undefined && this.#isCurrent(known) ? known : undefined;
  }

  /** The reply to `question`; rebuilt when one of `marks`, all that it depends on, has changed. */
  get(question: string, marks: readonly unknown[], make: () => T): T {
    const same = marks.every((mark, index) => mark === this.#marks[index]);
    if (!same) this.#kept.clear();
    this.#marks = marks;
    const known = this.#kept.get(question);
    if (known !== undefined && this.#isCurrent(known)) return known;
    if (this.#kept.size >= maxAnswers) this.#kept.clear();
    const made = make();
    this.#kept.set(question, made);
    return made;
  }
}

interface Written {
  readonly tag: string;
  /** The totals except for the seconds, which grow by themselves. */
  readonly totals: z.output<typeof Snapshot>["codex_totals"];
  /** Everything else, without the opening brace. */
  readonly rest: Buffer;
}

/**
 * Caches the serialized snapshot until something changes. Fields that only show the passage of time are added in front
 * each time and do not change the tag.
 */
export class StateAnswer {
  readonly #core: Core;
  readonly #clock: Clock;
  readonly #written = new KeptAnswers<Written>();

  constructor(core: Core, clock: Clock) {
    this.#core = core;
    this.#clock = clock;
  }

  /** Throws `unavailable` when there is no snapshot (H-8). */
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
    return { tag, reply: new Prepared(head, rest) };
  }

  #current(limit: number): Written {
    const { orchestrator, bus, secretsKnown, workspaces, deliveries, recorder } = this.#core;
    const versions = [workspaces.kept.version, deliveries.version, recorder.lost, recorder.trouble];
    const marks = [...orchestrator.marks(), bus.lastSeq, secretsKnown(), ...versions];
    return this.#written.get(String(limit), marks, () => this.#write(limit));
  }

  #write(limit: number): Written {
    const { bus, workspaces, deliveries, recorder, fleet, history } = this.#core;
    const ssh = this.#core.ssh();
    const workers = fleet?.workers ?? ssh?.hosts.workers;
    const { trouble, lost } = recorder;
    const kept = workspaces.kept.list();
    const unrecorded = trouble && { trouble, lost };
    const deliveryOf = (issueId: string) => deliveries.of(issueId);
    const moment = {
      wall: this.#clock.wall(),
      seq: bus.lastSeq,
      kept,
      limit,
      deliveryOf,
      away: (issueId: string) => ssh?.placeOf(issueId) ?? null,
      unrecorded,
      ...(workers && {
        workers,
        workerOf: (issueId: string) => history.latestAttempt(issueId)?.workerHost ?? null,
      }),
    };
    const reply = snapshotView(viewOf(this.#core, limit), moment);
    const { generated_at: _, codex_totals: totals, ...rest } = reply;
    const tag = weakTag([rest, { ...totals, seconds_running: 0 }]);
    return { tag, totals, rest: Buffer.from(safeJson(rest, this.#core.redact).slice(1)) };
  }
}

/** The orchestrator's view; throws `unavailable` when there is none (H-8). */
export function viewOf(core: Core, limit: number): View {
  try {
    return core.orchestrator.view(limit);
  } catch (cause) {
    if (cause instanceof SymphonyError) throw cause;
    throw new SymphonyError("unavailable", "the state cannot be read now; try again", { cause });
  }
}

/** A reply that is already serialized and redacted: it is sent unchanged. */
export class Prepared<Reply> {
  /** In this order; at least one. */
  readonly parts: readonly Buffer[];
  /** Type of the reply before serialization; used by the compiler only. */
  declare readonly reply?: Reply;

  constructor(...parts: readonly Buffer[]) {
    this.parts = parts;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.parts);
  }

  /** `reply` as JSON without known secrets. */
  static of<Reply>(reply: Reply, redact: (text: string) => string): Prepared<Reply> {
    return new Prepared(Buffer.from(safeJson(reply, redact)));
  }
}

/**
 * Removes known secrets from every response, whatever its source: data, errors, pages, metrics. Text of an agent or a
 * tracker leaves the server here, and a value may have become a secret after it was recorded in plain text.
 */
export function redacted(redact: (text: string) => string): Middleware {
  return async (ctx, next) => {
    await next();
    const { body } = ctx;
    if (typeof body !== "string" || redact(body) === body) return;
    const length = ctx.res.hasHeader("Content-Length");
    ctx.body = withoutSecrets(body, ctx.response.type, redact);
    if (length) ctx.length = Buffer.byteLength(String(ctx.body));
  };
}

/** A secret may look like a part of the text's syntax: only the content of its strings is changed. */
export function withoutSecrets(
  text: string,
  type: string,
  redact: (text: string) => string,
): string {
  if (type === "application/json") return safeJson(JSON.parse(text), redact);
  if (type === "text/html") return redact(text);
  return text.replaceAll(/"(?:[^"\\]|\\.)*"/g, (label) => `"${redact(label.slice(1, -1))}"`);
}

/** `data` as JSON without known secrets. */
export function safeJson(data: unknown, redact: (text: string) => string): string {
  const json = JSON.stringify(data);
  return redact(json) === json ? json : JSON.stringify(redactDeep(data, redact));
}

/** A strong tag of a JSON value, for `If-Match`: equal only for the same value with its keys in the same order. */
export function strongTag(value: unknown): string {
  return `"${createHash("sha1").update(JSON.stringify(value)).digest("base64url")}"`;
}

/** A weak tag of a JSON value: equal for values that mean the same to a reader. */
function weakTag(value: unknown): string {
  return `W/"${createHash("sha1").update(JSON.stringify(value)).digest("base64url")}"`;
}
