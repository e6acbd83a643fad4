const controls = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu;
const wide =
  /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|^\p{Emoji_Presentation}/u;

/** What a person takes for one character each. */
function graphemes(text: string): string[] {
  const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** Text from outside, made safe to print: no control characters, no reordering marks; lines and tabs stay. */
export function plain(text: string): string {
  // Asked for directly: importing node:util by name costs 2 ms of every start.
  const { stripVTControlCharacters } = process.getBuiltinModule("node:util");
  return stripVTControlCharacters(text).replaceAll("\r\n", "\n").replaceAll(controls, "");
}

/** The same on one line. */
export function plainLine(text: string): string {
  return plain(text).replaceAll(/\s+/g, " ").trim();
}

/** Columns that `text` takes on a terminal. It holds no control characters. */
export function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  return graphemes(text).reduce((width, one) => width + (wide.test(one) ? 2 : 1), 0);
}

/** `text` in at most `width` columns, with an ellipsis where something was cut off. */
export function fit(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = "";
  let used = 0;
  for (const one of graphemes(text)) {
    used += widthOf(one);
    if (used > width - 1) break;
    kept += one;
  }
  return `${kept.trimEnd()}…`;
}

export function pad(text: string, width: number, align: "left" | "right" = "left"): string {
  const space = " ".repeat(Math.max(width - widthOf(text), 0));
  return align === "left" ? text + space : space + text;
}
