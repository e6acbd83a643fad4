// The page at `/` in the browser: a client of the public API, like the command line.

import { render, type VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Ago } from "./ago.ts";
import { rememberToken } from "./api.ts";
import { Board } from "./board.ts";
import { Filters } from "./filters.ts";
import { IssuePage } from "./issue.ts";
import { Keys } from "./keys.ts";
import type { State } from "./lanes.ts";
import { html } from "./markup.ts";
import { Overview } from "./overview.ts";
import { type Route, routeOf } from "./route.ts";
import { type Seen, Store } from "./store.ts";

const store = new Store();

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
    const stop = store.onChange(() => setSeen(store.seen));
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
    <${Bar} seen=${seen} state=${state} route=${route} />
    <${Alerts} state=${state} />
    ${
      route.view === "board"
        ? html`<${Board} state=${state} filter=${route.filter} now=${now} />`
        : route.view === "issue"
          ? html`<${IssuePage} key=${route.issue} issue=${route.issue} store=${store} />`
          : html`<${Overview} state=${state} />`
    }
    <p class="spoken" role="status" aria-live="polite">${seen.announced}</p>
  </div>`;
}

interface BarProps {
  readonly seen: Seen;
  readonly state: State;
  readonly route: Route;
}

function Bar({ seen, state, route }: BarProps): VNode {
  const { counts } = state;
  const asOf = html`; as of <${Ago} at=${seen.readAt} />`;
  document.title =
    counts.blocked > 0 ? `(${counts.blocked}) symphony` : `symphony: ${counts.running} running`;
  return html`<div class="bar">
    ${
      seen.connection !== "live"
        ? html`<span class="badge lost">disconnected${asOf}</span>`
        : seen.stale
          ? html`<span class="badge stale">stale${asOf}</span>`
          : html`<span class="badge live">live</span>`
    }
    ${counts.blocked > 0 && html`<a class="badge wait" href="#/?lane=needs">${counts.blocked === 1 ? "1 needs you" : `${counts.blocked} need you`}</a>`}
    <span class="soft">${counts.running} running, ${counts.queued + counts.retrying} queued, ${counts.review} in review, ${counts.held + counts.failed} held or failed</span>
    ${route.view !== "overview" && html`<a href="#/overview">Overview</a>`}
    <${Keys} />
    ${route.view === "board" && html`<${Filters} state=${state} filter=${route.filter} />`}
  </div>`;
}

function Alerts({ state }: { state: State }): VNode {
  const { problem, storage, tracker, paused, warnings } = state;
  const texts = [
    problem && `Nothing new is started: ${problem.message}`,
    storage && `Nothing new is started: ${storage.reason}`,
    tracker.last_error && `An error of the ${tracker.kind} tracker: ${tracker.last_error.message}`,
    ...paused.map(({ gate, agent, until, reason }) => {
      const who = agent === null ? "" : ` with ${agent}`;
      const when = until === null ? "" : ` until ${new Date(until).toLocaleString()}`;
      return `Nothing new is started${who}${when}: ${reason}${gate === "paused" ? "; symphony resume ends it" : ""}`;
    }),
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

/** The keyboard of a phone takes half of the screen: what is typed stays visible with its button. */
function keepFormVisible(): void {
  if (document.activeElement?.matches("input, textarea"))
    document.activeElement.closest("form")?.scrollIntoView({ block: "nearest" });
}
addEventListener("focusin", keepFormVisible);
visualViewport?.addEventListener("resize", keepFormVisible);

const root = document.querySelector("main");
if (root !== null) {
  root.replaceChildren();
  render(html`<${Page} />`, root);
  void store.start();
}
