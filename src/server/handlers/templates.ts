import type { Api } from "../../contract/api.ts";
import { TemplateView } from "../../contract/templates.ts";
import type { Core } from "../../core/core.ts";
import { commentsOf, findStatus } from "../../core/find-issue.ts";
import { writerOf } from "../../core/model/names.ts";
import type { PreviewWith, Template } from "../../core/prompt/templates.ts";
import type { Handlers } from "../mount.ts";

const writeTemplate = writerOf(TemplateView);

export function templateHandlers(core: Core): Handlers<Api["templates"]> {
  const { templates } = core;
  const view = async (template: Template) =>
    writeTemplate({ ...template, variables: await templates.variablesOf(template) });
  return {
    async list({ query: { limit, offset } }) {
      const all = templates.all();
      const rows = all.slice(offset, offset + limit);
      return { templates: await Promise.all(rows.map(view)), total: all.length, limit, offset };
    },
    async create({ body }, exchange) {
      const made = await templates.create(body.name, body.body);
      exchange.setHeader("Location", `/api/v1/templates/${made.id}`);
      return view(made);
    },
    detail: ({ params }) => view(templates.get(params.id)),
    edit: async ({ params, body }) => view(await templates.edit(params.id, given(body))),
    async remove({ params }): Promise<undefined> {
      await templates.remove(params.id);
    },
    async preview({ params, body }) {
      templates.get(params.id);
      return { rendered: await templates.preview(params.id, await subjectOf(core, body)) };
    },
    async choose({ params, body }) {
      // Before the request to the tracker for the issue.
      const { id } = templates.get(body.template_id);
      const { issue } = await findStatus(core, params.id);
      await templates.choose(issue, id);
      return { issue_identifier: issue.identifier, template_id: id, applies: "next_attempt" };
    },
    async clear({ params }): Promise<undefined> {
      const issue = templates.overridden(params.id) ?? (await findStatus(core, params.id)).issue;
      await templates.clear(issue);
    },
  };
}

function given({ name, body }: { name?: string | undefined; body?: string | undefined }) {
  return { ...(name !== undefined && { name }), ...(body !== undefined && { body }) };
}

async function subjectOf(
  core: Core,
  {
    issue,
    variables,
  }: { issue?: string | undefined; variables?: Record<string, unknown> | undefined },
): Promise<PreviewWith> {
  if (issue === undefined) return { variables: variables ?? {} };
  const status = await findStatus(core, issue);
  const comments = async () => (await commentsOf(core, status.issue)).comments;
  return { issue: status.issue, attempt: status.retry?.attempt ?? null, comments };
}
