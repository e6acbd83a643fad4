import type { VNode } from "preact";
import type { z } from "zod";
import type { IssueDetail } from "../contract/issues.ts";
import type { DeliveryView } from "../contract/values.ts";
import { Command, Outcome, useAction } from "./action.ts";
import { Ago } from "./ago.ts";
import { call, issuePath } from "./api.ts";
import { html } from "./markup.ts";
import { issueAddress } from "./route.ts";
import { cut, plural, webAddress, words } from "./words.ts";

type Delivery = z.output<typeof DeliveryView>;
type Detail = z.output<typeof IssueDetail>;

/** The pull request and what it waits for, in the row of an issue. */
export function Offered({ delivery }: { delivery: Delivery }): VNode {
  const { problem, progress } = delivery;
  return html`<p><${Place} delivery=${delivery} /> ${" "}<span class=${problem === null ? undefined : "bad"}>${cut(progress)}</span></p>
    <${Marks} delivery=${delivery} />`;
}

function Place({ delivery }: { delivery: Delivery }): VNode {
  const { pull_request: pull, place } = delivery;
  const address = webAddress(pull?.url);
  if (pull === null) return html`<span>${place};</span>`;
  const name = `pull request #${pull.number}`;
  return address === null
    ? html`<span>${name}</span>`
    : html`<a href=${address} rel="noopener noreferrer">${name}</a>`;
}

const colours: Readonly<Record<string, string>> = {
  ...{ passed: "good", approved: "good", merged: "good" },
  ...{ failed: "bad", changes_requested: "bad", running: "wait" },
};

/** State, checks and review of the pull request, each as a word. */
function Marks({ delivery: { pull_request: pull } }: { delivery: Delivery }): VNode | null {
  if (pull === null) return null;
  const marks = [
    ...(pull.state === "open" ? [] : [{ name: pull.state, text: pull.state }]),
    ...(pull.draft ? [{ name: "draft", text: "draft" }] : []),
    {
      name: pull.checks,
      text: pull.checks === "none" ? "no checks" : `checks ${words(pull.checks)}`,
    },
    {
      name: pull.review,
      text: pull.review === "none" ? "no review yet" : `review: ${words(pull.review)}`,
    },
  ];
  return html`<p class="marks">${marks.map(({ name, text }) => html`<span key=${text} class=${`mark ${colours[name] ?? ""}`}>${text}</span>`)}</p>`;
}

/** The work on its way to people: branch, pull request, checks, what came back. */
export function DeliverySection({ detail }: { detail: Detail }): VNode | null {
  const { delivery, issue_identifier: issue, feedback } = detail;
  if (delivery === null) return null;
  const { branch, base, head, pushed, seen_at: seen } = delivery;
  const behind = head !== null && pushed !== null && head !== pushed;
  return html`<section id="delivery"><h2>Delivery <span>${words(delivery.mode)}</span></h2><div class="padded">
    <${Offered} delivery=${delivery} />
    ${branch !== null && html`<p class="soft">${branch}${base === null ? "" : ` into ${base}`}${head === null ? "" : ` at ${head.slice(0, 10)}`}${pushed === null ? ", not pushed yet" : behind ? `; ${pushed.slice(0, 10)} is pushed` : ", pushed"}</p>`}
    ${seen !== null && html`<p class="soft">read <${Ago} at=${seen} /></p>`}
    ${feedback !== null && feedback.rounds > 0 && html`<p class="soft">${plural(feedback.rounds, "round")} of ${feedback.max_rounds} since a person last spoke</p>`}
    ${feedback?.last != null && html`<${Returned} last=${feedback.last} />`}
    <${Deliver} issue=${issue} />
  </div></section>`;
}

function Returned({ last }: { last: NonNullable<NonNullable<Detail["feedback"]>["last"]> }): VNode {
  const address = webAddress(last.url);
  const author = last.author ?? "a check";
  return html`<blockquote><p class="prompt">${cut(last.text, 2_000)}</p><p class="soft">${author}, <${Ago} at=${last.at} />${address !== null && html` · <a href=${address} rel="noopener noreferrer">where it was said</a>`}</p></blockquote>`;
}

/** Tries refused steps again now, and reads the pull request again. */
function Deliver({ issue }: { issue: string }): VNode {
  const [progress, start] = useAction(async () => {
    const { delivery } = await call<{ delivery: Delivery }>("POST", issuePath(issue, "deliver"));
    return delivery.summary;
  });
  return html`<div class="control"><button type="button" disabled=${progress.pending} onClick=${() => void start()}>${progress.pending ? "Reading …" : "Deliver now"}</button>
    <${Outcome} result=${progress.result} />
    <${Command} words=${["symphony", "deliver", issue]} /></div>`;
}

/** Live branches that change the same files; those that git cannot merge first. */
export function Conflicts({ detail }: { detail: Detail }): VNode | null {
  const { conflicts, issue_identifier: issue } = detail;
  if (conflicts.length === 0) return null;
  const sorted = [...conflicts].sort((a, b) => Number(b.conflicts) - Number(a.conflicts));
  return html`<section id="conflicts"><h2>Other branches <span>that change the same files</span></h2><ul class="rows">${sorted.map(
    (pair) => {
      const other = pair.first.issue_identifier === issue ? pair.second : pair.first;
      const files = pair.files.slice(0, 20);
      return html`<li key=${other.branch}><div class="issue"><a href=${issueAddress(other.issue_identifier)}>${other.issue_identifier}</a><span class="soft">${other.branch}</span></div>
        <div class="facts"><p class=${pair.conflicts ? "bad" : undefined}>${pair.conflicts ? "git cannot merge the two" : "git can merge the two"}</p>
        <ul class="plain">${files.map(({ path, kind }) => html`<li key=${path}>${path}${kind === "conflict" ? ": conflict" : ""}</li>`)}</ul>
        ${pair.files.length > files.length && html`<p class="soft">${plural(pair.files.length - files.length, "file")} more</p>`}</div></li>`;
    },
  )}</ul><p class="padded"><${Command} words=${["symphony", "conflicts"]} /></p></section>`;
}
