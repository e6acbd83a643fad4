import { z } from "zod";
import { type ErrorCode, SymphonyError } from "../../model/errors.ts";
import { retryAfterMs } from "../../text/text.ts";

/** What symphony asks of the program; docs/trackers/command.md describes it for those who write one. */
export type Method = "list" | "get" | "move" | "comment" | "comments";

/** Written to disk and shown as it is: without control characters and halves of characters. */
const name = z.string().regex(/^[^\p{Cc}\p{Cs}]{1,256}$/u);

/** An issue as the program writes it. Every other field of an issue may be there, under its name in snake_case. */
export const wireIssue = z.looseObject({
  id: name,
  identifier: name,
  title: z.string(),
  state: z.string(),
  dispatchable: z.boolean().nullish(),
  /** What cannot be read is not taken for no blocker. */
  blocked_by: z
    .array(
      z.union([
        name.transform((identifier) => ({ identifier })),
        z.looseObject({ id: name }),
        z.looseObject({ identifier: name }),
      ]),
    )
    .nullish(),
});

/** Records that are no issues are left out and counted, so they do not fail the page. */
export const issuesResult = z.looseObject({
  issues: z.array(z.unknown()),
  /** Where the next page of `list` begins; null: this was the last one. */
  next: z.string().min(1).nullish(),
  /** Of `get`: what could not be read now, in the program's terms; it is not gone. */
  unread: z.array(z.unknown()).nullish(),
});

export const commentsResult = z.looseObject({
  comments: z.array(
    z.looseObject({
      id: z.string().min(1),
      author: z.string(),
      body: z.string(),
      by: z.enum(["person", "own", "machine"]).default("person"),
      created_at: z.string().nullish(),
      /** Whether the author may give orders; omitted: no. */
      may_write: z.boolean().nullish(),
    }),
  ),
});

export const doneResult = z.looseObject({}).nullish();

const longestWaitMs = 3_600_000;

const failure = z.looseObject({
  code: z.string().nullish(),
  /** That of the HTTP answer, in the place of a code. */
  status: z.number().int().nullish(),
  message: z.string().nullish(),
  retry_after_ms: z.number().min(0).nullish(),
  /** The text of the HTTP header: seconds, or a date. */
  retry_after: z.union([z.string(), z.number().transform(String)]).nullish(),
});

/** One line of the program. */
export const answerLine = z.looseObject({
  id: z.number().int(),
  result: z.unknown().optional(),
  error: failure.nullish(),
});

const defaultWaitMs = 60_000;

/** The codes that a program may answer with, and their meaning here; any other is `tracker_response`. */
const codes: Readonly<Record<string, ErrorCode>> = {
  unauthorized: "tracker_status",
  forbidden: "tracker_status",
  rate_limited: "tracker_rate_limited",
  unavailable: "tracker_request",
  not_allowed: "transition_not_allowed",
  not_found: "issue_not_found",
  unsupported: "tracker_read_only",
};

const statuses: Readonly<Record<string, number>> = { unauthorized: 401, forbidden: 403 };
const byStatus: Readonly<Record<number, string>> = {
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  410: "not_found",
  429: "rate_limited",
};

/** The error that the program answered with; `shown` makes its words fit for people. */
export function failureOf(
  method: Method,
  error: z.output<typeof failure>,
  { wall, shown }: { readonly wall: number; shown(text: string): string },
): SymphonyError {
  const { status: http } = error;
  const category = error.code ?? byStatus[http ?? 0] ?? "unavailable";
  const silent = category === "unsupported" ? "it has no such method" : "without a message";
  const said = shown(error.message ?? "") || (http ? `HTTP ${http}` : silent);
  const code = codes[category] ?? "tracker_response";
  const status = statuses[category];
  const asked = error.retry_after_ms ?? retryAfterMs(error.retry_after ?? null, wall);
  const wait = Math.min(asked ?? defaultWaitMs, longestWaitMs);
  return new SymphonyError(code, `the tracker's program refused ${method}: ${said}`, {
    details: {
      category: shown(category),
      ...(status !== undefined && { status }),
      ...(code === "tracker_rate_limited" && { retryAfterMs: wait }),
    },
  });
}
