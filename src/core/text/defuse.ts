/** Limits of one defused text. */
export interface DefuseOptions {
  /** Length of the whole, the sentence about the cut included; UTF-16 units. */
  readonly maxChars: number;
  /** `plain`: a title or the message of a commit, in which marks of code protect nothing. Default `markdown`. */
  readonly form?: "markdown" | "plain";
}

/** A word joiner: it takes no room, breaks no line, and ends a name for every forge and tracker. */
const joiner = "\u2060";
const cutNote = "\n\n[The rest of this text was left out.]";
/** Far above every limit of a forge: hostile text costs no more than the part of it that is shown. */
const maxScannedChars = 256 * 1024;
/** Control characters apart from tab and line break, and what reorders or hides text; joiners are ours. */
const hidden =
  /[\p{Cc}\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;
/**
 * Text of an agent or an issue, for a forge or a tracker, that reads the same but does nothing there:
 * handles notify nobody, references link and close nothing, and HTML is shown as text, so that no
 * hidden mark of symphony can be forged; commands of bots at the beginning of a line, and words that skip
 * checks, are text. Code spans and fences of Markdown stay as they are, apart from control characters. A longer text is cut, and says so. To defuse a text twice changes nothing.
 */
export function defuse(text: string, { maxChars, form = "markdown" }: DefuseOptions): string {
  const withoutLife = form === "plain" ? plainOf : proseAndCodeOf;
  const clean = text
    .slice(0, maxScannedChars)
    .toWellFormed()
    .replaceAll(/\r\n?|[\u0085\u2028\u2029]/g, "\n")
    .replaceAll(hidden, (found) => (found === "\n" || found === "\t" ? found : ""));
  const isShort = text.length <= maxScannedChars;
  const whole = withoutLife(clean);
  if (isShort && whole.length <= maxChars) return whole;
  const note = cutNote.length < maxChars ? cutNote : "";
  // The cut may end a code span early, so the shortened source is defused again, until it fits.
  let kept = whole
    .slice(0, Math.max(maxChars - note.length, 0))
    .toWellFormed()
    .replace(/\ufffd$/, "");
  for (;;) {
    const again = withoutLife(kept.replaceAll(joiner, ""));
    const over = again.length + note.length - maxChars;
    if (over <= 0) return `${again}${note}`;
    kept = kept.slice(0, -over).replace(/[\ud800-\udbff]$/, "");
  }
}

/**
 * The marks of the fence that is open after `line`; null for none. Only a fence at the beginning of a
 * line is sure to be outside of lists and quotes, whose ends would end it too.
 */
function fenceAfter(line: string, open: string | null): string | null {
  if (open === null) {
    const [, marks = "", rest = ""] = /^(`{3,}|~{3,})(.*)$/.exec(line) ?? [];
    return marks === "" || (marks[0] === "`" && rest.includes("`")) ? null : marks;
  }
  const [, marks = ""] = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(line) ?? [];
  return marks.startsWith(open) ? null : open;
}

/** A fence in a list, a quote or a footnote, or an indented one. */
const innerFence = /^(?![`~])((?:[ \t]|>|[*+-]|\d{1,9}[.)]|\[\^[^\]\n]*\]:)*)(?=`{3}|~{3})/;

function proseAndCodeOf(text: string): string {
  const parts: string[] = [];
  let prose: string[] = [];
  let code: string[] = [];
  let open: string | null = null;
  for (const line of text.split("\n")) {
    const next = fenceAfter(line, open);
    if (open === null && next !== null) {
      if (prose.length > 0) parts.push(proseOf(prose.join("\n")));
      [prose, code] = [[], [line]];
    } else if (open !== null) {
      code.push(line);
      if (next === null) {
        parts.push(code.join("\n"));
        code = [];
      }
    } else prose.push(line.replace(innerFence, `$1${joiner}`));
    open = next;
  }
  // A fence that is never closed reaches to the end, in what follows the text as well.
  if (open !== null) parts.push([...code, open].join("\n"));
  else if (prose.length > 0) parts.push(proseOf(prose.join("\n")));
  return parts.join("\n");
}

/** An empty line ends every paragraph, and with it every code span. */
function proseOf(text: string): string {
  const blocks = text.split(/(\n[ \t]*(?=\n))/);
  return blocks.map((block) => linesOf(block)).join("");
}

/**
 * A code span counts only within one line, and only while no mark before it in the paragraph may belong
 * to something else: what a list, a table or an address makes of it differs from forge to forge.
 */
function linesOf(block: string): string {
  let isSure = true;
  const lines = block.split("\n").map((line) => {
    if (!isSure) return plainOf(line);
    const found = spansOf(line);
    isSure = found.isSure;
    return found.text;
  });
  return lines.join("\n");
}

const address = /(?::\/\/|www\.|mailto:|xmpp:)\S*$/i;

function spansOf(line: string): { readonly text: string; readonly isSure: boolean } {
  const runs = [...line.matchAll(/`+/g)];
  let done = "";
  let from = 0;
  for (const [at, run] of runs.entries()) {
    if (run.index < from) continue;
    const before = line.slice(0, run.index);
    const end = runs.slice(at + 1).find((other) => other[0].length === run[0].length);
    const to = end === undefined ? 0 : end.index + end[0].length;
    const isSpan = end !== undefined && !line.slice(run.index, to).includes("|");
    if (!isSpan || before.endsWith("\\") || address.test(before))
      return { text: done + plainOf(line.slice(from)), isSure: false };
    done += plainOf(line.slice(from, run.index)) + line.slice(run.index, to);
    from = to;
  }
  return { text: done + plainOf(line.slice(from)), isSure: true };
}

const entity = "(?:#\\d{1,8};?|#x[0-9a-f]{1,6};?|[a-z][a-z0-9]{1,31};)";
const escaped = new RegExp(`&(?!(?:amp|lt|gt);)(?=${entity})`, "gi");
const shown = new RegExp(`(&amp;${entity})`, "gi");

/** Entities are shown as they are written, because decoding one could make a mark of Markdown. */
function plainOf(text: string): string {
  return text
    .replaceAll(escaped, "&amp;")
    .replaceAll(shown, `$1${joiner}`)
    .replaceAll(/<(?=[A-Za-z/!?])/g, "&lt;")
    .replaceAll(/(?<=--!?)>/g, "&gt;")
    .replaceAll(/@(?=[\p{L}\p{N}_-])/gu, `@${joiner}`)
    .replaceAll(/([#!])(?=\d)/g, `$1${joiner}`)
    .replaceAll(references, `$1${joiner}`)
    .replaceAll(commands, `$1${joiner}`)
    .replaceAll(skips, `$1${joiner}`)
    .replaceAll(/\b([A-Za-z][A-Za-z0-9_]{0,19}\\?-)(?=\d)/g, `$1${joiner}`);
}

/** `/approve` and the like: what bots of a forge obey, whoever wrote it. */
const commands = /^([ \t>]*\/)(?=[a-z][a-z_-]*(?:[ \t]|$))/gim;
/** https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs, and the words of other services. */
const skips = /(\[|\*\*\*|skip-checks)(?=(?:skip|no|ci|actions)[ _-][^\]\n]{1,30}|: *true)/gi;

/** The beginning of an address that names an issue, a pull request or a person. */
const references = /(\/(?:issues?|pulls?|merge_requests|discussions|profiles)\\?\/)(?=\\?[\w-])/gi;
