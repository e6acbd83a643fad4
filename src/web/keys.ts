import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./markup.ts";

const keys = [
  { key: "/", does: "search" },
  { key: "j, k", does: "next, previous issue" },
  { key: "Enter", does: "open the issue" },
  { key: "b", does: "all issues" },
  { key: "n", does: "what needs you" },
  { key: "v", does: "overview" },
  { key: "s", does: "write guidance to the agent of this issue" },
  { key: "?", does: "this help" },
];

/** Single keys that work while nothing is typed, and their help. */
export function Keys(): VNode {
  const [isShown, setShown] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (dialog.current?.open || isTyped(event.target)) return;
      if (act(event.key, () => setShown(true))) event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  useEffect(() => {
    if (isShown) dialog.current?.showModal();
  }, [isShown]);
  return html`<span><button type="button" class="small" aria-label="Keys" onClick=${() => setShown(true)}>?</button>
    ${
      isShown &&
      html`<dialog ref=${dialog} aria-label="Keys" onClose=${() => setShown(false)}><h2>Keys</h2>
      <dl>${keys.map(({ key, does }) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`)}</dl>
      <button type="button" onClick=${() => dialog.current?.close()}>Close</button></dialog>`
    }</span>`;
}

function isTyped(target: EventTarget | null): boolean {
  return (
    target instanceof Element &&
    target.closest("input, textarea, select, [contenteditable]") !== null
  );
}

/** Whether the key means something. */
function act(key: string, help: () => void): boolean {
  const focus = (selector: string) => {
    const found = document.querySelector<HTMLElement>(selector);
    found?.focus();
    return found !== null;
  };
  const go = (hash: string) => {
    location.hash = hash;
    return true;
  };
  switch (key) {
    case "/":
      return focus("input[type=search]");
    case "s":
      return focus("textarea");
    case "j":
      return step(1);
    case "k":
      return step(-1);
    case "b":
      return go("#/");
    case "n":
      return go("#/?lane=needs");
    case "v":
      return go("#/overview");
    case "?":
      help();
      return true;
    default:
      return false;
  }
}

/** The next issue of the lists, from the one that has the focus. */
function step(by: number): boolean {
  const links = [...document.querySelectorAll<HTMLElement>(".lane .issue a")];
  const focused = document.activeElement?.closest("li")?.querySelector<HTMLElement>(".issue a");
  const at = focused == null ? -1 : links.indexOf(focused);
  const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
  links[next]?.focus();
  return links[next] !== undefined;
}
