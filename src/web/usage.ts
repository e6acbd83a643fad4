import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { z } from "zod";
import type { AttemptView, attempts as attemptRoutes } from "../contract/attempts.ts";
import type { usage } from "../contract/system.ts";
import { Command } from "./action.ts";
import { call, issuePath } from "./api.ts";
import { html } from "./markup.ts";
import { LinePlot, type Point, type Series } from "./plot.ts";
import { plural, thousands } from "./words.ts";

export type Usage = z.output<typeof usage.list.reply>;
type Attempt = z.output<typeof AttemptView>;

interface Read {
  readonly usage: Usage;
  /** Oldest first. */
  readonly attempts: readonly Attempt[];
  /** The issue has more attempts than these. */
  readonly more: number;
  readonly curves: Curves;
}

/** How the tokens of an attempt grew, by its id: time, and tokens since it began. */
type Curves = ReadonlyMap<string, readonly Point[]>;

/** Attempts whose curve is read, the newest ones, and pages of 1,000 events of each at most. */
const [curvesRead, pagesRead] = [3, 3];
const livePoints = 400;

export function money(cost: number | null, currency: string): string {
  if (cost === null) return "no price";
  const format = { style: "currency", currency, maximumFractionDigits: cost < 1 ? 4 : 2 } as const;
  return cost.toLocaleString("en-US", format);
}

/** Tokens and cost of an issue, summed over its attempts. Read again when one begins or ends; `live` is the running one now. */
export function UsageSection({
  issue,
  version,
  live,
}: {
  issue: string;
  version: string;
  live: number | null;
}): VNode | null {
  const [read, setRead] = useState<Read | null>(null);
  // What the running attempt used since its curve was read.
  const seen = useRef<Point[]>([]);
  useEffect(() => {
    if (live !== null)
      seen.current = [...seen.current, { x: Date.now(), y: live }].slice(-livePoints);
  }, [live]);
  useEffect(() => {
    seen.current = [];
    let current = true;
    void readUsage(issue)
      .then((found) => {
        if (current) setRead(found);
      })
      .catch(() => {});
    return () => {
      current = false;
    };
  }, [issue, version]);
  if (read === null || read.attempts.length === 0) return null;
  const { usage, attempts, more } = read;
  const { sum, currency } = usage;
  if (sum.tokens.total_tokens === 0 && !live) return null;
  const grown = new Map([...read.curves, ...current(attempts, read.curves, seen.current)]);
  const points = { tokens: tokenPoints(attempts, live, grown), cost: costPoints(read) };
  const series: Series[] = [
    { name: "tokens", look: "first", points: points.tokens, text: shortNumber },
    ...(points.cost.length > 1
      ? [
          {
            name: "cost",
            look: "second",
            points: points.cost,
            text: (value: number) => money(value, currency),
          } as const,
        ]
      : []),
  ];
  const total = Math.max(points.tokens.at(-1)?.y ?? 0, sum.tokens.total_tokens);
  const cost =
    sum.cost === null
      ? `no price for ${sum.unpriced_models.join(", ")}`
      : money(sum.cost, currency);
  const said = `${thousands(total)} tokens, ${cost}`;
  return html`<section id="usage"><h2>Tokens and cost <span>${said}${more > 0 ? `; the newest ${plural(attempts.length, "attempt")} of ${attempts.length + more}` : ""}</span></h2>
    <${LinePlot} series=${series} label=${`Tokens over time: ${said}`} />
    <details><summary>as a table</summary><table><thead><tr><th scope="col">Attempt</th><th scope="col">Began</th><th scope="col">Tokens</th><th scope="col">Cost</th></tr></thead>
    <tbody>${attempts.map((one) => html`<tr key=${one.id}><td data-label="Attempt">${one.number}</td><td data-label="Began">${new Date(one.started_at).toLocaleString()}</td><td data-label="Tokens">${thousands(one.tokens.total_tokens)}</td><td data-label="Cost">${money(costOf(usage, one), currency)}</td></tr>`)}</tbody></table></details>
    <p class="padded"><${Command} words=${["symphony", "usage", "--issue", issue, "--by", "attempt"]} /></p></section>`;
}

async function readUsage(issue: string): Promise<Read> {
  const of = encodeURIComponent(issue);
  const [usage, page] = await Promise.all([
    call<Usage>("GET", `/api/v1/usage?by=attempt&issue=${of}&limit=500`),
    call<{ attempts: Attempt[]; total: number }>(
      "GET",
      `${issuePath(issue, "attempts")}?limit=500`,
    ),
  ]);
  const { attempts, total } = page;
  const curves = await Promise.all(
    attempts.slice(0, curvesRead).map(async (one) => [one.id, await curveOf(one)] as const),
  );
  return {
    ...{ usage, attempts: [...attempts].reverse(), more: total - attempts.length },
    curves: new Map(curves),
  };
}

type Timeline = Pick<z.output<typeof attemptRoutes.detail.reply>, "events" | "next_after_seq">;

/** Of the events of the attempt; none when there are too many of them, or when they cannot be read. */
async function curveOf({ id, tokens }: Attempt): Promise<readonly Point[]> {
  const totals: Point[] = [];
  let after: number | null = 0;
  for (let page = 0; page < pagesRead && after !== null; page++) {
    const path: string = `/api/v1/attempts/${encodeURIComponent(id)}?limit=1000&after_seq=${after}`;
    const read: Timeline | null = await call<Timeline>("GET", path).catch(() => null);
    if (read === null) return [];
    for (const { type, at, data } of read.events) {
      const { total_tokens: total } = data;
      if (type !== "agent.tokens" || typeof total !== "number") continue;
      totals.push({ x: Date.parse(at), y: total });
    }
    after = read.next_after_seq;
  }
  return after === null ? withinAttempt(totals, tokens.total_tokens) : [];
}

/**
 * What an attempt has used at each time, of the totals of its thread, which may have begun in an earlier attempt: counted
 * back from what the attempt has used in all.
 */
export function withinAttempt(totals: readonly Point[], used: number): readonly Point[] {
  const last = totals.at(-1)?.y ?? 0;
  let most = 0;
  return totals.map(({ x, y }) => {
    most = Math.max(most, Math.min(used - (last - y), used));
    return { x, y: most };
  });
}

/** The curve of the running attempt, with what was seen since it was read. */
function current(attempts: readonly Attempt[], curves: Curves, seen: readonly Point[]): Curves {
  const running = attempts.find(({ ended_at: end }) => end === null);
  if (running === undefined) return new Map();
  return new Map([[running.id, [...(curves.get(running.id) ?? []), ...seen]]]);
}

function costOf({ rows }: Usage, { id, tokens }: Attempt): number | null {
  const row = rows.find(({ key }) => key === id);
  return row === undefined ? (tokens.total_tokens === 0 ? 0 : null) : row.cost;
}

/** The sum so far: at the begin and at the end of each attempt, and within it where its curve is known; the running one up to now. */
export function tokenPoints(
  attempts: readonly Attempt[],
  live: number | null,
  curves: Curves = new Map(),
): readonly Point[] {
  let sum = 0;
  return attempts.flatMap(({ id, started_at: from, ended_at: to, tokens }) => {
    const before = sum;
    const within = (curves.get(id) ?? []).map(({ x, y }) => ({ x, y: before + y }));
    sum += to === null ? Math.max(live ?? 0, tokens.total_tokens) : tokens.total_tokens;
    const end = { x: to === null ? Date.now() : Date.parse(to), y: sum };
    return [{ x: Date.parse(from), y: before }, ...within, end];
  });
}

/** As the tokens; none where a model has no price. */
function costPoints({ usage, attempts }: Read): readonly Point[] {
  const points: Point[] = [];
  let sum = 0;
  for (const attempt of attempts) {
    const cost = costOf(usage, attempt);
    if (cost === null) return [];
    points.push({ x: Date.parse(attempt.started_at), y: sum });
    sum += cost;
    points.push({
      x: attempt.ended_at === null ? Date.now() : Date.parse(attempt.ended_at),
      y: sum,
    });
  }
  return sum === 0 ? [] : points;
}

export function shortNumber(value: number): string {
  return value.toLocaleString("en-US", { notation: "compact", maximumFractionDigits: 1 });
}
