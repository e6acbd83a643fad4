import { createHash } from "node:crypto";
import type { Middleware } from "koa";
import type { Clock } from "../core/clock.ts";
import type { Core } from "../core/core.ts";
import { messageOf } from "../core/model/errors.ts";
import { statuses } from "../core/model/status.ts";
import { unsavedText } from "../core/model/storage.ts";
import type { View } from "../core/orchestrator/answers.ts";
import { redactDeep } from "../core/redact-deep.ts";
import type { Kept } from "../core/workspace/kept.ts";
import { Html, html } from "./html.ts";
import { keptSection, moment, number, rowsShown, sections } from "./page-sections.ts";
import { pageStyle } from "./page-style.ts";

const refreshSeconds = 5;
const styleHash = createHash("sha256").update(pageStyle).digest("base64");
const contentPolicy = [
  "default-src 'none'",
  `style-src 'sha256-${styleHash}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** `GET /`: the state now, for people. It runs no script, and shows itself also when no snapshot can be had (H-13). */
export function statusPage(core: Core, clock: Clock): Middleware {
  return (ctx) => {
    const wall = clock.wall();
    const view = viewOrNull(core);
    const problems = view === null ? [noSnapshot] : problemsOf(view);
    const kept = redactDeep(core.workspaces.kept.list(), core.redact);
    const main = view === null ? null : content(view, wall, kept);
    ctx.set("Content-Security-Policy", contentPolicy);
    ctx.set("Cache-Control", "no-store");
    ctx.type = "text/html; charset=utf-8";
    ctx.body = layout(core, [alerts(problems), main], heading(view)).text;
  };
}

function viewOrNull(core: Core): View | null {
  try {
    // Before anything is shortened: half a secret is not found any more.
    return redactDeep(core.orchestrator.view(rowsShown), core.redact);
  } catch (error) {
    core.log.error("no snapshot for the page", { error: messageOf(error) });
    return null;
  }
}

interface Problem {
  readonly title: string;
  readonly message: string;
}

const noSnapshot: Problem = {
  title: "No snapshot",
  message: "The state cannot be read now. This page tries again by itself.",
};

function problemsOf({ problem, tracker, snapshot, storage }: View): readonly Problem[] {
  const own = problem && { title: "Nothing new is started", message: problem.message };
  const unsaved = storage && {
    title: "Nothing new is started",
    message: `${unsavedText(storage)}. Dispatch resumes by itself once there is room.`,
  };
  const { lastError } = tracker;
  const failing = lastError && {
    title: `The ${tracker.kind} tracker fails`,
    message: lastError.message,
  };
  const paused = snapshot.paused.map(({ agent, untilWall, reason }) => ({
    title: agent === null ? "Nothing new is started" : `Nothing new is started with ${agent}`,
    message: `Until ${new Date(untilWall).toISOString()}: ${reason}`,
  }));
  return [own, unsaved, failing, ...paused].filter((one) => one !== null);
}

function alerts(problems: readonly Problem[]): readonly Html[] {
  return problems.map(
    ({ title, message }) => html`<div class="alert" role="alert"><b>${title}.</b> ${message}</div>`,
  );
}

function heading(view: View | null): string {
  return view === null ? "symphony" : `symphony: ${view.snapshot.counts.running} running`;
}

function content(view: View, wall: number, kept: readonly Kept[]): Html {
  const { snapshot } = view;
  const tiles = statuses.map((status) => {
    const count = snapshot.counts[status];
    return html`<li class="${status}${count === 0 ? " zero" : ""}"><b>${count}</b>${status}</li>`;
  });
  const tables = [...sections(snapshot, wall), ...keptSection(kept, wall)];
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
  return html`The ${tracker.kind} tracker was polled ${moment(polling.lastWall, wall)}.`;
}

function layout(
  core: Core,
  parts: readonly (Html | null | readonly Html[])[],
  title: string,
): Html {
  // The style is ours and must arrive byte for byte as it was hashed.
  const style = new Html(`<style>${pageStyle}</style>`);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${refreshSeconds}">
<title>${title}</title>
${style}
</head>
<body>
<header><h1>symphony</h1><p>version ${core.version}, ${core.workflowPath}</p></header>
<main>${parts}</main>
<footer><nav><a href="/api/v1/state">State as JSON</a><a href="/api/v1/runtime">Runtime</a><a href="/api/v1/openapi.json">API document</a></nav></footer>
</body>
</html>
`;
}
