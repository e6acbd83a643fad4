import { z } from "zod";
import type { ActiveHours } from "../model/hours.ts";
import {
  type NoticeDetail,
  noticeDetails,
  type OccasionName,
  occasions,
  type ReceiverKind,
  receiverKinds,
} from "../model/notice.ts";
import { notNegative, oneOf, section, solidText, text } from "./agents.ts";
import { activeHours, activeHoursOf } from "./hours.ts";

/** One entry of `notify`: which occasions are reported where. */
export interface NotifyRule {
  /** Unique among the rules: as written, or the kind with a number. */
  readonly name: string;
  readonly when: readonly OccasionName[];
  readonly to: ReceiverKind;
  /** The name of the secret that holds the receiver's address; null: it has none. */
  readonly urlSecret: string | null;
  /** The name of the secret that a webhook is signed with; null: it is not signed. */
  readonly signingSecret: string | null;
  /** The program of a `command` receiver and its arguments; empty for the others. */
  readonly command: readonly string[];
  readonly detail: NoticeDetail;
  /** Notices wait while these are open; null: never. */
  readonly quietHours: ActiveHours | null;
  /** How long occasions are collected for one message, ms. */
  readonly batchMs: number;
}

const word = text
  .regex(
    /^\$[A-Za-z_][A-Za-z0-9_]*$/,
    "must name a secret or a variable, as in $SLACK_WEBHOOK_URL: whoever has the value can write there",
  )
  .nullable()
  .default(null);

const rule = section({
  name: z
    .string("must be text")
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
      "must be a name of letters, digits, - and _, such as team",
    )
    .nullable()
    .default(null),
  when: z
    .array(oneOf(...occasions), "must be a list, such as [needs, failed]")
    .min(1, "must name at least one occasion, such as needs"),
  to: oneOf(...receiverKinds),
  url: word,
  secret: word,
  command: z
    .array(solidText, "must be a list: the program, then its arguments")
    .nullable()
    .default(null),
  detail: oneOf(...noticeDetails).default("brief"),
  quiet_hours: activeHours.nullable().default(null),
  batch_ms: notNegative.max(3_600_000, "must not be over 3600000").default(60_000),
}).superRefine((written, context) => {
  for (const [key, message] of misfits(written)) {
    context.addIssue({ code: "custom", path: [key], message });
  }
});

type WrittenRule = z.output<typeof rule>;

/** Keys that a kind of receiver needs, and those that it does not read. */
function misfits(written: WrittenRule): readonly (readonly [string, string])[] {
  const { to } = written;
  const hasUrl = to === "slack" || to === "discord" || to === "webhook";
  const uses = { url: hasUrl, secret: to === "webhook", command: to === "command" };
  const needed = { url: hasUrl, secret: false, command: to === "command" };
  return (["url", "secret", "command"] as const).flatMap((key): (readonly [string, string])[] => {
    const isGiven = written[key] !== null && written[key].length > 0;
    if (needed[key] && !isGiven) return [[key, `is required with to: ${to}`]];
    if (isGiven && !uses[key]) return [[key, `has no meaning with to: ${to}`]];
    return [];
  });
}

/** `notify`: a list of rules. A later layer replaces the whole list. */
export const notifySection = z
  .array(rule, "must be a list of rules")
  .superRefine((rules, context) => {
    const names = rules.map(({ name }) => name);
    for (const [at, name] of names.entries()) {
      if (name === null || names.indexOf(name) === at) continue;
      const message = `must be unique: another rule is named ${name}`;
      context.addIssue({ code: "custom", path: [at, "name"], message });
    }
  });

export function notifyRulesOf(written: z.output<typeof notifySection>): readonly NotifyRule[] {
  const taken = new Set(written.flatMap(({ name }) => name ?? []));
  return written.map((one) => {
    const name = one.name ?? freeName(one.to, taken);
    taken.add(name);
    return {
      name,
      when: [...new Set(one.when)],
      to: one.to,
      urlSecret: one.url?.slice(1) ?? null,
      signingSecret: one.secret?.slice(1) ?? null,
      command: one.command ?? [],
      detail: one.detail,
      quietHours: activeHoursOf(one.quiet_hours),
      batchMs: one.batch_ms,
    };
  });
}

/** `slack`, then `slack-2`. */
function freeName(kind: string, taken: ReadonlySet<string>): string {
  for (let count = 1; ; count++) {
    const name = count === 1 ? kind : `${kind}-${count}`;
    if (!taken.has(name)) return name;
  }
}

/** Names of the secrets that receivers use. */
export function notifySecretNames(rules: readonly NotifyRule[]): readonly string[] {
  return rules.flatMap(({ urlSecret, signingSecret }) =>
    [urlSecret, signingSecret].filter((name) => name !== null),
  );
}
