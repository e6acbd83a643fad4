import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { byIssue, page, paged, Time } from "./values.ts";

export const TemplateView = z
  .object({
    id: z
      .string()
      .describe(
        "`workflow` for the body of the workflow file, `workflow:STATE` for its prompt of a tracker state, else `tpl_…`",
      ),
    name: z.string(),
    body: z.string(),
    read_only: z
      .boolean()
      .describe("True for the workflow's own templates, which are edited in their files"),
    variables: z.array(z.string()).describe("The variables the body uses, such as `issue.title`"),
    created_at: Time.nullable().describe("null for the workflow's own"),
    updated_at: Time.nullable().describe("null for the workflow's own"),
  })
  .meta({ id: "Template" });

const name = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .regex(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: not every JSON Schema validator knows classes such as \p{Cc}
    /^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$/,
    "must be one line without control characters",
  )
  .describe("Unique, ignoring case");

const body = z
  .string()
  .max(100_000)
  .regex(/\S/, "must not be blank")
  .describe("Liquid, with `issue` and `attempt`");

const byTemplate = z.object({
  id: z.string().min(1).max(128).meta({
    description:
      "Id or name of a template, as in the list; `workflow` is the workflow file's own template",
    example: "workflow",
  }),
});

const PreviewWith = z
  .strictObject({
    variables: z
      .record(z.string(), z.unknown())
      .optional()
      .describe(
        "Lie over the sample's variables, so that one can be changed alone: maps are merged, lists are replaced",
      ),
    issue: z.string().trim().min(1).max(200).optional().describe("An issue of the tracker"),
  })
  .refine(({ variables, issue }) => variables === undefined || issue === undefined, {
    message: "variables and issue exclude each other",
  })
  .meta({
    id: "TemplatePreview",
    not: { properties: { variables: {}, issue: {} }, required: ["variables", "issue"] },
    example: { issue: "ENG-123" },
  });

export const templates = {
  list: route({
    ...paths.templates.list,
    summary:
      "Prompt templates: the workflow's own, those of tracker states, then named templates, oldest first",
    query: z.object(page),
    status: 200,
    reply: z.object({ templates: z.array(TemplateView), ...paged }),
  }),
  create: route({
    ...paths.templates.create,
    summary: "Add a prompt template",
    body: z
      .strictObject({ name, body })
      .meta({ id: "NewTemplate", example: { name: "review", body: "Review {{ issue.title }}." } }),
    audited: ["name"],
    status: 201,
    reply: TemplateView,
    errors: ["template_exists", "template_parse_error", "template_render_error"],
  }),
  detail: route({
    ...paths.templates.detail,
    summary: "One prompt template",
    params: byTemplate,
    status: 200,
    reply: TemplateView,
    errors: ["template_not_found"],
  }),
  edit: route({
    ...paths.templates.edit,
    summary: "Change a prompt template; running attempts keep the prompt they started with",
    params: byTemplate,
    body: z
      .strictObject({ name: name.optional(), body: body.optional() })
      .meta({ id: "TemplateEdit", example: { body: "Review {{ issue.title }} twice." } }),
    audited: ["name"],
    status: 200,
    reply: TemplateView,
    errors: [
      "template_not_found",
      "template_read_only",
      "template_exists",
      "template_parse_error",
      "template_render_error",
    ],
  }),
  remove: route({
    ...paths.templates.remove,
    summary: "Delete a prompt template; refused while an issue uses it as its override",
    params: byTemplate,
    status: 204,
    errors: ["template_not_found", "template_read_only", "template_in_use"],
  }),
  preview: route({
    ...paths.templates.preview,
    ofServer: true,
    summary:
      "The prompt that a template renders for an issue, or for a sample issue with variables over it",
    params: byTemplate,
    body: PreviewWith,
    bodyOptional: true,
    status: 200,
    reply: z.object({ rendered: z.string() }),
    errors: [
      "template_not_found",
      "issue_not_found",
      "template_parse_error",
      "template_render_error",
    ],
  }),
  choose: route({
    ...paths.templates.choose,
    summary: "Use another prompt template for the issue from its next attempt on",
    params: byIssue,
    body: z
      .strictObject({
        template_id: z.string().min(1).max(128).describe("Id or name of a template"),
      })
      .meta({ example: { template_id: "workflow" } }),
    audited: ["template_id"],
    status: 200,
    reply: z.object({
      issue_identifier: z.string(),
      template_id: z.string(),
      applies: z.literal("next_attempt"),
    }),
    errors: ["issue_not_found", "template_not_found"],
  }),
  clear: route({
    ...paths.templates.clear,
    summary: "Use the workflow's own prompt template for the issue again",
    params: byIssue,
    status: 204,
    errors: ["issue_not_found"],
  }),
};
