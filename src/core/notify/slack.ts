import { cutEscaped, type Item, type Wording, whyOf } from "./message.ts";

// The limits of https://docs.slack.dev/reference/block-kit/blocks: over one of them the whole message is refused.
const maxHeaderChars = 150;
const maxSectionChars = 3_000;
const maxItemReasonChars = 1_300;
const maxTitleChars = 1_300;

/** Slack reads nothing but these three; without `<` there is no mention, link or group. */
function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The body of a post to an incoming webhook of Slack: a header, a section for each occasion, and how many are left out. */
export function slackBody(wording: Wording): object {
  const { headline, items, more, url } = wording;
  const header = cutEscaped(headline, maxHeaderChars, escaped);
  const rest =
    more > 0 ? [context(`and ${more} more${url === null ? "" : `: <${linkOf(url)}>`}`)] : [];
  return {
    text: header,
    unfurl_links: false,
    blocks: [
      { type: "header", text: { type: "plain_text", text: header, emoji: false } },
      ...items.map((item) => section(textOf(item))),
      ...rest,
      context(`symphony ${wording.id}`),
    ],
  };
}

/** Its parts are far below the limit of a section together, unless an address is as long as one. */
function textOf(item: Item): string {
  const { label, title, url } = item;
  const name = cutEscaped(label, 200, escaped);
  const link = url === null ? "" : linkOf(url);
  const isLink = link !== "" && link.length <= 250;
  const head = isLink ? `*<${link}|${name}>*` : `*${name}*`;
  const named = title === null ? "" : ` ${cutEscaped(title, maxTitleChars - 50, escaped)}`;
  const why = cutEscaped(whyOf(item), maxItemReasonChars - 50, escaped);
  return `${head}${named}\n${why}`;
}

/** An address within `<…|…>`. */
function linkOf(url: string): string {
  return escaped((URL.parse(url)?.href ?? "").replaceAll("|", "%7C"));
}

/** `verbatim`: names of channels and people in it stay text. */
function section(text: string) {
  return {
    type: "section",
    text: { type: "mrkdwn", verbatim: true, text: text.slice(0, maxSectionChars) },
  };
}

function context(text: string) {
  return { type: "context", elements: [{ type: "mrkdwn", verbatim: true, text }] };
}
