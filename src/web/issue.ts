import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { z } from "zod";
import type { IssueDetail } from "../contract/issues.ts";
import type { Transitions } from "../contract/system.ts";
import { Abort, Answer, Command, Model, Steer, Transition } from "./action.ts";
import { Ago } from "./ago.ts";
import { call, issuePath, Refusal } from "./api.ts";
import { Conflicts, DeliverySection } from "./delivery.ts";
import { DiffView } from "./diff.ts";
import { conflictsIn, type State } from "./lanes.ts";
import { html } from "./markup.ts";
import { rowOf } from "./rows.ts";
import type { Store } from "./store.ts";
import type { StreamEvent } from "./stream.ts";
import { UsageSection } from "./usage.ts";
import { cut, plural, thousands, webAddress, words } from "./words.ts";

type Detail = z.output<typeof IssueDetail>;
type Moves = z.output<typeof Transitions>["issues"][string]["transitions"];

interface Line {
  readonly seq: number;
  readonly at: string;
  readonly type: string;
  readonly message: string;
}

/** Lines of the timeline that are kept in the page. */
const keptLines = 500;
/** Events that come within so long are shown together. */
const togetherMs = 50;

/** One issue: what it does now, what it did, and what can be done about it. */
export function IssuePage({ issue, store }: { issue: string; store: Store }): VNode {
  const [detail, setDetail] = useState<Detail | null>(null);
  const [lines, setLines] = useState<readonly Line[]>([]);
  const [fault, setFault] = useState<string | null>(null);
  const { state, epoch } = store.seen;
  const version = versionOf(state, issue);
  const lineEpoch = useRef(epoch);
  useEffect(() => {
    let current = true;
    void call<Detail>("GET", issuePath(issue))
      .then((read) => {
        if (!current) return;
        setDetail(read);
        const isAnew = lineEpoch.current !== epoch;
        lineEpoch.current = epoch;
        setLines((known) => merged(linesOf(read), isAnew ? [] : known));
        setFault(null);
      })
      .catch((error) => {
        if (current)
          setFault(error instanceof Refusal ? error.message : "The server did not answer.");
      });
    return () => {
      current = false;
    };
  }, [issue, version, epoch]);
  useEffect(() => {
    const taken = batched<Line>((news) => setLines((known) => merged(known, news)));
    const stop = store.onEvent((event) => {
      if (event.issue_identifier === issue) taken.add(lineOf(event));
    });
    return () => {
      stop();
      taken.end();
    };
  }, [issue]);
  const moves = useMoves(detail);
  if (detail === null)
    return html`<section class="empty">
      ${fault ?? `Reading ${issue} …`} <p><a href="#/">All issues</a></p>
    </section>`;
  return html`<article>
    ${fault !== null && html`<div class="alert" role="alert">${fault}</div>`}
    <${Heading} detail=${detail} />
    ${detail.needs !== null && html`<section class="lane needs"><h2>Needs you</h2><div class="padded"><p class="prompt">${detail.needs.prompt}</p><${Answer} key=${detail.needs.id ?? detail.needs.since} issue=${issue} needs=${detail.needs} /></div></section>`}
    <section class="controls"><h2>Act</h2><div class="grid">
      ${detail.running !== null && html`<${Steer} issue=${issue} />`}
      ${detail.running !== null && html`<${Abort} issue=${issue} />`}
      <${Transition} issue=${issue} moves=${moves} />
      <${Model} issue=${issue} model=${detail.overrides.model} />
    </div></section>
    <${DeliverySection} detail=${detail} />
    <${Conflicts} detail=${detail} />
    <${Gates} detail=${detail} />
    <${Timeline} lines=${lines} />
    <${DiffView} issue=${issue} />
    <${UsageSection} issue=${issue} version=${`${detail.status} ${detail.attempts.count}`} live=${liveTokens(state, issue)} />
    <${Attempts} detail=${detail} />
  </article>`;
}

function liveTokens(state: State | null, issue: string): number | null {
  const row = state?.running.find(({ issue_identifier: one }) => one === issue);
  return row?.tokens.total_tokens ?? null;
}

/** Changes when the issue's row or its conflicts do: only then is the issue read again. */
function versionOf(state: State | null, issue: string): string {
  if (state === null) return "";
  const row = rowOf(state, issue);
  if (row === undefined) return "none";
  const conflicts = conflictsIn(state).get(issue)?.join() ?? "";
  const attempt = "phase" in row ? `${row.attempt_id} ${row.turn_count}` : "";
  const offered = "delivery" in row ? JSON.stringify(row.delivery) : "";
  return [row.status, row.state, row.updated_at, attempt, offered, conflicts].join(" ");
}

/** Where the issue may be moved to: read when its status or its state of the tracker has changed, and not before. */
function useMoves(detail: Detail | null): Moves {
  const [moves, setMoves] = useState<Moves>([]);
  const issue = detail?.issue_identifier;
  useEffect(() => {
    if (issue === undefined) return;
    let current = true;
    const path = `/api/v1/transitions?issue=${encodeURIComponent(issue)}`;
    void call<z.output<typeof Transitions>>("GET", path)
      .then(({ issues }) => {
        if (current) setMoves(Object.values(issues)[0]?.transitions ?? []);
      })
      .catch(() => {
        if (current) setMoves([]);
      });
    return () => {
      current = false;
    };
  }, [issue, detail?.status, detail?.issue.state]);
  return moves;
}

function linesOf(detail: Detail): readonly Line[] {
  return detail.recent_events.map(({ seq, at, event, message }) => ({
    seq,
    at,
    type: event,
    message,
  }));
}

function lineOf({ seq, at, type, message }: StreamEvent): Line {
  return { seq, at, type, message };
}

/** Passes on together what is added within a moment; never more than is kept. */
function batched<T>(pass: (items: readonly T[]) => void) {
  let items: T[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  return {
    add(item: T) {
      items.push(item);
      if (items.length >= 2 * keptLines) items = items.slice(-keptLines);
      timer ??= setTimeout(() => {
        timer = null;
        const passed = items;
        items = [];
        pass(passed);
      }, togetherMs);
    },
    end() {
      if (timer !== null) clearTimeout(timer);
    },
  };
}

/** Each event once, in order, the newest kept. */
function merged(one: readonly Line[], other: readonly Line[]): readonly Line[] {
  const bySeq = new Map([...one, ...other].map((line) => [line.seq, line]));
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(-keptLines);
}

function Heading({ detail }: { detail: Detail }): VNode {
  const { issue, running } = detail;
  const address = webAddress(issue.url);
  const facts = [
    detail.status ?? "not queued",
    issue.state,
    running === null
      ? null
      : `${running.agent}${running.model === null ? "" : ` · ${running.model}`}`,
    running === null || running.worker_host === null ? null : `on ${running.worker_host}`,
    running === null ? null : `${thousands(running.tokens.total_tokens)} tokens`,
    detail.workspace.branch === null ? null : `branch ${detail.workspace.branch}`,
  ].filter((fact) => fact !== null);
  return html`<section class="heading"><h2><a href="#/">All issues</a> / ${detail.issue_identifier} <bdi>${issue.title}</bdi></h2>
    <div class="padded"><p class="soft">${facts.join(" · ")}${address !== null && html` · <a href=${address} rel="noopener noreferrer">in the tracker</a>`}</p>
    ${running?.last_message && running.last_message !== detail.needs?.prompt && html`<p class="prompt">${cut(running.last_message, 2_000)}</p>`}
    ${detail.last_error !== null && html`<p class="bad">${cut(detail.last_error, 1_000)}</p>`}
    ${detail.workspace.path !== null && html`<p class="soft">${detail.workspace.path}</p>`}</div></section>`;
}

function Timeline({ lines }: { lines: readonly Line[] }): VNode {
  const shown = [...lines].reverse();
  return html`<section><h2>Timeline <span>newest first</span></h2>
    ${shown.length === 0 && html`<p class="soft padded">Nothing has happened yet.</p>`}
    <ol class="timeline" tabindex="0" aria-label="Timeline">${shown.map(
      ({ seq, at, type, message }) =>
        html`<li key=${seq} data-seq=${seq}><${Ago} at=${at} /><b>${words(type.replace(".", " "))}</b><span>${cut(message, 1_000)}</span></li>`,
    )}</ol></section>`;
}

function Gates({ detail }: { detail: Detail }): VNode {
  const [closed, open] = [false, true].map((pass) =>
    detail.explain.filter((gate) => gate.pass === pass),
  );
  return html`<section><h2>Why it runs, or not</h2>
    <${GateList} gates=${closed ?? []} />
    <details><summary>${plural(open?.length ?? 0, "open gate")}</summary><${GateList} gates=${open ?? []} /></details>
    <p class="padded"><${Command} words=${["symphony", "explain", detail.issue_identifier]} /></p></section>`;
}

function GateList({ gates }: { gates: Detail["explain"] }): VNode {
  return html`<ul class="gates">${gates.map(
    ({ gate, pass, detail: found, opens }) =>
      html`<li key=${gate} class=${pass ? "open" : "closed"}><b>${pass ? "open" : "closed"}: ${words(gate)}</b><span>${found}${opens !== null && html`<br />opens: ${opens}`}</span></li>`,
  )}</ul>`;
}

function Attempts({ detail }: { detail: Detail }): VNode | null {
  const { latest, count } = detail.attempts;
  if (latest.length === 0) return null;
  return html`<section><h2>Attempts <span>${count}</span></h2><ul class="rows">${latest.map(
    (
      attempt,
    ) => html`<li key=${attempt.id}><div class="issue"><b>${words(attempt.status)}</b><span>${attempt.agent}${attempt.model === null ? "" : ` · ${attempt.model}`}${attempt.worker_host === null ? "" : ` · on ${attempt.worker_host}`}</span></div>
      <div class="facts"><p>${attempt.error === null ? `${plural(attempt.turn_count, "turn")}, ${thousands(attempt.tokens.total_tokens)} tokens` : cut(attempt.error.message)}</p><p class="soft"><${Ago} at=${attempt.started_at} /></p></div></li>`,
  )}</ul></section>`;
}
