import { Component, type VNode } from "preact";
import { Answer, CommandLine } from "./action.ts";
import { Offered } from "./delivery.ts";
import {
  conflictsIn,
  type Lane,
  lanesOf,
  matches,
  nextOf,
  type Row,
  type State,
  type Words,
  wordsOf,
} from "./lanes.ts";
import { html } from "./markup.ts";
import { type Filter, issueAddress } from "./route.ts";
import { cut } from "./words.ts";

/** Rows of a lane that are shown before the rest is folded. */
const shownRows = 100;

function isShown(row: Row, { search, label, agent }: Filter): boolean {
  if (label !== "" && !row.labels.includes(label)) return false;
  if (agent !== "" && !("agent" in row && row.agent === agent)) return false;
  return matches(row, search);
}

interface BoardProps {
  readonly state: State;
  readonly filter: Filter;
  readonly now: number;
}

/** A class, because it keeps the focus: a row that changes its place in the document would lose it. */
export class Board extends Component<BoardProps> {
  override getSnapshotBeforeUpdate(): Element | null {
    return document.activeElement;
  }

  override componentDidUpdate(_: BoardProps, __: object, focused: Element | null): void {
    if (focused === document.activeElement || !focused?.isConnected) return;
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  }

  override render({ state, filter, now }: BoardProps): VNode {
    const conflicts = conflictsIn(state);
    const lanes = lanesOf(state, now)
      .filter(({ name }) => filter.lane === "" || filter.lane === name)
      .map((lane) => ({
        ...lane,
        unread: lane.count - lane.rows.length,
        rows: lane.rows.filter((row) => isShown(row, filter)),
      }))
      .filter(({ rows }) => rows.length > 0);
    if (lanes.length === 0) {
      const isAll = Object.values(filter).every((text) => text === "");
      const what = isAll ? "No issue is queued, running or waiting." : "No issue matches.";
      return html`<section class="empty">${what}</section>`;
    }
    return html`<div>${lanes.map((lane) => html`<${LaneView} key=${lane.name} lane=${lane} conflicts=${conflicts} now=${now} />`)}</div>`;
  }
}

/** Of the issues that one conflicts with; its own page has all of them. */
const othersNamed = 5;

interface LaneProps {
  /** `unread`: how many the server has and the page has not. */
  readonly lane: Lane & { readonly unread: number };
  readonly conflicts: ReadonlyMap<string, readonly string[]>;
  readonly now: number;
}

function LaneView({ lane, conflicts, now }: LaneProps): VNode {
  const rows = lane.rows.slice(0, shownRows);
  const more = lane.rows.length - rows.length;
  const found = more > 0 ? `, ${more} not shown: search for them` : "";
  const rest = lane.unread > 0 ? `, ${lane.unread} not read` : "";
  return html`<section id=${`lane-${lane.name}`} class=${`lane ${lane.name}`}>
    <h2>${lane.title} <span>${lane.count}${found}${rest}</span></h2>
    <ul class="rows">${rows.map((row) => {
      const others = conflicts.get(row.issue_identifier) ?? [];
      return html`<${RowView} key=${row.issue_identifier} row=${row} said=${wordsOf(row, now)} others=${others} />`;
    })}</ul>
  </section>`;
}

interface RowProps {
  readonly row: Row;
  readonly said: Words;
  /** The issues that it conflicts with. */
  readonly others: readonly string[];
}

/** Rendered only when it has something new to show: the store keeps the rows that say the same. */
class RowView extends Component<RowProps> {
  override shouldComponentUpdate({ row, said, others }: RowProps): boolean {
    const { props } = this;
    return (
      row !== props.row || said.about !== props.said.about || `${others}` !== `${props.others}`
    );
  }

  override render({ row, said, others }: RowProps): VNode {
    const { issue_identifier: issue, labels } = row;
    return html`<li>
      <div class="issue"><a href=${issueAddress(issue)}>${issue}</a><bdi>${cut(row.title)}</bdi><span class="soft">${[row.state, ...labels.slice(0, 5)].join(" · ")}</span></div>
      <div class="facts"><${Facts} row=${row} said=${said} />${others.length > 0 && html`<p class="bad">git cannot merge it with ${others.slice(0, othersNamed).map((other, at) => html`${at > 0 && ", "}<a key=${other} href=${issueAddress(other)}>${other}</a>`)}${others.length > othersNamed && ` and ${others.length - othersNamed} more`}</p>`}</div>
    </li>`;
  }
}

/** What the row says next to its issue. */
function Facts({ row, said }: Omit<RowProps, "others">): VNode {
  const { what, fault, about } = said;
  const issue = row.issue_identifier;
  if ("needs" in row) {
    return html`<p class="prompt">${cut(what, 2_000)}</p><p class="soft">${about}</p>
      <${Answer} key=${`${issue}-${row.needs.id ?? row.needs.since}`} issue=${issue} needs=${row.needs} />`;
  }
  const delivery = "delivery" in row ? row.delivery : null;
  const isOffered = row.status === "review" && delivery !== null;
  const next = nextOf(row);
  return html`${!isOffered && html`<p>${cut(what)}</p>`}
    ${fault !== null && fault !== what && html`<p class="bad">${cut(fault)}</p>`}
    ${delivery !== null && html`<${Offered} delivery=${delivery} />`}
    ${about !== "" && html`<p class="soft">${about}</p>`}
    ${next !== null && html`<${CommandLine} line=${next} />`}`;
}
