import type { Api } from "../../contract/api.ts";
import type { Reply } from "../../contract/route.ts";
import { asOf, type Then } from "../../core/as-of.ts";
import { configSchema } from "../../core/config/json-schema.ts";
import { leavesOf } from "../../core/config/layers.ts";
import { type Overlay, withoutCredentials, withoutPath } from "../../core/config/resolve.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import type { Handlers } from "../mount.ts";
import { strongTag } from "../replies.ts";

type Shown = Reply<Api["config"]["show"]>;

export function configHandlers(core: Core): Handlers<Api["config"]> {
  const { config, redact } = core;
  return {
    async show({ query }) {
      if (query.at !== undefined) return shownThen(await asOf(core, query.at));
      const { written, origins } = config.current;
      return { config: withoutCredentials(written, redact), origins: { ...origins } };
    },
    schema: () => configSchema(config.sections),
    overlay(_, exchange) {
      exchange.setHeader("ETag", strongTag(config.overlay));
      return { ...config.overlay };
    },
    async replaceOverlay({ headers, body }, exchange) {
      const stored = await config.changeOverlay((current) => {
        requireMatch(headers["if-match"], current);
        return body;
      });
      exchange.setHeader("ETag", strongTag(stored));
      return { ...stored };
    },
    async removeFromOverlay({ params }) {
      await config.changeOverlay(
        (current) =>
          withoutPath(current, params.path) ??
          absent(params.path, leavesOf(current, config.sections)),
      );
    },
  };
}

/** As it was written down then: the record has the reply of this route. */
function shownThen({ shown }: Then): Shown {
  return { config: { ...Object(shown.config) }, origins: { ...Object(shown.origins) } };
}

/** RFC 9110, 13.1.1: a list of tags, or `*` for any existing value. */
function requireMatch(header: string | undefined, current: Overlay): void {
  const tags = header?.split(",").map((tag) => tag.trim());
  const tag = strongTag(current);
  if (tags === undefined || tags.includes("*") || tags.includes(tag)) return;
  throw new SymphonyError("overlay_changed", "the overlay was changed after it was read", {
    details: { etag: tag },
    hint: "read it again (GET /api/v1/config/overlay) and apply the change to the current overlay",
  });
}

function absent(path: string, leaves: ReadonlyMap<string, unknown>): never {
  throw new SymphonyError("overlay_path_not_found", `the overlay has no value at ${path}`, {
    details: { path, paths: [...leaves.keys()] },
    hint: "symphony config overlay get",
  });
}
