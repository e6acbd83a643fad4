import type { NotifyRule } from "../config/notify.ts";
import type { OccasionName } from "../model/notice.ts";
import { oneLine } from "../text/text.ts";
import type { Occasion } from "./occasions.ts";

/** One message to one receiver. */
export interface Message {
  /** The same in every try. */
  readonly id: string;
  /** An earlier try may have arrived. */
  readonly isRepeat: boolean;
  /** `test`: sent by `symphony notify test`. */
  readonly type: "notice" | "test";
  /** The first ones, oldest first. */
  readonly occasions: readonly Occasion[];
  /** How many there are of each; issues are counted once. */
  readonly counts: ReadonlyMap<OccasionName, number>;
  /** Of occasions. */
  readonly total: number;
}

/** A message in words, for any receiver: each cuts and escapes it as it has to. */
export interface Wording {
  readonly id: string;
  readonly isRepeat: boolean;
  readonly headline: string;
  readonly items: readonly Item[];
  /** How many occasions are not among the items. */
  readonly more: number;
  /** Where all of it can be seen; null: the server has no address. */
  readonly url: string | null;
}

export interface Item {
  readonly occasion: Occasion;
  /** Such as `EX-7 failed`. */
  readonly label: string;
  readonly title: string | null;
  readonly reason: string;
  /** Where it can be answered or seen. */
  readonly url: string | null;
  /** The command that continues the issue; null: no person is needed. */
  readonly next: string | null;
}

/** The number of occasions that a message shows. */
export const shownOccasions = 20;

const maxFullChars = 1_200;

const singular: Readonly<Record<OccasionName, string>> = {
  needs: "needs you",
  failed: "failed",
  held: "is held",
  done: "is done",
  delivered: "is delivered",
  budget: "budget is used up",
  stopped: "reason why new work waits",
};
const plural: Readonly<Record<OccasionName, string>> = {
  needs: "need you",
  failed: "failed",
  held: "are held",
  done: "are done",
  delivered: "are delivered",
  budget: "budgets are used up",
  stopped: "reasons why new work waits",
};
/** They are about no issue. */
const general: readonly OccasionName[] = ["budget", "stopped"];

interface WordingDeps {
  readonly detail: NotifyRule["detail"];
  /** Address of the page; null: none. */
  readonly base: string | null;
  redact(text: string): string;
}

/** The message in words. Redacted here, since a secret may have become known since its occasion. Pure. */
export function wordingOf(message: Message, { detail, base, redact }: WordingDeps): Wording {
  const { id, isRepeat, occasions, total } = message;
  const page = base === null ? null : base.replace(/\/+$/, "");
  const items = occasions.map((one): Item => {
    const title = one.title === null ? null : redact(one.title);
    const reason = detail === "full" ? oneLine(one.full, maxFullChars) : one.reason;
    return {
      occasion: one,
      label: labelOf(one),
      title,
      reason: redact(reason),
      url: addressOf(one, page),
      next: one.next === null ? null : redact(one.next),
    };
  });
  const again = isRepeat ? "(repeated) " : "";
  return {
    ...{ id, isRepeat, items },
    headline: `${again}${redact(headlineOf(message, items))}`,
    more: total - items.length,
    url: page === null ? null : `${page}/`,
  };
}

function headlineOf({ type, counts, total }: Message, items: readonly Item[]): string {
  if (type === "test") return "Test notice from symphony";
  const [first] = items;
  if (total === 1 && first) {
    return first.title === null ? first.label : `${first.label}: ${first.title}`;
  }
  const parts = [...counts].map(([name, count], at) => countText(name, count, at === 0));
  return counts.size === 1 ? (parts[0] ?? "") : `${total} notices: ${parts.join(", ")}`;
}

/** `40 issues failed`; after the first one `2 failed`. */
function countText(name: OccasionName, count: number, isFirst: boolean): string {
  const words = (count === 1 ? singular : plural)[name];
  const noun = general.includes(name) || !isFirst ? "" : count === 1 ? "issue " : "issues ";
  return `${count} ${noun}${words}`;
}

function labelOf({ issueIdentifier, names: [name] }: Occasion): string {
  if (name === undefined) return "symphony";
  if (name === "stopped") return "new work waits";
  if (issueIdentifier === null) return `the ${singular[name]}`;
  return `${issueIdentifier} ${singular[name]}`;
}

/** The pull request of delivered work, else the issue on the page, where it can be answered. */
function addressOf({ issueIdentifier, url }: Occasion, page: string | null): string | null {
  if (url !== null) return url;
  if (page === null) return null;
  return issueIdentifier === null
    ? `${page}/`
    : `${page}/#/issue/${encodeURIComponent(issueIdentifier.toWellFormed())}`;
}

/** The reason with the command that continues the issue, which many reasons have already. */
export function whyOf({ reason, next }: Item): string {
  return next === null || reason.includes(next) ? reason : `${reason}; next: ${next}`;
}

/** One line for each occasion, for receivers that take plain text. */
export function plainTextOf({ headline, items, more, url }: Wording): string {
  const lines = items.map((item) =>
    [[item.label, item.title, whyOf(item)].filter((part) => part !== null).join(": "), item.url]
      .filter((part) => part !== null)
      .join("  "),
  );
  const rest = more > 0 ? [`and ${more} more${url === null ? "" : `  ${url}`}`] : [];
  return [headline, ...(items.length === 1 && more === 0 ? [] : [""]), ...lines, ...rest].join(
    "\n",
  );
}

/** The JSON form, for programs. Keys are snake_case as in the API. */
export function documentOf(message: Message, { headline, items, more, url }: Wording) {
  return {
    id: message.id,
    type: message.type,
    repeat: message.isRepeat,
    headline,
    total: message.total,
    counts: Object.fromEntries(message.counts),
    occasions: items.map(({ occasion, title, reason, url: own, next }) => ({
      seq: occasion.seq,
      at: new Date(occasion.at).toISOString(),
      occasion: occasion.names[0] ?? null,
      issue_identifier: occasion.issueIdentifier,
      title,
      reason,
      url: own,
      next,
    })),
    more,
    url,
  };
}

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/**
 * `text` with `escaped` applied to each character, at most `maxChars` UTF-16 units of the result; a cut is between what a
 * reader sees as characters, and shown by an ellipsis.
 */
export function cutEscaped(
  text: string,
  maxChars: number,
  escaped: (text: string) => string = (same) => same,
): string {
  const whole = text.length <= maxChars ? escaped(text) : null;
  if (whole !== null && whole.length <= maxChars) return whole;
  let kept = "";
  for (const { segment } of graphemes.segment(text.slice(0, maxChars + 1))) {
    const next = escaped(segment);
    if (kept.length + next.length > maxChars - 1) break;
    kept += next;
  }
  return `${kept}…`;
}
