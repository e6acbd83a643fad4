import type { Issue } from "../core/model/issue.ts";
import { workInWords } from "../core/model/work.ts";
import type { Snapshot } from "../core/orchestrator/snapshot.ts";
import type { Kept } from "../core/workspace/kept.ts";
import { type Html, html, webAddress } from "./html.ts";

/** Rows of each section on the page. */
export const rowsShown = 50;

const textShown = 300;

interface Column<E> {
  readonly label: string;
  /** Prose: it gets the room that the others leave. */
  readonly wide?: true;
  cell(entry: E): Html | string;
}

/** One table for each list that has rows, what needs a person first. */
export function sections(snapshot: Snapshot, wall: number): readonly Html[] {
  return [
    blocked(snapshot, wall),
    running(snapshot, wall),
    retrying(snapshot, wall),
    queued(snapshot),
    stopped("Failed", snapshot.counts.failed, { entries: snapshot.failed, wall }),
    stopped("Held", snapshot.counts.held, { entries: snapshot.held, wall }),
    completed(snapshot, wall),
  ].filter((one) => one !== null);
}

function blocked({ counts, blocked: entries }: Snapshot, wall: number): Html | null {
  const columns: Column<Snapshot["blocked"][number]>[] = [
    { label: "Needs", cell: ({ needs }) => needs.kind },
    { label: "Prompt", wide: true, cell: ({ needs }) => cut(needs.prompt) },
    { label: "Since", cell: ({ sinceWall }) => moment(sinceWall, wall) },
  ];
  return section({ title: "Waiting for a person", count: counts.blocked, entries, columns });
}

function running({ counts, running: entries }: Snapshot, wall: number): Html | null {
  const columns: Column<Snapshot["running"][number]>[] = [
    { label: "Phase", cell: (entry) => cut(entry.stopping?.reason ?? words(entry.phase)) },
    {
      label: "Last",
      wide: true,
      cell: (entry) => cut(entry.lastMessage ?? words(entry.lastEvent ?? "–")),
    },
    { label: "Tokens", cell: ({ tokens }) => number(tokens.total) },
    { label: "Started", cell: ({ startedWall }) => moment(startedWall, wall) },
  ];
  return section({ title: "Running", count: counts.running, entries, columns });
}

function retrying({ counts, retrying: entries }: Snapshot, wall: number): Html | null {
  const columns: Column<Snapshot["retrying"][number]>[] = [
    { label: "Retry", cell: ({ attempt }) => number(attempt) },
    { label: "Error", wide: true, cell: ({ error }) => cut(error ?? "–") },
    { label: "Due", cell: ({ dueWall }) => moment(dueWall, wall) },
  ];
  return section({ title: "Retrying", count: counts.retrying, entries, columns });
}

function queued({ counts, queued: entries }: Snapshot): Html | null {
  const columns: Column<Snapshot["queued"][number]>[] = [
    { label: "State", cell: ({ issue }) => cut(issue.state) },
    { label: "Waits for", wide: true, cell: ({ waitingFor }) => cut(waitingFor) },
  ];
  return section({ title: "Queued", count: counts.queued, entries, columns });
}

interface StoppedRows {
  readonly entries: Snapshot["held"];
  readonly wall: number;
}

function stopped(title: string, count: number, { entries, wall }: StoppedRows): Html | null {
  const columns: Column<Snapshot["held"][number]>[] = [
    { label: "Reason", wide: true, cell: ({ reason }) => cut(reason) },
    { label: "Error", wide: true, cell: ({ error }) => cut(error ?? "–") },
    { label: "Since", cell: ({ sinceWall }) => moment(sinceWall, wall) },
  ];
  return section({ title, count, entries, columns });
}

function completed({ counts, completed: entries }: Snapshot, wall: number): Html | null {
  const columns: Column<Snapshot["completed"][number]>[] = [
    { label: "Outcome", wide: true, cell: ({ outcome }) => words(outcome) },
    { label: "Tokens", cell: ({ tokens }) => number(tokens.total) },
    { label: "Ended", cell: ({ endedWall }) => moment(endedWall, wall) },
  ];
  return section({ title: "Completed", count: counts.completed, entries, columns });
}

/** The workspaces of finished issues that stay for what they hold; no section where there is none. */
export function keptSection(all: readonly Kept[], wall: number): readonly Html[] {
  if (all.length === 0) return [];
  const rows = all.slice(0, rowsShown).map((kept) => {
    const [show, remove] = kept.next;
    const own = `/api/v1/${encodeURIComponent(kept.issueIdentifier)}`;
    const holds = html`<bdi>${cut(workInWords(kept.work))}</bdi>`;
    const commands = html`<code>${cut(show)}</code><br><code>${cut(remove)}</code>`;
    return html`<tr><td><b><a href="${own}">${cut(kept.issueIdentifier)}</a></b>${holds}</td>
<td data-label="Path">${cut(kept.path)}</td><td data-label="Next">${commands}</td>
<td data-label="Since">${moment(kept.since, wall)}</td></tr>`;
  });
  const more = all.length - rows.length;
  const heads = ["Issue and what it holds", "Path", "Next", "Since"].map((label) => {
    const isWide = label === "Path" || label === "Next";
    return html`<th scope="col"${isWide ? wideClass : null}>${label}</th>`;
  });
  return [
    html`<section><h2>Kept workspaces <span>${all.length}${more > 0 ? `, ${more} not shown` : ""}</span></h2>
<table><thead><tr>${heads}</tr></thead><tbody>${rows}</tbody></table></section>
`,
  ];
}

interface Section<E> {
  readonly title: string;
  readonly count: number;
  /** The first of `count`. */
  readonly entries: readonly E[];
  readonly columns: readonly Column<E>[];
}

const wideClass = html` class="wide"`;

function section<E extends { readonly issue: Issue }>(one: Section<E>): Html | null {
  const { title, count, entries, columns } = one;
  if (entries.length === 0) return null;
  const more = count - entries.length;
  const heads = columns.map(
    ({ label, wide }) => html`<th scope="col"${wide ? wideClass : null}>${label}</th>`,
  );
  const rows = entries.map((entry) => {
    const cells = columns.map(
      ({ label, cell }) => html`<td data-label="${label}">${cell(entry)}</td>`,
    );
    return html`<tr><td>${issueCell(entry.issue)}</td>${cells}</tr>`;
  });
  return html`<section><h2>${title} <span>${count}${more > 0 ? `, ${more} not shown` : ""}</span></h2>
<table><thead><tr><th scope="col">Issue</th>${heads}</tr></thead><tbody>${rows}</tbody></table></section>
`;
}

/** The identifier leads to the tracker where that is a web address, else to what the API has. */
function issueCell({ identifier, title, url }: Issue): Html {
  const own = `/api/v1/${encodeURIComponent(identifier)}`;
  const name = html`<a href="${webAddress(url) ?? own}" rel="noopener noreferrer">${cut(identifier)}</a>`;
  return html`<b>${name}</b><bdi>${cut(title)}</bdi>`;
}

function cut(text: string): string {
  return text.length > textShown ? `${text.slice(0, textShown)}…` : text;
}

function words(name: string): string {
  return cut(name.replaceAll("_", " "));
}

/** Digits in groups of three. */
export function number(value: number): Html {
  return html`<span class="number">${value.toLocaleString("en-US")}</span>`;
}

/** A time as its distance from now. */
export function moment(at: number, wall: number): Html {
  const iso = new Date(at).toISOString();
  return html`<time class="number" datetime="${iso}" title="${iso}">${distance(at - wall)}</time>`;
}

function distance(ms: number): string {
  const span = spanOf(Math.abs(ms) / 1_000);
  return ms > 0 ? `in ${span}` : `${span} ago`;
}

function spanOf(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 36 * 3_600
    ? `${Math.round(seconds / 3_600)} h`
    : `${Math.round(seconds / 86_400)} d`;
}
