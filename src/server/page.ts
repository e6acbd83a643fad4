import { createHash } from "node:crypto";
import type { Middleware } from "koa";
import type { Clock } from "../core/clock.ts";
import type { Core } from "../core/core.ts";
import { type Delivery, deliveryInWords, progressOf } from "../core/model/delivery.ts";
import { messageOf } from "../core/model/errors.ts";
import { unsavedText } from "../core/model/gates.ts";
import { type Issue, statuses } from "../core/model/issue.ts";
import { workInWords } from "../core/model/work.ts";
import type { Snapshot } from "../core/orchestrator/snapshot.ts";
import type { View } from "../core/orchestrator/view.ts";
import { redactDeep } from "../core/text/redact.ts";
import type { Kept } from "../core/workspace/kept.ts";
import { distance, webAddress } from "../web/words.ts";
import { Html, html } from "./markup.ts";
import { entry, importMap, style } from "./web.ts";

const refreshSeconds = 5;
const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const contentPolicy = [
  "default-src 'none'",
  "style-src 'self'",
  `script-src 'self' ${hashOf(importMap)}`,
  "connect-src 'self'",
  // No text can become markup or a program, whatever a library does.
  "require-trusted-types-for 'script'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/**
 * `GET /`: the current state for a browser, also without its script, and when there is no snapshot (H-13). The script
 * takes the place of what is shown here. A caller who needs the token gets a page without any data that asks for it.
 */
export function statusPage(core: Core, clock: Clock): Middleware {
  return (ctx) => {
    ctx.set("Content-Security-Policy", contentPolicy);
    ctx.set("Cache-Control", "no-store");
    ctx.set("Content-Type", "text/html; charset=utf-8");
    if (ctx.state["locked"] === true) {
      ctx.status = 401;
      ctx.body = layout(null, [alerts([locked])], "symphony").text;
      return;
    }
    const wall = clock.wall();
    const view = viewOrNull(core, String(ctx.state["requestId"]));
    const problems = [...(view === null ? [noSnapshot] : problemsOf(view)), ...unrecordedIn(core)];
    const kept = redactDeep(core.workspaces.kept.list(), core.redact);
    const main = view === null ? null : content(view, { wall, kept, core });
    ctx.body = layout(core, [alerts(problems), main], heading(view)).text;
  };
}

function viewOrNull(core: Core, requestId: string): View | null {
  try {
    // Before truncation: a truncated secret would no longer be recognized.
    return redactDeep(core.orchestrator.view(rowsShown), core.redact);
  } catch (error) {
    core.log.error("no snapshot for the page", {
      ...{ error: messageOf(error), request_id: requestId },
    });
    return null;
  }
}

interface Problem {
  readonly title: string;
  readonly message: string;
}

const locked: Problem = {
  title: "This server wants its token",
  message: "The page asks for it with scripts on; symphony commands find it by themselves.",
};

const noSnapshot: Problem = {
  title: "No snapshot",
  message: "The state cannot be read now. This page tries again by itself.",
};

function problemsOf({ problem, tracker, snapshot, storage, warnings }: View): readonly Problem[] {
  const own = problem && { title: "Nothing new is started", message: problem.message };
  const unsaved = storage && {
    title: "Nothing new is started",
    message: `${unsavedText(storage)}. Dispatch resumes by itself once there is room.`,
  };
  const { lastError } = tracker;
  const starting = tracker.status === "starting" && {
    title: "Starting",
    message: `The first read of the ${tracker.kind} tracker has not ended.`,
  };
  const failing = lastError && {
    title: `An error of the ${tracker.kind} tracker`,
    message: lastError.message,
  };
  const paused = snapshot.paused.map(({ agent, untilWall, reason }) => ({
    title: agent === null ? "Nothing new is started" : `Nothing new is started with ${agent}`,
    message: untilWall === null ? reason : `Until ${new Date(untilWall).toISOString()}: ${reason}`,
  }));
  const ignored = warnings.map((message) => ({ title: "Configuration", message }));
  return [own, unsaved, starting, failing, ...paused, ...ignored].filter(
    (one) => one !== null && one !== false,
  );
}

function unrecordedIn({ recorder, redact }: Core): readonly Problem[] {
  const { trouble, lost } = recorder;
  if (trouble === null) return [];
  const since = new Date(trouble.sinceWall).toISOString();
  const message = `${lost} since ${since}: ${redact(trouble.reason)}. It is tried again by itself.`;
  return [{ title: "Decisions are not recorded", message }];
}

function alerts(problems: readonly Problem[]): readonly Html[] {
  return problems.map(
    ({ title, message }) => html`<div class="alert" role="alert"><b>${title}.</b> ${message}</div>`,
  );
}

function heading(view: View | null): string {
  return view === null ? "symphony" : `symphony: ${view.snapshot.counts.running} running`;
}

interface Shown {
  readonly wall: number;
  readonly kept: readonly Kept[];
  readonly core: Core;
}

function content(view: View, { wall, kept, core }: Shown): Html {
  const { snapshot } = view;
  const tiles = statuses.map((status) => {
    const count = snapshot.counts[status];
    return html`<li class="${status}${count === 0 ? " zero" : ""}"><b>${count}</b>${status}</li>`;
  });
  const tables = [...sections(snapshot, wall, core), ...keptSection(kept, wall)];
  const empty = html`<section class="empty">No issue is queued, running or waiting.</section>`;
  return html`<ul class="counts">${tiles}</ul>
${tables.length > 0 ? tables : empty}
<p class="soft">${number(snapshot.totals.tokens.total)} tokens in ${hours(snapshot.totals.secondsRunning)} of agent time. ${polled(view, wall)}</p>`;
}

function hours(seconds: number): string {
  return seconds < 3_600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

function polled({ polling, tracker }: View, wall: number): Html {
  if (polling.lastWall === null) return html`The ${tracker.kind} tracker was not polled yet.`;
  const { slowed } = polling;
  const slow =
    slowed && ` Polls come every ${Math.ceil(slowed.intervalMs / 1_000)} s: ${slowed.reason}.`;
  return html`The ${tracker.kind} tracker was polled ${moment(polling.lastWall, wall)}.${slow ?? ""}`;
}

function layout(
  core: Core | null,
  parts: readonly (Html | null | readonly Html[])[],
  title: string,
): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="${refreshSeconds}"></noscript>
<title>${title}</title>
<link rel="stylesheet" href="${style}">
${scripts}
</head>
<body>
<header><h1><a href="#/">symphony</a></h1>${core === null ? null : html`<p>version ${core.version}, ${core.workflowPath}</p>`}</header>
<main>${parts}</main>
<footer><nav><a href="/api/v1/state">State as JSON</a><a href="/api/v1/runtime">Runtime</a><a href="/api/v1/openapi.json">API document</a></nav></footer>
</body>
</html>
`;
}

/** The page's program. The import map must arrive byte for byte as it was hashed. */
const scripts = new Html(
  `<script type="importmap">${importMap}</script>\n<script type="module" src="${entry}"></script>`,
);

/** Maximum number of rows per section on the page. */
const rowsShown = 50;

const textShown = 300;

interface Column<E> {
  readonly label: string;
  /** True for prose: it takes the width that the other columns leave. */
  readonly wide?: true;
  cell(entry: E): Html | string;
}

/** One table for each list that has rows; those that need a person come first. */
function sections(snapshot: Snapshot, wall: number, core: Core): readonly Html[] {
  return [
    blocked(snapshot, wall),
    review(snapshot, wall, core),
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

function review(
  { counts, review: entries }: Snapshot,
  wall: number,
  { deliveries, redact }: Core,
): Html | null {
  const columns: Column<Snapshot["review"][number]>[] = [
    { label: "State", cell: ({ issue }) => cut(issue.state) },
    {
      label: "Waits for",
      wide: true,
      cell: ({ issue }) => waitCell(redactDeep(deliveries.of(issue.id), redact)),
    },
    { label: "Since", cell: ({ sinceWall }) => moment(sinceWall, wall) },
  ];
  return section({ title: "Waiting for review", count: counts.review, entries, columns });
}

/** The pull request, or the branch, and what it waits for. */
function waitCell(delivery: Delivery | null): Html | string {
  if (delivery === null) return "a person";
  const { pullRequest: pull } = delivery;
  const address = pull && webAddress(pull.url);
  if (pull === null || address === null) return cut(deliveryInWords(delivery));
  return html`<a href="${address}" rel="noopener noreferrer">pull request #${pull.number}</a>; ${cut(progressOf(delivery))}`;
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
  readonly entries: Snapshot["held"] | Snapshot["failed"];
  readonly wall: number;
}

function stopped(title: string, count: number, { entries, wall }: StoppedRows): Html | null {
  const columns: Column<Snapshot["held" | "failed"][number]>[] = [
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

/** The workspaces of finished issues that are kept because they hold work; no section if there are none. */
function keptSection(all: readonly Kept[], wall: number): readonly Html[] {
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

/** The identifier links to the tracker if the issue has a web address, else to the API. */
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
function number(value: number): Html {
  return html`<span class="number">${value.toLocaleString("en-US")}</span>`;
}

/** A time as its distance from now. */
function moment(at: number, wall: number): Html {
  const iso = new Date(at).toISOString();
  return html`<time class="number" datetime="${iso}" title="${iso}">${distance(at, wall)}</time>`;
}
