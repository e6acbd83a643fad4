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

function commandOf(line: string, { prefix, mentions }: Names): Command | null {
  const [, word = "", rest = ""] = /^ {0,3}(\S+)(.*)$/.exec(line) ?? [];
  const [, verb = "", text = ""] = /^\s*(\S*)(.*)$/.exec(rest) ?? [];
  const command = { verb: verb.toLowerCase(), text: text.trim() };
  // Some trackers write a mention as a link to the profile.
  const [, linked = word] = /^\[([^\]\s]+)\]\(\S*\)$/.exec(word) ?? [];
  const is = (name: string) => linked.toLowerCase() === name.toLowerCase();
  if (is(prefix)) return command;
  return mentions.some(is) && known.has(command.verb) ? command : null;
}

interface Line {
  readonly line: string;
  readonly isPlain: boolean;
}

function* linesOf(body: string): Generator<Line> {
  let fence: string | null = null;
  let isHidden = false;
  let isQuote = false;
  for (const line of body.split(/\r\n|[\n\r\u0085\u2028\u2029]/)) {
    const marks = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1] ?? null;
    const isInCode: boolean = fence !== null || marks !== null || /^(?: {4}|\t)/.test(line);
    if (fence === null) fence = marks;
    else if (marks?.startsWith(fence) && line.trim() === marks) fence = null;
    isQuote = /^ {0,3}>/.test(line) || (isQuote && line.trim() !== "");
    const wasHidden: boolean = isHidden;
    const [opens, closes] = [line.lastIndexOf("<!--"), line.lastIndexOf("-->")];
    if (fence === null && opens !== closes) isHidden = opens > closes;
    yield { line, isPlain: !isInCode && !isQuote && !wasHidden };
  }
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
