import type { z } from "zod";
import type { Snapshot } from "../contract/system.ts";
import { unsavedText } from "../core/model/gates.ts";
import { conflictLines } from "./conflicts.ts";
import { newestKeptLines } from "./kept.ts";
import {
  amount,
  type Cell,
  foldLines,
  type Paint,
  plainLine,
  relative,
  since,
  span,
  statusStyle,
  tableLines,
} from "./output.ts";

export type SnapshotView = z.output<typeof Snapshot>;

interface ViewOptions {
  readonly width: number | null;
  readonly paint: Paint;
  readonly nowMs: number;
}

const columns = [
  { title: "ISSUE" },
  { title: "STATUS" },
  { title: "STATE", drop: 3 },
  { title: "FOR", align: "right", drop: 4 },
  { title: "TURNS", align: "right", drop: 1 },
  { title: "TOKENS", align: "right", drop: 2 },
  { title: "TITLE", flexible: true },
  { title: "NOW", flexible: true },
] as const;

interface Shown {
  readonly row: { issue_identifier: string; status: string; state: string; title: string };
  readonly since: string | null;
  readonly turns?: number;
  readonly tokens?: number;
  readonly now: string;
}

/** The snapshot for a person: lines that must stay visible, and a table that may be paged. Its first row is the heading. */
export function stateLines(
  snapshot: SnapshotView,
  view: ViewOptions,
): { head: readonly string[]; rows: readonly string[] } {
  const shown = [
    ...running(snapshot),
    ...blocked(snapshot),
    ...review(snapshot),
    ...retrying(snapshot, view.nowMs),
    ...queued(snapshot),
    ...stopped(snapshot),
    ...completed(snapshot),
  ];
  const rows = tableLines({ ...view, columns, rows: shown.map((one) => cellsOf(one, view.nowMs)) });
  const unseen = Object.values(snapshot.counts).reduce((sum, one) => sum + one, 0) - shown.length;
  if (unseen > 0) rows.push(view.paint.dim(`and ${unseen} more`));
  const kept = newestKeptLines(snapshot.kept, snapshot.kept_total, view.paint);
  return { head: headOf(snapshot, view), rows: [...(shown.length === 0 ? [] : rows), ...kept] };
}

function headOf(snapshot: SnapshotView, view: ViewOptions): readonly string[] {
  const { paint, nowMs, width } = view;
  const { counts, polling, tracker, codex_totals: totals } = snapshot;
  const filled = Object.entries(counts).filter(([, count]) => count > 0);
  const parts = filled.map(([status, count]) => paint[statusStyle(status)](`${count} ${status}`));
  const next =
    polling.next_poll_at === null ? "" : `, next poll ${relative(polling.next_poll_at, nowMs)}`;
  const facts = `tracker ${tracker.kind}${next}, ${amount(totals.total_tokens)} tokens`;
  const isStarting = tracker.status === "starting";
  const nothing = isStarting ? startingText(snapshot) : nothingText(snapshot);
  const first = `${parts.length === 0 ? nothing : parts.join(", ")}  ${paint.dim(plainLine(facts))}`;
  const starting = isStarting && parts.length > 0 ? [paint.yellow(startingText(snapshot))] : [];
  return foldLines(
    [first, ...workersOf(snapshot), ...starting, ...alertsOf(snapshot, view)],
    width,
  );
}

/** How many workers there are and what they have room for, and why the others take nothing. */
function workersOf({ workers }: SnapshotView): readonly string[] {
  if (workers === undefined) return [];
  if (workers.length === 0) return ["no worker has joined the fleet: symphony workers invite"];
  const ready = workers.filter((one) => one.ready);
  const sum = (of: "running" | "capacity") => ready.reduce((all, one) => all + one[of], 0);
  const others = workers.flatMap(({ name, why }) => (why === null ? [] : `${name}: ${why}`));
  const left = others.length === 0 ? "" : `; ${others.join(", ")}`;
  const count = `${ready.length} of ${workers.length} workers ready`;
  return [plainLine(`${count}, ${sum("running")} of ${sum("capacity")} slots in use${left}`)];
}

/** Without an issue: a tracker that cannot be read may have work. */
export function nothingText({ tracker }: SnapshotView): string {
  return tracker.last_error === null ? "nothing to do" : "no issue is known";
}

function startingText({ tracker }: SnapshotView): string {
  return plainLine(`starting: the first read of the ${tracker.kind} tracker has not ended`);
}

/** What keeps work from starting, and what is wrong; the start first while it lasts. */
export function alertLines(snapshot: SnapshotView, view: ViewOptions): readonly string[] {
  const { paint, width } = view;
  const isStarting = snapshot.tracker.status === "starting";
  const starting = isStarting ? [paint.yellow(startingText(snapshot))] : [];
  return foldLines([...starting, ...alertsOf(snapshot, view)], width);
}

function alertsOf(snapshot: SnapshotView, { paint, nowMs }: ViewOptions): readonly string[] {
  const { polling, tracker, problem, storage, unrecorded } = snapshot;
  const paused = snapshot.paused.map(({ gate, agent, until, reason }) => {
    const who = agent === null ? "nothing new is started" : `nothing new is started with ${agent}`;
    if (gate === "paused") return `${who}: ${reason}; symphony resume ends it`;
    return until === null
      ? `${who}: ${reason}`
      : `${who}, on again ${relative(until, nowMs)}: ${reason}`;
  });
  const faults = [
    problem && `nothing new is started: ${problem.message}`,
    storage && `nothing new is started: ${unsavedText(storage)}`,
    unrecorded && `decisions are not recorded: ${unrecorded.reason}`,
    polling.slowed &&
      `polls come every ${Math.ceil(polling.slowed.interval_ms / 1_000)} s: ${polling.slowed.reason}`,
    ...snapshot.warnings.map((warning) => `configuration: ${warning}`),
    tracker.last_error && `tracker: ${tracker.last_error.message}`,
  ];
  return [
    ...paused.map((line) => paint.yellow(plainLine(line))),
    ...faults.flatMap((fault) => (fault ? [paint.red(plainLine(fault))] : [])),
    ...conflictLines(snapshot.conflicts).map((line) => paint.yellow(line)),
  ];
}

function cellsOf({ row, since: start, turns, tokens, now }: Shown, nowMs: number): Cell[] {
  return [
    row.issue_identifier,
    { text: row.status, style: statusStyle(row.status) },
    row.state,
    since(start, nowMs),
    turns === undefined ? "-" : String(turns),
    tokens === undefined ? "-" : amount(tokens),
    row.title,
    now,
  ];
}

function running(snapshot: SnapshotView): Shown[] {
  return snapshot.running.map((row) => ({
    row,
    since: row.started_at,
    turns: row.turn_count,
    tokens: row.tokens.total_tokens,
    now: row.stopping ?? row.last_message ?? row.phase.replaceAll("_", " "),
  }));
}

function blocked(snapshot: SnapshotView): Shown[] {
  return snapshot.blocked.map((row) => ({
    row,
    since: row.needs.since,
    now: `needs ${row.needs.kind === "approval" ? "an approval" : "an answer"}: ${row.needs.prompt}`,
  }));
}

function review(snapshot: SnapshotView): Shown[] {
  return snapshot.review.map((row) => ({
    row,
    since: row.since,
    now: row.delivery === null ? "waits for a person" : plainLine(row.delivery.summary),
  }));
}

function retrying(snapshot: SnapshotView, nowMs: number): Shown[] {
  return snapshot.retrying.map((row) => {
    const due = Date.parse(row.due_at) - nowMs;
    const error = row.error === null ? "" : `: ${row.error}`;
    return { row, since: null, now: `retry ${row.attempt} in ${span(due)}${error}` };
  });
}

function queued(snapshot: SnapshotView): Shown[] {
  return snapshot.queued.map((row) => ({ row, since: null, now: row.waiting_for }));
}

function stopped(snapshot: SnapshotView): Shown[] {
  return [...snapshot.held, ...snapshot.failed].map((row) => ({
    row,
    since: row.since,
    now: row.error === null ? row.reason : `${row.reason}: ${row.error}`,
  }));
}

function completed(snapshot: SnapshotView): Shown[] {
  return snapshot.completed.map((row) => ({
    row,
    since: row.ended_at,
    tokens: row.tokens.total_tokens,
    now: row.outcome,
  }));
}
