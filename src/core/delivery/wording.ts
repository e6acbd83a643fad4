import type { Config } from "../config/config.ts";
import type { Issue } from "../model/issue.ts";
import { renderTemplate } from "../prompt/prompt.ts";
import { defuse } from "../text/defuse.ts";
import { redactDeep } from "../text/redact.ts";
import { cut } from "../text/text.ts";

// The texts that leave symphony. An agent's and an issue's words are shown, but notify no person and close no issue.

const defaultBody =
  "{{ work.summary }}\n\nIssue: {{ issue.identifier }}{% if issue.url %} {{ issue.url }}{% endif %}";

/** GitHub's limit is 65,536 characters for a body. */
const maxBodyChars = 60_000;
const maxTitleChars = 200;
const maxSummaryChars = 20_000;

interface Told {
  readonly issue: Issue;
  /** The agent's last message; null: it sent none. */
  readonly summary: string | null;
  readonly branch: string | null;
  /** Removes secrets, before anything is put between their characters. */
  redact(text: string): string;
}

interface Texts {
  readonly title: string;
  readonly body: string;
}

/** Title and body of a pull request. The marker by which it is found again comes first. */
export async function pullRequestTexts(
  { delivery }: Pick<Config, "delivery">,
  told: Told & { readonly marker: string; readonly frame: string | null },
): Promise<Texts> {
  const title = visible(await rendered(delivery.titleTemplate, told, "plain"), told.issue);
  const own = await rendered(delivery.bodyTemplate ?? defaultBody, told, "markdown");
  // A template of the operator is the whole text.
  const body = delivery.bodyTemplate === null ? framed(own, told.frame) : own;
  return {
    // oneLine would remove what makes handles and references in it inert.
    title: cut(title.replaceAll(/\s+/g, " ").trim(), maxTitleChars),
    body: `${told.marker}\n${shortened(body, maxBodyChars)}\n\n---\n${footer}`,
  };
}

/**
 * The text in the repository's template: at the end of the first section, before the next heading;
 * on top of a template without headings. The rest of the template stays for people.
 */
export function framed(text: string, frame: string | null): string {
  const template = (frame ?? "").trim();
  const lines = template.split(/\r?\n/);
  const [first, second = lines.length] = headingsOf(lines);
  const [above, below] =
    first === undefined
      ? ["", template]
      : [lines.slice(0, second).join("\n").trimEnd(), lines.slice(second).join("\n")];
  return [above, text, below].filter((part) => part !== "").join("\n\n");
}

/** The numbers of the lines that are headings; not those in code or in hidden comments. */
function headingsOf(lines: readonly string[]): readonly number[] {
  let closing: RegExp | null = null;
  return lines.flatMap((line, at) => {
    if (closing !== null) {
      if (closing.test(line)) closing = null;
      return [];
    }
    const fence = /^ {0,3}(```+|~~~+)/.exec(line)?.[1];
    if (fence !== undefined) closing = new RegExp(`^ {0,3}${fence}`);
    else if (/<!--(?!.*-->)/.test(line)) closing = /-->/;
    return /^ {0,3}#{1,6}\s/.test(line) ? [at] : [];
  });
}

const footer =
  "Opened by symphony, which leaves title and text as they are from now on; a review, a comment or a failed check starts the next round.";

/** The message of a commit; with `delivery.sign_off`, its author's own trailer comes last. */
export async function commitMessage(
  { delivery }: Pick<Config, "delivery">,
  told: Told & { readonly author: { readonly name: string; readonly email: string } },
): Promise<string> {
  const text = visible(await rendered(delivery.commitTemplate, told, "plain"), told.issue).trim();
  const trailer = `Signed-off-by: ${told.author.name} <${told.author.email}>`;
  if (!delivery.signOff || text.includes(trailer)) return `${text}\n`;
  // Trailers are one block: https://git-scm.com/docs/git-interpret-trailers
  const [last = ""] = text.split("\n").slice(-1);
  const hasTrailers = text.includes("\n\n") && /^[A-Za-z0-9-]+: \S/.test(last);
  return `${text}${hasTrailers ? "\n" : "\n\n"}${trailer}\n`;
}

/** GitHub refuses a title, and git a message, without a letter to see: the identifier stands for it. */
function visible(text: string, { identifier }: Issue): string {
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(text) ? text : identifier;
}

async function rendered(
  template: string,
  { issue: written, summary: last, branch, redact }: Told,
  form: "markdown" | "plain",
): Promise<string> {
  const short = { maxChars: maxTitleChars, form };
  const long = { maxChars: maxSummaryChars, form };
  const issue = redactDeep(written, redact);
  const summary = last && redact(last);
  const shown = {
    ...issue,
    title: defuse(issue.title, short),
    description: issue.description && defuse(issue.description, long),
  };
  const said = summary === null ? "" : defuse(summary, long);
  const variables = { work: { summary: said || shown.title, branch } };
  // A blank template would be the default prompt.
  if (template.trim() === "") return "";
  return renderTemplate(template, { issue: shown, attempt: null }, variables);
}

function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}\n\n(the rest is left out)`;
}

/** The answers in an agent's last message, by the number of the point. */
export function answersIn(message: string | null, count: number): ReadonlyMap<number, string> {
  const answers = new Map<number, string>();
  let current: number | null = null;
  for (const line of (message ?? "").split("\n")) {
    const [, number, rest] =
      /^\s*(?:[-*]\s*)?\*{0,2}\[(\d{1,3})\]\*{0,2}:?\s*(.*)$/.exec(line) ?? [];
    if (number !== undefined && Number(number) >= 1 && Number(number) <= count) {
      current = Number(number);
      answers.set(current, rest ?? "");
    } else if (current !== null && line.trim() !== "") {
      answers.set(current, `${answers.get(current)}\n${line}`);
    } else {
      current = null;
    }
  }
  return answers;
}

/** A reply to a person. */
export function replyText(answer: string | undefined, commit: string | null): string {
  const done =
    commit === null ? "Nothing was changed for this." : `Changed in ${commit.slice(0, 10)}.`;
  const said = answer === undefined ? "" : defuse(answer.trim(), { maxChars: 4_000 });
  return said === "" ? done : `${said}\n\n${done}`;
}
