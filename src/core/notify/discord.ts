import { cutEscaped, type Wording, whyOf } from "./message.ts";

/** https://discord.com/developers/docs/resources/webhook#execute-webhook */
const maxContentChars = 2_000;
const maxTitleChars = 300;
const maxReasonChars = 400;
/** Addresses in the text get no preview. */
const suppressEmbeds = 4;

/** Marks of Discord's Markdown, mentions and links, as the characters that they are. */
function escaped(text: string): string {
  return text.replaceAll(/[\\*_~`|>#\-[\]()<@:]/g, "\\$&");
}

/** The body of a post to a webhook of Discord. `allowed_mentions` names none, so that no text can notify a person. */
export function discordBody({ headline, items, more, url }: Wording): object {
  const head = `**${cutEscaped(headline, maxTitleChars, escaped)}**`;
  const lines = items.map((item) => {
    const { label, title, url: own } = item;
    const named = title === null ? "" : ` ${cutEscaped(title, maxTitleChars, escaped)}`;
    const link = own === null ? "" : ` <${own}>`;
    return `${escaped(label)}${named}: ${cutEscaped(whyOf(item), maxReasonChars, escaped)}${link}`;
  });
  const end = (left: number) =>
    left > 0 ? `\nand ${left} more${url === null ? "" : ` <${url}>`}` : "";
  let content = head;
  for (const [at, line] of lines.entries()) {
    const next = `${content}\n${line}`;
    const left = more + lines.length - at - 1;
    if (next.length + end(left).length > maxContentChars) {
      content += end(left + 1);
      return bodyOf(content);
    }
    content = next;
  }
  return bodyOf(`${content}${end(more)}`);
}

function bodyOf(content: string): object {
  return { content, allowed_mentions: { parse: [] }, flags: suppressEmbeds };
}
