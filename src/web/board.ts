import type { VNode } from "preact";
import { Answer } from "./action.ts";
import { type Lane, lanesOf, matches, type Row, type State, wordsOf } from "./lanes.ts";
import { html } from "./markup.ts";
import { cut, webAddress } from "./words.ts";

/** Rows of a lane that are shown before the rest is folded. */
const shownRows = 100;

/** What the row says next to its issue. */
function Facts({ row, now }: { row: Row; now: number }): VNode {
  const { what, fault, about } = wordsOf(row, now);
  const issue = row.issue_identifier;
  if ("needs" in row) {
    return html`<p class="prompt">${cut(what, 2_000)}</p><p class="soft">${about}</p>
      <${Answer} key=${`${issue}-${row.needs.since}`} issue=${issue} needs=${row.needs} />`;
  }
  const delivery = row.status === "review" && "delivery" in row ? row.delivery : null;
  return html`<p>${delivery === null ? cut(what) : offered(delivery)}</p>
    ${fault !== null && html`<p class="bad">${cut(fault)}</p>`}${about !== "" && html`<p class="soft">${about}</p>`}`;
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

function LaneView({ lane, now }: { lane: Lane; now: number }): VNode {
  const rows = lane.rows.slice(0, shownRows);
  const more = lane.rows.length - rows.length;
  return html`<section id=${`lane-${lane.name}`} class=${`lane ${lane.name}`}>
    <h2>${lane.title} <span>${lane.count}${more > 0 ? `, ${more} not shown: search for them` : ""}</span></h2>
    <ul class="rows">${rows.map(
      (row) => html`<li key=${row.issue_identifier}>
        <div class="issue"><a href=${issueAddress(row.issue_identifier)}>${row.issue_identifier}</a><bdi>${cut(row.title)}</bdi><span class="soft">${row.state}</span></div>
        <div class="facts"><${Facts} row=${row} now=${now} /></div>
      </li>`,
    )}</ul>
  </section>`;
}
