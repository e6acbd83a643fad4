import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import { call, issuePath, Refusal } from "./api.ts";
import { html } from "./markup.ts";
import { shellWord } from "./words.ts";

/** How an action stands: it is over only when the server has answered. */
export interface Progress {
  readonly pending: boolean;
  /** What the server said last; null: nothing was asked, or it is under way. */
  readonly result: { readonly ok: boolean; readonly text: string } | null;
}

/**
 * One action at a time: a second click while the first is under way does nothing. `run` resolves with what to say about
 * its success; a text that was not sent stays where it was written.
 */
export function useAction(run: () => Promise<string>): [Progress, () => Promise<boolean>] {
  const [progress, setProgress] = useState<Progress>({ pending: false, result: null });
  const busy = useRef(false);
  const start = async () => {
    if (busy.current) return false;
    busy.current = true;
    setProgress({ pending: true, result: null });
    try {
      const text = await run();
      setProgress({ pending: false, result: { ok: true, text } });
      return true;
    } catch (error) {
      setProgress({ pending: false, result: { ok: false, text: reasonOf(error) } });
      return false;
    } finally {
      busy.current = false;
    }
  };
  return [progress, start];
}

/** Also on an origin that is not secure, where browsers have no randomUUID. */
const newKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join("-");

function reasonOf(error: unknown): string {
  if (error instanceof Refusal) {
    return error.hint === null ? error.message : `${error.message}; next: ${error.hint}`;
  }
  return "The server did not answer. Nothing is known to have changed; try again.";
}

/** What the last try came to, next to the control that was used. */
export function Outcome({ result }: { result: Progress["result"] }): VNode | null {
  if (result === null) return null;
  return html`<p class=${result.ok ? "done" : "refused"} role="status">${result.text}</p>`;
}

/** A text as an argument; a long one is read from stdin. */
function typed(text: string): string {
  return text.length > 500 ? "-" : text.trim();
}

/** The command that does the same. */
export function Command({ words }: { words: readonly string[] }): VNode {
  return html`<${CommandLine} line=${words.map(shellWord).join(" ")} />`;
}

export function CommandLine({ line }: { line: string }): VNode {
  return html`<code class="command">${line}</code>`;
}

interface Needs {
  readonly kind: "approval" | "question";
  readonly prompt: string;
  readonly options: readonly string[];
  readonly id: string;
  readonly further: readonly string[];
}

/** The question of an agent, with the answers as buttons. It is answered once; the next question has its own. */
export function Answer({ issue, needs }: { issue: string; needs: Needs }): VNode {
  const [text, setText] = useState("");
  const [isAnswered, setAnswered] = useState(false);
  const body = useRef<object>({});
  const [progress, start] = useAction(async () => {
    // An answer must not reach another question.
    const reply = await call<{ applies: string }>("POST", issuePath(issue, "respond"), {
      ...body.current,
      id: needs.id,
    });
    return reply.applies === "now"
      ? "Answered; the agent continues."
      : "Answered; the next attempt begins with it.";
  });
  const answer = async (what: object) => {
    if (isAnswered) return;
    body.current = what;
    if (!(await start())) return;
    setText("");
    setAnswered(true);
  };
  const isClosed = progress.pending || isAnswered;
  const button = (label: string, what: object) =>
    html`<button type="button" disabled=${isClosed} onClick=${() => void answer(what)}>${label}</button>`;
  const send = (event: Event) => {
    event.preventDefault();
    if (text.trim() !== "") void answer({ answers: [text] });
  };
  const buttons =
    needs.kind === "approval"
      ? [button("Approve", { decision: "approve" }), button("Decline", { decision: "decline" })]
      : needs.options.map((option) => button(option, { answers: [option] }));
  const words = [
    "symphony",
    "respond",
    issue,
    needs.kind === "approval" ? "approve" : typed(text) || "ANSWER",
  ];
  return html`<div class="answer">
    <div class="buttons">${buttons}</div>
    ${
      needs.kind === "question" &&
      html`<form class="line" onSubmit=${send}>
      <label>Answer to ${issue}<input value=${text} autocomplete="off" onInput=${(event: InputEvent) => setText((event.target as HTMLInputElement).value)} /></label>
      <button disabled=${isClosed || text.trim() === ""}>Send</button>
    </form>`
    }
    ${needs.further.map((prompt) => html`<p class="muted">It also asks: ${prompt}</p>`)}
    <${Outcome} result=${progress.result} />
    <${Command} words=${words} />
  </div>`;
}

/** Guidance for the agent in mid-turn. */
export function Steer({ issue }: { issue: string }): VNode {
  const draft = `symphony.draft.${issue}`;
  const [text, setText] = useState(sessionStorage.getItem(draft) ?? "");
  const lost = useRef({ text: "", key: "" });
  const keep = (next: string) => {
    setText(next);
    sessionStorage.setItem(draft, next);
  };
  const [progress, start] = useAction(async () => {
    const path = issuePath(issue, "steer");
    // A repeat after a lost reply carries the same key, so that it has one effect; another text is another guidance.
    if (lost.current.text !== text) lost.current = { text, key: newKey() };
    const { key } = lost.current;
    const { status } = await call<{ status: string }>("POST", path, { message: text }, key).catch(
      (error: unknown) => {
        if (error instanceof Refusal) lost.current = { text: "", key: "" };
        throw error;
      },
    );
    lost.current = { text: "", key: "" };
    return status === "delivered"
      ? "The agent has it."
      : "Accepted: the agent gets it at its next step.";
  });
  const send = async (event: Event) => {
    event.preventDefault();
    if (text.trim() === "" || !(await start())) return;
    // What was typed meanwhile is not sent yet.
    if (sessionStorage.getItem(draft) === text) keep("");
  };
  return html`<form class="control" onSubmit=${send}>
    <label>Guidance for the agent<textarea rows="2" value=${text} onInput=${(event: InputEvent) => keep((event.target as HTMLTextAreaElement).value)}></textarea></label>
    <button disabled=${progress.pending || text.trim() === ""}>${progress.pending ? "Sending …" : "Steer"}</button>
    <${Outcome} result=${progress.result} />
    <${Command} words=${["symphony", "steer", issue, typed(text) || "MESSAGE"]} />
  </form>`;
}

/** Stops the attempt, after a second click that is meant. */
export function Abort({ issue }: { issue: string }): VNode {
  const [asked, setAsked] = useState(false);
  const [progress, start] = useAction(async () => {
    await call("POST", issuePath(issue, "abort"), {});
    setAsked(false);
    return "Stopping. The issue is held, and its work is kept.";
  });
  return html`<div class="control">
    ${
      asked
        ? html`<div class="buttons"><button type="button" class="danger" disabled=${progress.pending} onClick=${() => void start()}>${progress.pending ? "Stopping …" : `Stop ${issue} now`}</button><button type="button" onClick=${() => setAsked(false)}>Let it run</button></div>`
        : html`<button type="button" class="danger" onClick=${() => setAsked(true)}>Abort</button>`
    }
    <${Outcome} result=${progress.result} />
    <${Command} words=${["symphony", "abort", issue]} />
  </div>`;
}

interface Move {
  readonly to: string;
  readonly kind: "status" | "tracker";
}

/** Moves the issue to a status or to a state of its tracker. */
export function Transition({
  issue,
  moves,
}: {
  issue: string;
  moves: readonly Move[];
}): VNode | null {
  // Chosen anew each time: after a move the list is another one, and a second click must not move to what stands first.
  const [to, setTo] = useState("");
  const chosen = moves.some((move) => move.to === to) ? to : "";
  const [progress, start] = useAction(async () => {
    const reply = await call<{ from: string; to: string }>("POST", issuePath(issue, "transition"), {
      to: chosen,
    });
    setTo("");
    return `Moved from ${reply.from} to ${reply.to}.`;
  });
  if (moves.length === 0) return null;
  const send = (event: Event) => {
    event.preventDefault();
    void start();
  };
  return html`<form class="control" onSubmit=${send}>
    <label>Move to<select value=${chosen} onChange=${(event: Event) => setTo((event.target as HTMLSelectElement).value)}><option value="" disabled>choose</option>${moves.map((move) => html`<option key=${move.to} value=${move.to}>${move.to}${move.kind === "status" ? " (here)" : ""}</option>`)}</select></label>
    <button disabled=${progress.pending || chosen === ""}>${progress.pending ? "Moving …" : "Move"}</button>
    <${Outcome} result=${progress.result} />
    <${Command} words=${["symphony", "transition", issue, chosen || "STATE"]} />
  </form>`;
}

/** The model from the next turn on; empty: the configured one. The field is what a person types, the grey text what holds now. */
export function Model({ issue, model }: { issue: string; model: string | null }): VNode {
  const [text, setText] = useState("");
  const [progress, start] = useAction(async () => {
    const name = text.trim() === "" ? null : text.trim();
    const reply = await call<{ model: string | null; applies: string }>(
      "POST",
      issuePath(issue, "model"),
      { model: name },
    );
    return `${reply.model ?? "The configured model"} from the ${reply.applies.replace("_", " ")} on.`;
  });
  const send = (event: Event) => {
    event.preventDefault();
    void start();
  };
  const words =
    text.trim() === ""
      ? ["symphony", "model", issue, "--clear"]
      : ["symphony", "model", issue, text.trim()];
  return html`<form class="control" onSubmit=${send}>
    <label>Model<input value=${text} autocomplete="off" placeholder=${model ?? "the configured one"} onInput=${(event: InputEvent) => setText((event.target as HTMLInputElement).value)} /></label>
    <button disabled=${progress.pending}>Choose</button>
    <${Outcome} result=${progress.result} />
    <${Command} words=${words} />
  </form>`;
}
