import { parse } from "yaml";
import { z } from "zod";
import { messageOf, SymphonyError } from "../../model/errors.ts";

/** Well-formed, so that the text read back equals the text written. */
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
/** Omitted fields stay as they are. */
export type IssueEdit = z.input<typeof IssueEditSchema>;
export type NewComment = z.input<typeof CommentSchema>;

/** Each of these throws `invalid_request`, naming the fault. */
export const parseNewIssue = (input: NewIssue) => inputParse(NewIssueSchema, input);
export const parseIssueEdit = (input: IssueEdit) => inputParse(IssueEditSchema, input);
export const parseComment = (input: NewComment) => inputParse(CommentSchema, input);

function inputParse<T>(schema: z.ZodType<T>, input: unknown): T {
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

/** Other keys belong to other programs that read the same file. */
const FrontMatter = z.object({
  title: z.string().nullish(),
  labels: z.array(z.string()).nullish(),
  priority: z.number().nullish(),
  state: z.string().nullish(),
  blocked_by: z.union([z.array(z.string()), z.string().transform((one) => [one])]).nullish(),
});

const frontMatter = /^\uFEFF?---[ \t]*\r?\n(?:([\s\S]*?)\r?\n)?---[ \t]*(?:\r?\n|$)/;
const heading = /^ {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$/m;

/**
 * Parses a Markdown file as an issue: front matter (`title`, `labels`, `priority`, `state`, `blocked_by`), or its first
 * heading as title; the rest is the description. Throws `invalid_request`.
 */
export function issueFromMarkdown(text: string): NewIssue {
  const match = frontMatter.exec(text);
  const facts = readFrontMatter(match?.[1] ?? "");
  const body = match ? text.slice(match[0].length) : text;
  const found = facts.title ? null : heading.exec(body);
  const title = facts.title ?? found?.[1] ?? "";
  if (title.trim() === "") throw invalid("has no title: add one to its front matter, or a heading");
  const rest = found
    ? body.slice(0, found.index) + body.slice(found.index + found[0].length)
    : body;
  return {
    title,
    description: rest.trim() === "" ? null : rest.trim(),
    ...(facts.labels ? { labels: facts.labels } : {}),
    ...(facts.priority == null ? {} : { priority: facts.priority }),
    ...(facts.state ? { state: facts.state } : {}),
    ...(facts.blocked_by ? { blockedBy: facts.blocked_by } : {}),
  };
}

function readFrontMatter(yaml: string): z.output<typeof FrontMatter> {
  let value: unknown;
  try {
    value = parse(yaml) ?? {};
  } catch (error) {
    throw invalid(`has front matter that is not YAML: ${messageOf(error)}`);
  }
  const result = FrontMatter.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw invalid(`has front matter with ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}

function invalid(why: string): SymphonyError {
  return new SymphonyError("invalid_request", `The Markdown file ${why}`);
}
