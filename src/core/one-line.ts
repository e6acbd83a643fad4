/** CSI, OSC and two-character escape sequences of terminals (ECMA-48). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it removes
const escapes = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;
const breaks = /[\t\n\v\f\r\u0085\u2028\u2029]+/g;
/** Other control characters, and those that reorder or hide the text around them. */
const hidden = /[\p{Cc}\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/gu;
/** Far beyond any cap in use: hostile text must not cost more than what is shown of it. */
const lookedAtChars = 64 * 1024;

/** Text of anybody as one plain line: no control characters or escape sequences, at most `maxChars` with the ellipsis. */
export function oneLine(text: string, maxChars: number): string {
  const line = text
    .slice(0, lookedAtChars)
    .toWellFormed()
    .replaceAll(escapes, "")
    .replaceAll(breaks, " ")
    .replaceAll(hidden, "");
  return cut(line, maxChars);
}

/** At most `maxChars` UTF-16 units, never half a surrogate pair; what was cut ends in an ellipsis. */
export function cut(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const head = text.slice(0, maxChars - 1);
  return `${head.isWellFormed() || !text.isWellFormed() ? head : head.slice(0, -1)}…`;
}
