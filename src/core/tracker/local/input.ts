import { z } from "zod";
import { SymphonyError } from "../../model/errors.ts";

/** Well-formed, so that what is read back is what was written. */
const unicode = z.string().transform((value) => value.toWellFormed());
const title = unicode.pipe(z.string().trim().min(1, "must not be blank").max(1_000));
const description = unicode.pipe(z.string().max(200_000)).nullable();
const labels = z
  .array(unicode.pipe(z.string().trim().max(200)))
  .max(50)
  .transform((all) => [...new Set(all.map((label) => label.toLowerCase()))].filter(Boolean));
const priority = z.number().int().min(0).max(4).nullable();
const blockedBy = z.array(z.string().trim().min(1)).max(100);
const state = z.string().trim().min(1).max(100);

const NewIssueSchema = z.strictObject({
  title,
  description: description.optional(),
  labels: labels.optional(),
  priority: priority.optional(),
  blockedBy: blockedBy.optional(),
  state: state.optional(),
});

const IssueEditSchema = NewIssueSchema.partial();

const CommentSchema = z.strictObject({
  body: unicode.pipe(z.string().trim().min(1, "must not be blank").max(200_000)),
  author: unicode.pipe(z.string().trim().min(1).max(200)),
});

/** An issue to create; `blockedBy` holds identifiers, `state` defaults to the first configured one. */
export type NewIssue = z.input<typeof NewIssueSchema>;
/** What is left out stays. */
export type IssueEdit = z.input<typeof IssueEditSchema>;
export type NewComment = z.input<typeof CommentSchema>;

/** Each of these throws `invalid_request`, naming what is wrong. */
export const parseNewIssue = (input: NewIssue) => parse(NewIssueSchema, input);
export const parseIssueEdit = (input: IssueEdit) => parse(IssueEditSchema, input);
export const parseComment = (input: NewComment) => parse(CommentSchema, input);

function parse<T>(schema: z.ZodType<T>, input: unknown): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => ({
    path: issue.path.join("."),
    message: issue.message,
  }));
  const first = faults[0];
  throw new SymphonyError("invalid_request", `${first?.path ?? ""}: ${first?.message ?? ""}`, {
    details: { faults },
  });
}
