import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { z } from "zod";
import type { workers } from "../contract/workers.ts";
import { Command } from "./action.ts";
import { call, Refusal } from "./api.ts";
import { type LaneName, lanesOf, type State } from "./lanes.ts";
import { html } from "./markup.ts";
import { Bars, LinePlot, type Series } from "./plot.ts";
import { boardAddress } from "./route.ts";
import { money, shortNumber, type Usage } from "./usage.ts";
import { cut, plural, thousands } from "./words.ts";

const dayMs = 86_400_000;
const periods = [7, 30, 90];
/** Pages of 500 issues that are read at most. */
const maxPages = 4;

interface Figures {
  readonly currency: string;
  /** Issues by what became of them. */
  readonly outcomes: ReadonlyMap<string, number>;
  readonly tokens: number;
  /** null: a model has no price. */
  readonly cost: number | null;
  readonly unpriced: readonly string[];
  /** Oldest first. */
  readonly days: Usage["rows"];
  /** Issues that were not read, because there are too many. */
  readonly left: number;
}

const good: ReadonlySet<string> = new Set(["merged", "completed"]);
const bad: ReadonlySet<string> = new Set(["closed", "held", "failed", "no_changes"]);

/** How much gets done, how often it succeeds, what it costs, and what waits for what. */
export function Overview({ state }: { state: State }): VNode {
  const [period, setPeriod] = useState(30);
  const [figures, setFigures] = useState<Figures | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const ended = state.counts.completed + state.counts.failed + state.counts.held;
  useEffect(() => {
    let current = true;
    void readFigures(period, state).then(
      (read) => {
        if (current) setFigures(read);
      },
      (error) => {
        if (current)
          setFault(error instanceof Refusal ? error.message : "The server did not answer.");
      },
    );
    return () => {
      current = false;
    };
  }, [period, ended]);
  const choose = (event: Event) => setPeriod(Number((event.target as HTMLSelectElement).value));
  return html`<article id="overview">
    <section class="heading"><h2><a href="#/">All issues</a> / Overview</h2>
      <label class="period">In the last <select value=${period} onChange=${choose}>${periods.map((days) => html`<option key=${days} value=${days}>${days} days</option>`)}</select></label></section>
    ${fault !== null && html`<div class="alert" role="alert">${fault}</div>`}
    ${figures !== null && html`<${Tiles} figures=${figures} />`}
    <${Waiting} state=${state} />
    <${Workers} state=${state} />
    <${Finished} state=${state} />
    ${figures !== null && html`<${Days} figures=${figures} />`}
  </article>`;
}

async function readFigures(days: number, state: State): Promise<Figures> {
  const since = new Date(Date.now() - (days - 1) * dayMs).toISOString().slice(0, 10);
  const byDay = call<Usage>("GET", `/api/v1/usage?by=day&since=${since}&limit=500`);
  const outcomes = new Map<string, number>();
  const add = (name: string) => outcomes.set(name, (outcomes.get(name) ?? 0) + 1);
  const used = new Set<string>();
  let read = 0;
  let total = 0;
  for (let page = 0; page < maxPages && (page === 0 || read < total); page++) {
    const path = `/api/v1/usage?by=issue&outcome=true&since=${since}&limit=500&offset=${read}`;
    const answer = await call<Usage>("GET", path);
    for (const { key, outcome } of answer.rows) {
      used.add(key);
      add(outcome ?? "unknown");
    }
    read += answer.rows.length;
    total = answer.total;
  }
  // Programs that report no tokens finish issues too.
  const { completed, failed, held } = state;
  const ended = [
    ...completed.map((one) => ({ ...one, since: one.ended_at })),
    ...[...failed, ...held],
  ];
  for (const { issue_identifier: issue, since: at, status } of read < total ? [] : ended)
    if (at >= since && !used.has(issue)) add(status);
  const { rows, sum, currency } = await byDay;
  return {
    ...{ currency, outcomes, tokens: sum.tokens.total_tokens, cost: sum.cost },
    ...{ unpriced: sum.unpriced_models, days: [...rows].reverse(), left: total - read },
  };
}

function countOf(outcomes: Figures["outcomes"], wanted: ReadonlySet<string>): number {
  return [...outcomes].reduce((sum, [name, count]) => (wanted.has(name) ? sum + count : sum), 0);
}

function Tiles({ figures }: { figures: Figures }): VNode {
  const { outcomes, tokens, cost, currency, unpriced, left } = figures;
  const [finished, failed] = [countOf(outcomes, good), countOf(outcomes, bad)];
  const ended = finished + failed;
  const each = cost === null || finished === 0 ? null : cost / finished;
  const rate = ended === 0 ? "–" : `${Math.round((finished / ended) * 100)} %`;
  const tiles = [
    { value: String(finished), name: `${finished === 1 ? "issue" : "issues"} finished` },
    {
      value: rate,
      name: ended === 0 ? "none has ended yet" : `of ${plural(ended, "ended issue")} succeeded`,
    },
    // A program that reports no tokens costs what is not known.
    ...(tokens === 0 ? [] : [{ value: shortNumber(tokens), name: "tokens" }]),
    ...(cost === null || tokens === 0 ? [] : [{ value: money(cost, currency), name: "spent" }]),
    ...(each === null ? [] : [{ value: money(each, currency), name: "for each finished issue" }]),
  ];
  const all = [...outcomes].sort(([, a], [, b]) => b - a);
  return html`<ul class="counts">${tiles.map(({ value, name }) => html`<li key=${name}><b>${value}</b>${name}</li>`)}</ul>
    <p class="soft">${all.map(([name, count]) => `${thousands(count)} ${name.replaceAll("_", " ")}`).join(", ")}${left > 0 ? `, ${thousands(left)} not counted` : ""}${cost === null ? `; no cost: ${unpriced.join(", ")} has no price in usage.prices` : ""}</p>`;
}

interface Wait {
  readonly lane: LaneName;
  readonly title: string;
  readonly reason: string;
  readonly count: number;
}

/** What waits, grouped by what it waits for; the most frequent first in each lane. */
export function waitsIn(state: State): readonly Wait[] {
  const titles = new Map(lanesOf(state, Date.now()).map(({ name, title }) => [name, title]));
  const reasons: [LaneName, string][] = [
    ...state.blocked.map(({ needs }): [LaneName, string] => [
      "needs",
      `an ${needs.kind === "approval" ? "approval" : "answer"}`,
    ]),
    ...state.review.map(({ delivery }): [LaneName, string] => [
      "review",
      delivery?.problem ??
        delivery?.waiting_for?.replace(delivery.branch ?? "its branch", "it") ??
        "a person",
    ]),
    ...state.retrying.map(({ error }): [LaneName, string] => [
      "queued",
      `a retry after: ${error ?? "a continued run"}`,
    ]),
    ...state.queued.map(({ waiting_for: waits }): [LaneName, string] => ["queued", waits]),
    ...[...state.failed, ...state.held].map(({ reason }): [LaneName, string] => ["held", reason]),
  ];
  const counted = new Map<string, Wait>();
  for (const [lane, reason] of reasons) {
    const key = `${lane} ${reason}`;
    const count = (counted.get(key)?.count ?? 0) + 1;
    counted.set(key, { lane, title: titles.get(lane) ?? lane, reason, count });
  }
  const order = [...titles.keys()];
  return [...counted.values()].sort(
    (a, b) => order.indexOf(a.lane) - order.indexOf(b.lane) || b.count - a.count,
  );
}

function Waiting({ state }: { state: State }): VNode | null {
  const waits = waitsIn(state);
  if (waits.length === 0) return null;
  const filter = { search: "", label: "", agent: "" };
  return html`<section><h2>What waits, and for what</h2><ul class="gates">${waits
    .slice(0, 30)
    .map(
      ({ lane, title, reason, count }) =>
        html`<li key=${`${lane} ${reason}`}><a href=${boardAddress({ ...filter, lane })}>${title}: ${thousands(count)}</a><span>${cut(reason)}</span></li>`,
    )}</ul></section>`;
}

type Fleet = Pick<z.output<typeof workers.list.reply>, "workers">;
const workersMs = 10_000;

/** The machines that attempts run on; nothing without a fleet. */
function Workers({ state }: { state: State }): VNode | null {
  const [fleet, setFleet] = useState<Fleet["workers"]>([]);
  useEffect(() => {
    let current = true;
    const read = () =>
      call<Fleet>("GET", "/api/v1/workers").then(
        (reply) => current && setFleet(reply.workers),
        // What was read last stays, as the badge says of the page.
        () => {},
      );
    void read();
    const timer = fleet.length > 0 ? setInterval(read, workersMs) : undefined;
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [fleet.length, state.running.map((row) => row.worker_host).join()]);
  if (fleet.length === 0) return null;
  return html`<section id="workers"><h2>Workers <span>${fleet.length}</span></h2><ul class="gates">${fleet.map(
    ({ name, running, capacity, labels, why, agents }) => {
      const lacks = (agents ?? []).filter(({ trouble }) => why === null && trouble !== null);
      const facts = [
        why ?? "ready",
        `${running} of ${capacity} running`,
        ...labels,
        ...lacks.map(({ agent, trouble }) => `cannot run ${agent}: ${trouble}`),
      ];
      return html`<li key=${name} class=${why === null ? undefined : "closed"}><b>${name}</b><span>${facts.join(" · ")}</span></li>`;
    },
  )}</ul><p class="padded"><${Command} words=${["symphony", "workers", "list"]} /></p></section>`;
}

/** Issues completed on each of the last 14 days, of those that the state lists. */
function Finished({ state }: { state: State }): VNode | null {
  const { completed, counts } = state;
  if (completed.length === 0) return null;
  const today = new Date().setHours(12, 0, 0, 0);
  const bars = Array.from({ length: 14 }, (_, at) => {
    const day = new Date(today - (13 - at) * dayMs);
    const value = completed.filter(
      ({ ended_at: end }) => new Date(end).toDateString() === day.toDateString(),
    ).length;
    return { label: `${day.getMonth() + 1}/${day.getDate()}`, value };
  });
  const sum = bars.reduce((all, { value }) => all + value, 0);
  const newest = counts.completed > completed.length ? `, of the newest ${completed.length}` : "";
  return html`<section><h2>Completed by day <span>${sum} in two weeks${newest}</span></h2>
    <${Bars} bars=${bars} label=${`Completed issues by day: ${bars.map(({ label, value }) => `${label} ${value}`).join(", ")}`} /></section>`;
}

function Days({ figures: { days, currency } }: { figures: Figures }): VNode | null {
  if (days.length < 2) return null;
  const at = (key: string) => Date.parse(`${key}T12:00:00Z`);
  const priced = days.flatMap(({ key, cost }) => (cost === null ? [] : [{ x: at(key), y: cost }]));
  const series: Series[] = [
    {
      ...{ name: "tokens", look: "first", text: shortNumber },
      points: days.map(({ key, tokens }) => ({ x: at(key), y: tokens.total_tokens })),
    },
    ...(priced.length === days.length
      ? [
          {
            name: "cost",
            look: "second",
            points: priced,
            text: (value: number) => money(value, currency),
          } as const,
        ]
      : []),
  ];
  return html`<section><h2>Tokens by day</h2><${LinePlot} series=${series} label="Tokens by day" />
    <details><summary>as a table</summary><table><thead><tr><th scope="col">Day (UTC)</th><th scope="col">Tokens</th><th scope="col">Cost</th></tr></thead><tbody>${days.map(
      ({ key, tokens, cost }) =>
        html`<tr key=${key}><td data-label="Day">${key}</td><td data-label="Tokens">${thousands(tokens.total_tokens)}</td><td data-label="Cost">${money(cost, currency)}</td></tr>`,
    )}</tbody></table></details>
    <p class="padded"><${Command} words=${["symphony", "usage", "--by", "day"]} /></p></section>`;
}
