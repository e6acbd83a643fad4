/** An order in a comment: `/symphony steer use tabs`. */
export interface Command {
  /** In lower case; empty: the prefix stood alone. */
  readonly verb: string;
  /** The rest of the line; with `steer` and `answer` also the lines below, up to the next command. */
  readonly text: string;
  /** The whole text of a person in a conversation, without a command in it. */
  readonly plain?: boolean;
}

export const verbs = ["steer", "retry", "hold", "answer"] as const;
const withText: ReadonlySet<string> = new Set(["steer", "answer"]);
const known: ReadonlySet<string> = new Set(verbs);
/** Further ones are not read. */
const mostCommands = 10;
const maxBodyChars = 65_536;

interface Names {
  /** Every word after it is meant as a command. */
  readonly prefix: string;
  /** Words that make a command only before a known verb: mentions stand in ordinary sentences too. */
  readonly mentions: readonly string[];
}

/**
 * The commands of a comment: at the beginning of a line, outside quotes, code and hidden text. A line right below a quoted one
 * belongs to the quote, as in Markdown.
 */
export function commandsIn(body: string, names: Names): readonly Command[] {
  const found: { verb: string; lines: string[] }[] = [];
  let open: { verb: string; lines: string[] } | null = null;
  for (const { line, isPlain } of linesOf(body.slice(0, maxBodyChars))) {
    const command = isPlain ? commandOf(line, names) : null;
    if (command !== null) {
      open = { verb: command.verb, lines: [command.text] };
      found.push(open);
    } else if (open && withText.has(open.verb)) open.lines.push(line);
  }
  return found
    .slice(0, mostCommands)
    .map(({ verb, lines }) => ({ verb, text: lines.join("\n").trim() }));
}

/** What a command does: the words after `retry` and `hold` do nothing. */
export function meaningOf({ verb, text }: Command): Command {
  return { verb, text: known.has(verb) && !withText.has(verb) ? "" : text };
}

/** What a comment says outside of quotes, code and hidden text. */
export function plainText(body: string): string {
  return [...linesOf(body.slice(0, maxBodyChars))]
    .filter(({ isPlain }) => isPlain)
    .map(({ line }) => line.replace(codeSpan, " "))
    .join("\n");
}

function commandOf(line: string, { prefix, mentions }: Names): Command | null {
  const [, word = "", rest = ""] = /^[\p{Zs}\ufeff]{0,3}(\S+)(.*)$/u.exec(line) ?? [];
  const [, said = "", text = ""] = /^\s*(\S*)(.*)$/.exec(rest) ?? [];
  const bare = said.toLowerCase().replace(/[.,:;!]+$/, "");
  const verb = known.has(bare) ? bare : said.toLowerCase();
  const command = { verb, text: text.trim() };
  const called = word.replace(/[,:]$/, "");
  // Some trackers write a mention as a link to the profile.
  const [, linked = called] = /^\[([^\]\s]+)\]\(\S*\)$/.exec(called) ?? [];
  const is = (name: string) => linked.toLowerCase() === name.toLowerCase();
  if (is(prefix)) return command;
  return mentions.some(is) && known.has(verb) ? command : null;
}

interface Line {
  readonly line: string;
  readonly isPlain: boolean;
}

/** What is hidden, code or a quote in HTML, up to its end. */
const enclosed = /<!--|<(pre|code|blockquote)(?=[\s>])/g;
/** Code inside of one line. */
const codeSpan = /(?<!`)(`+)(?!`)(?:.*?[^`])??\1(?!`)/g;

function* linesOf(body: string): Generator<Line> {
  const lines = body.split(/\r\n|[\n\r\u0085\u2028\u2029]/);
  let fence: string | null = null;
  let end: string | null = null;
  let span: string | null = null;
  let isQuote = false;
  for (const [at, line] of lines.entries()) {
    // A fence may begin right behind the mark of a list.
    const opened = /^(?: |[-*+] |\d{1,9}[.)] )*(`{3,}(?=[^`]*$)|~{3,})/.exec(line);
    const marks = opened?.[1] ?? null;
    const isInCode: boolean = fence !== null || marks !== null || /^(?: {4}|\t)/.test(line);
    if (fence === null) fence = marks;
    else if (marks?.startsWith(fence) && line.trim() === marks) fence = null;
    isQuote = /^ {0,3}>/.test(line) || (isQuote && line.trim() !== "");
    const wasEnclosed: boolean = end !== null || span !== null;
    if (line.trim() === "") span = null;
    else if (!isInCode && !isQuote) {
      span = span === null || closes(line, span) ? spanOpenedIn(lines, at) : span;
      end = endAfter(line.replace(codeSpan, ""), end);
    }
    yield { line, isPlain: !isInCode && !isQuote && !wasEnclosed };
  }
}

/** What ends the last open part of the line; `end` is that of an earlier line; null: nothing is open. */
function endAfter(line: string, end: string | null): string | null {
  let from = 0;
  let awaited = end;
  const text = line.toLowerCase();
  for (;;) {
    if (awaited !== null) {
      const at = text.indexOf(awaited, from);
      if (at < 0) return awaited;
      from = at + awaited.length;
    }
    enclosed.lastIndex = from;
    const next = enclosed.exec(text);
    if (next === null) return null;
    awaited = next[1] === undefined ? "-->" : `</${next[1]}>`;
    from = enclosed.lastIndex;
  }
}

/** The marks of code that begins in this line and ends in a later one of its paragraph; null: there is none. */
function spanOpenedIn(lines: readonly string[], at: number): string | null {
  const [marks] = /`+/.exec((lines[at] ?? "").replace(codeSpan, "")) ?? [];
  if (marks === undefined) return null;
  for (const line of lines.slice(at + 1, at + 1 + maxSpanLines)) {
    if (line.trim() === "") return null;
    if (closes(line, marks)) return marks;
  }
  return null;
}

const maxSpanLines = 50;

function closes(line: string, marks: string): boolean {
  return [...line.matchAll(/`+/g)].some(([found]) => found === marks);
}

/** What the prefix can be followed by, for a person who typed something else. No line of it is a command. */
export function commandList(prefix: string): string {
  const meanings = [
    ["steer TEXT", "guidance for the agent that works on this issue"],
    [
      "answer TEXT",
      "answers the agent's question; `approve` or `decline` where it asks for an approval",
    ],
    ["retry", "queues the issue again"],
    ["hold", "stops the agent, and holds the issue"],
  ];
  return meanings.map(([use, what]) => `- \`${prefix} ${use}\`: ${what}`).join("\n");
}
