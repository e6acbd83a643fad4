import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { closest } from "./suggest.ts";

export type TemplateFacts = Reply<Api["templates"]["detail"]>;

/** More than a server keeps. */
const every = 500;

/** The template with this id, or with this name in any case. Rejects with `template_not_found` and what was meant. */
export async function findTemplate(given: string, client: Client<Api>): Promise<TemplateFacts> {
  const { templates } = await client.templates.list({ query: { limit: every } });
  const wanted = given.trim().toLowerCase();
  const found =
    templates.find(({ id }) => id === given) ??
    templates.find(({ name }) => name.toLowerCase() === wanted);
  if (found) return found;
  const meant = closest(
    given,
    templates.map(({ name }) => name),
  );
  throw new SymphonyError("template_not_found", `there is no template ${given}`, {
    hint: meant === null ? "symphony templates list" : `did you mean ${meant}?`,
  });
}
