import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { z } from "zod";
import type { AttemptView } from "../contract/attempts.ts";
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
}

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
  useEffect(() => {
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
  const points = { tokens: tokenPoints(attempts, live), cost: costPoints(read) };
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
  return { usage, attempts: [...attempts].reverse(), more: total - attempts.length };
}

function costOf({ rows }: Usage, { id, tokens }: Attempt): number | null {
  const row = rows.find(({ key }) => key === id);
  return row === undefined ? (tokens.total_tokens === 0 ? 0 : null) : row.cost;
}

/** The sum so far, at the begin and at the end of each attempt; the running one up to now. */
export function tokenPoints(attempts: readonly Attempt[], live: number | null): readonly Point[] {
  let sum = 0;
  return attempts.flatMap(({ started_at: from, ended_at: to, tokens }) => {
    const begin = { x: Date.parse(from), y: sum };
    sum += to === null ? Math.max(live ?? 0, tokens.total_tokens) : tokens.total_tokens;
    return [begin, { x: to === null ? Date.now() : Date.parse(to), y: sum }];
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
