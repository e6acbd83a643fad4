/** The address unchanged, or null unless it is absolute http or https. */
export function webAddress(url: string | null | undefined): string | null {
  if (!url || !URL.canParse(url)) return null;
  return ["http:", "https:"].includes(new URL(url).protocol) ? url : null;
}

export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** `code` with what would reorder it named, as `<U+202E>`: whoever reviews it must see what runs. */
export function withNamedMarks(code: string): string {
  return code.replaceAll(/\p{Bidi_Control}/gu, (one) => {
    const hex = one.charCodeAt(0).toString(16).toUpperCase();
    return `<U+${hex.padStart(4, "0")}>`;
  });
}

export function thousands(value: number): string {
  return value.toLocaleString("en-US");
}

export function plural(count: number, noun: string): string {
  return `${thousands(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** How long ago, or how soon, in one unit. */
export function distance(at: string | number | null, now: number): string {
  if (at === null) return "–";
  const ms = (typeof at === "number" ? at : Date.parse(at)) - now;
  const span = spanOf(Math.abs(ms) / 1_000);
  return ms > 0 ? `in ${span}` : `${span} ago`;
}

/** How long ago it was: a clock that is a little behind makes no future of it. */
export function ago(at: string | number | null, now: number): string {
  return distance(at === null ? null : Math.min(new Date(at).getTime(), now), now);
}

function spanOf(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 36 * 3_600
    ? `${Math.round(seconds / 3_600)} h`
    : `${Math.round(seconds / 86_400)} d`;
}

/** Cut between characters as people see them, not within one. */
export function cut(text: string, limit = 300): string {
  if (text.length <= limit) return text;
  const parts = new Intl.Segmenter().segment(text.slice(0, limit + 20));
  let length = 0;
  for (const { segment } of parts) {
    if (length + segment.length > limit) break;
    length += segment.length;
  }
  return `${text.slice(0, length)}…`;
}

/** A word for a shell line, quoted where it must be. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_/.:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** `a, b, c and 4 more`: the first `most` of the names. */
export function firstOf(names: readonly string[], most: number): string {
  const more = names.length > most ? ` and ${names.length - most} more` : "";
  return `${names.slice(0, most).join(", ")}${more}`;
}
