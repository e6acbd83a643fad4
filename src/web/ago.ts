import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { html } from "./markup.ts";
import { ago } from "./words.ts";

const tickMs = 5_000;
const shown = new Set<() => void>();

setInterval(() => {
  if (!document.hidden) for (const tick of shown) tick();
}, tickMs);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const tick of shown) tick();
});

/** How long ago. It changes by itself, and nothing around it with it. */
export function Ago({ at }: { at: string | number | null }): VNode {
  const [, setText] = useState("");
  useEffect(() => {
    // The same text again changes nothing.
    const tick = () => setText(ago(at, Date.now()));
    shown.add(tick);
    return () => void shown.delete(tick);
  }, [at]);
  const iso = at === null ? undefined : new Date(at).toISOString();
  return html`<time datetime=${iso} title=${iso}>${ago(at, Date.now())}</time>`;
}
