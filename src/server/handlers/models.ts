import type { Api } from "../../contract/api.ts";
import type { Core } from "../../core/core.ts";
import type { Catalog } from "../../core/models/model-list.ts";
import type { Handlers } from "../mount.ts";
import { time } from "../views.ts";

export function modelHandlers({ models }: Core): Handlers<Api["models"]> {
  return {
    list: async ({ query }) =>
      view(query.cached === "true" ? models.remembered() : await models.list()),
  };
}

function view({ provider, models, fetchedAt }: Catalog) {
  return {
    provider: { kind: provider.kind, base_url: provider.baseUrl },
    models: models.map(({ id, ownedBy, createdAt }) => ({
      id,
      owned_by: ownedBy,
      created_at: createdAt === null ? null : time(createdAt),
    })),
    fetched_at: fetchedAt === null ? null : time(fetchedAt),
  };
}
