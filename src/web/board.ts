import type { VNode } from "preact";
import { Answer } from "./action.ts";
import { html } from "./markup.ts";
import type { State } from "./store.ts";
import { cut, distance, thousands, webAddress, words } from "./words.ts";

/** What every row of the state has. */
interface Row {
  readonly issue_identifier: string;
  readonly title: string;
  readonly state: string;
  readonly labels: readonly string[];
}

interface Lane<R extends Row> {
  readonly name: string;
  readonly title: string;
  readonly count: number;
  readonly rows: readonly R[];
  /** What the row says next to its issue. */
  facts(row: R, now: number): unknown;
}

/** Rows of a lane that are shown before the rest is folded. */
const shownRows = 100;

export function lanesOf(state: State, now: number): readonly Lane<Row>[] {
  const { counts } = state;
  const lane = <R extends Row>(one: Lane<R>) => one as unknown as Lane<Row>;
  const stopped = [...state.failed, ...state.held];
  const waiting = [...state.retrying, ...state.queued];
  return [
    lane({
      ...{ name: "needs", title: "Needs you", count: counts.blocked, rows: state.blocked },
      facts: ({
        needs,
        issue_identifier: issue,
      }) => html`<p class="prompt">${cut(needs.prompt, 2_000)}</p>
        <p class="soft">${needs.kind} asked ${distance(needs.since, now)}</p>
        <${Answer} key=${`${issue}-${needs.since}`} issue=${issue} needs=${needs} />`,
    }),
    lane({
      ...{ name: "review", title: "Waiting for review", count: counts.review, rows: state.review },
      facts: ({ delivery, since }) =>
        html`<p>${delivery === null ? "waits for a person" : offered(delivery)}</p><p class="soft">${distance(since, now)}</p>`,
    }),
    lane({
      ...{ name: "running", title: "Running", count: counts.running, rows: state.running },
      facts: (
        row,
      ) => html`<p>${cut(row.stopping ?? row.last_message ?? words(row.last_event ?? row.phase))}</p>
        <p class="soft">${row.agent}${row.model === null ? "" : ` · ${row.model}`} · ${words(row.phase)} · ${thousands(row.tokens.total_tokens)} tokens · began ${distance(row.started_at, now)}</p>`,
    }),
    lane({
      ...{ name: "queued", title: "Queued", count: counts.queued + counts.retrying, rows: waiting },
      facts: (row) =>
        "due_at" in row
          ? html`<p>${cut(row.error ?? "tried again")}</p><p class="soft">retry ${row.attempt}, due ${distance(row.due_at, now)}</p>`
          : html`<p>${cut(row.waiting_for)}</p>`,
    }),
    lane({
      ...{
        name: "held",
        title: "Held or failed",
        count: counts.held + counts.failed,
        rows: stopped,
      },
      facts: (row) =>
        html`<p>${cut(row.reason)}</p>${row.error !== null && html`<p class="bad">${cut(row.error)}</p>`}<p class="soft">${row.status} ${distance(row.since, now)}</p>`,
    }),
    lane({
      ...{ name: "done", title: "Done", count: counts.completed, rows: state.completed },
      facts: (row) =>
        html`<p>${words(row.outcome)}</p><p class="soft">${thousands(row.tokens.total_tokens)} tokens · ${distance(row.ended_at, now)}</p>`,
    }),
  ];
}

interface Offered {
  readonly summary: string;
  readonly problem: string | null;
  readonly pull_request: { readonly url: string; readonly number: number } | null;
}

/** Where the work is, with its pull request as a link. */
export function offered({ summary, problem, pull_request: pull }: Offered): VNode {
  const address = webAddress(pull?.url);
  return html`${address !== null && html`<a href=${address} rel="noopener noreferrer">pull request #${pull?.number}</a>`} ${cut(problem ?? summary)}`;
}

export function issueAddress(identifier: string): string {
  return `#/issue/${encodeURIComponent(identifier)}`;
}

function matches(row: Row, search: string): boolean {
  const text = `${row.issue_identifier} ${row.title} ${row.state} ${row.labels.join(" ")}`;
  return text.toLowerCase().includes(search.trim().toLowerCase());
}

export function Board({
  state,
  search,
  now,
}: {
  state: State;
  search: string;
  now: number;
}): VNode {
  const lanes = lanesOf(state, now).map((lane) => ({
    ...lane,
    rows: lane.rows.filter((row) => matches(row, search)),
  }));
  const used = lanes.filter(({ rows }) => rows.length > 0);
  if (used.length === 0) {
    const what = search === "" ? "No issue is queued, running or waiting." : "No issue matches.";
    return html`<section class="empty">${what}</section>`;
  }
  return html`<div>${used.map((lane) => html`<${LaneView} key=${lane.name} lane=${lane} now=${now} />`)}</div>`;
}

function LaneView({ lane, now }: { lane: Lane<Row>; now: number }): VNode {
  const rows = lane.rows.slice(0, shownRows);
  const more = lane.rows.length - rows.length;
  return html`<section id=${`lane-${lane.name}`} class=${`lane ${lane.name}`}>
    <h2>${lane.title} <span>${lane.count}${more > 0 ? `, ${more} not shown: search for them` : ""}</span></h2>
    <ul class="rows">${rows.map(
      (row) => html`<li key=${row.issue_identifier}>
        <div class="issue"><a href=${issueAddress(row.issue_identifier)}>${row.issue_identifier}</a><bdi>${cut(row.title)}</bdi><span class="soft">${row.state}</span></div>
        <div class="facts">${lane.facts(row, now)}</div>
      </li>`,
    )}</ul>
  </section>`;
}
