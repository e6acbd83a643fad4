import { z } from "zod";
import type { IssueRecord } from "./store.ts";

const time = z.number();

/** Strict, so that a field of a later release is refused rather than dropped at the next write. */
export const IssueSchema = z.strictObject({
  id: z.string().min(1),
  nativeRef: z.record(z.string(), z.unknown()).nullable(),
  identifier: z.string().min(1),
  title: z.string(),
  description: z.string().nullable(),
  priority: z.number().int().nullable(),
  state: z.string(),
  branchName: z.string().nullable(),
  url: z.string().nullable(),
  assigneeId: z.string().nullable(),
  labels: z.array(z.string()),
  blockedBy: z.array(
    z.strictObject({
      id: z.string().nullable(),
      identifier: z.string().nullable(),
      state: z.string().nullable(),
    }),
  ),
  dispatchable: z.boolean(),
  createdAt: time.nullable(),
  updatedAt: time.nullable(),
});

const wait = z.discriminatedUnion("gate", [
  z.strictObject({ gate: z.literal("day_budget") }),
  z.strictObject({ gate: z.literal("provider"), agent: z.string().min(1) }),
]);

/** Strict, so that a field of a later release is refused rather than dropped at the next write. */
const IssueRecordSchema = z.strictObject({
  issue: IssueSchema,
  held: z.strictObject({ reason: z.string(), since: time }).nullable(),
  failed: z
    .strictObject({ reason: z.string(), error: z.string().nullable(), since: time })
    .nullable(),
  retry: z
    .strictObject({
      attempt: z.number().int(),
      failures: z.number().int(),
      dueAt: time,
      error: z.string().nullable(),
      waits: wait.nullable().default(null),
    })
    .nullable(),
  dismissed: z.strictObject({ state: z.string(), since: time }).nullable(),
  model: z.string().nullable(),
  // Records from before there were templates have no such key.
  templateId: z.string().nullable().default(null),
  // Records of before it was kept have none.
  effort: z.string().nullable().default(null),
  agent: z.string().nullable().default(null),
  allowanceAfter: z.string().nullable().default(null),
}) satisfies z.ZodType<IssueRecord>;

/** Pairs rather than an object: an issue id may be any text, `__proto__` too. */
export const IssueRecordPairs: z.ZodType<readonly (readonly [string, IssueRecord])[]> = z.array(
  z.tuple([z.string().min(1), IssueRecordSchema]),
);
