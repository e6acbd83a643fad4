// The page at `/` in the browser: a client of the public API, like the command line.

import { render, type VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { rememberToken } from "./api.ts";
import { Board } from "./board.ts";
import { IssuePage } from "./issue.ts";
import type { State } from "./lanes.ts";
import { html } from "./markup.ts";
import { type Seen, Store } from "./store.ts";
import { distance } from "./words.ts";

const store = new Store();

/** What the address asks for: `#/issue/ENG-1`, or `#/?q=words`. */
function routeOf(hash: string): { readonly issue: string | null; readonly search: string } {
  const [, issue] = /^#\/issue\/([^?]+)/.exec(hash) ?? [];
  const search = new URLSearchParams(hash.split("?")[1] ?? "").get("q") ?? "";
  return { issue: issue === undefined ? null : safelyDecoded(issue), search };
}

function safelyDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function Page(): VNode {
  const [seen, setSeen] = useState<Seen>(store.seen);
  const [route, setRoute] = useState(routeOf(location.hash));
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const clock = setInterval(() => {
      if (!document.hidden) setNow(Date.now());
    }, 5_000);
    const moved = () => setRoute(routeOf(location.hash));
    const looked = () => {
      if (document.hidden) return;
      setNow(Date.now());
      store.shown();
    };
    const stop = store.onChange(() => {
      setSeen(store.seen);
      if (!document.hidden) setNow(Date.now());
    });
    addEventListener("hashchange", moved);
    document.addEventListener("visibilitychange", looked);
    return () => {
      clearInterval(clock);
      stop();
      removeEventListener("hashchange", moved);
      document.removeEventListener("visibilitychange", looked);
    };
  }, []);
  if (seen.connection === "locked") return html`<${AskToken} />`;
  const { state } = seen;
  if (state === null) return html`<p class="empty">Reading the state …</p>`;
  return html`<div>
    <${Bar} seen=${seen} state=${state} search=${route.search} now=${now} hasSearch=${route.issue === null} />
    <${Alerts} state=${state} />
    ${
      route.issue === null
        ? html`<${Board} state=${state} search=${route.search} now=${now} />`
        : html`<${IssuePage} key=${route.issue} issue=${route.issue} store=${store} now=${now} />`
    }
    <p class="spoken" role="status" aria-live="polite">${seen.announced}</p>
  </div>`;
}

interface BarProps {
  readonly seen: Seen;
  readonly state: State;
  readonly search: string;
  readonly now: number;
  readonly hasSearch: boolean;
}

function Bar({ seen, state, search, now, hasSearch }: BarProps): VNode {
  const { counts } = state;
  const badge =
    seen.connection !== "live"
      ? { name: "lost", text: `disconnected; as of ${distance(seen.readAt, now)}` }
      : seen.stale
        ? { name: "stale", text: `stale; as of ${distance(seen.readAt, now)}` }
        : { name: "live", text: "live" };
  const type = (event: InputEvent) => {
    const text = (event.target as HTMLInputElement).value;
    history.replaceState(null, "", text === "" ? "#/" : `#/?q=${encodeURIComponent(text)}`);
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  document.title =
    counts.blocked > 0 ? `(${counts.blocked}) symphony` : `symphony: ${counts.running} running`;
  return html`<div class="bar">
    <span class=${`badge ${badge.name}`}>${badge.text}</span>
    ${counts.blocked > 0 && html`<a class="badge wait" href="#/">${counts.blocked} need you</a>`}
    <span class="soft">${counts.running} running, ${counts.queued + counts.retrying} queued, ${counts.held + counts.failed} held or failed</span>
    ${hasSearch && html`<label class="search">Search<input type="search" value=${search} onInput=${type} /></label>`}
  </div>`;
}

function Alerts({ state }: { state: State }): VNode {
  const { problem, storage, tracker, paused, warnings } = state;
  const texts = [
    problem && `Nothing new is started: ${problem.message}`,
    storage && `Nothing new is started: ${storage.reason}`,
    tracker.last_error && `The ${tracker.kind} tracker fails: ${tracker.last_error.message}`,
    ...paused.map(
      (gate) =>
        `Nothing new is started${gate.agent === null ? "" : ` with ${gate.agent}`}: ${gate.reason}`,
    ),
    ...warnings.map((warning) => `Configuration: ${warning}`),
  ].filter((text) => text !== null);
  return html`<div>${texts.map((text) => html`<div key=${text} class="alert" role="alert">${text}</div>`)}</div>`;
}

/** Where the server wants its token: asked once, kept for this tab. */
function AskToken(): VNode {
  const [token, setToken] = useState("");
  const send = (event: Event) => {
    event.preventDefault();
    rememberToken(token.trim());
    void store.start();
  };
  return html`<section class="padded"><h2>This server wants its token</h2>
    <p class="soft">It is in runtime.json in the server's data directory, or what SYMPHONY_TOKEN was set to. It is kept for this tab only.</p>
    <form class="line" onSubmit=${send}><label>Token<input type="password" autocomplete="off" value=${token} onInput=${(event: InputEvent) => setToken((event.target as HTMLInputElement).value)} /></label>
    <button disabled=${token.trim() === ""}>Continue</button></form></section>`;
}

const root = document.querySelector("main");
if (root !== null) {
  root.replaceChildren();
  render(html`<${Page} />`, root);
  void store.start();
}
