import { oneLine } from "../one-line.ts";

/** Where a cut may move to, so that it tears no word: half a secret would pass the redaction. */
const wordChars = 200;

/** Text of an agent made fit to be shown: plain lines, at most `maxChars` with the ellipsis. */
export function displayText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return plainLines(text);
  const head = text.slice(0, maxChars - 1);
  const gap = head.slice(-wordChars).search(/\s\S*$/);
  const whole = gap === -1 ? head : head.slice(0, Math.max(head.length - wordChars, 0) + gap);
  return `${plainLines(whole)}…`;
}

/** The same, keeping the end. */
export function displayTail(text: string, maxChars: number): string {
  if (text.length <= maxChars) return plainLines(text);
  const tail = text.slice(1 - maxChars);
  const gap = tail.slice(0, wordChars).search(/\s/);
  return `…${plainLines(gap === -1 ? tail : tail.slice(gap + 1))}`;
}

function plainLines(text: string): string {
  const lines = text.split("\n").map((line) => oneLine(line, Number.POSITIVE_INFINITY));
  return lines.join("\n");
}
