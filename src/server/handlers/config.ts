import type { Api } from "../../contract/api.ts";
import { type Reply, warningsHeader } from "../../contract/route.ts";
import { asOf, type Then } from "../../core/as-of.ts";
import { limited } from "../../core/clock.ts";
import { configSchema } from "../../core/config/json-schema.ts";
import { leavesOf } from "../../core/config/layers.ts";
import { type Overlay, withoutCredentials, withoutPath } from "../../core/config/overlay.ts";
import type { Core } from "../../core/core.ts";
import { SymphonyError } from "../../core/model/errors.ts";
import type { Exchange, Handlers } from "../mount.ts";
import { strongTag } from "../replies.ts";

type Shown = Reply<Api["config"]["show"]>;

export function configHandlers(core: Core): Handlers<Api["config"]> {
  const { config, redact } = core;
  /** The change is in force whatever is found; a person who mistyped a name should learn it here. */
  async function changing(exchange: Exchange, change: (current: Overlay) => Overlay) {
    const before = config.warnings;
    const stored = await config.changeOverlay(change);
    await inTime(core);
    const fresh = config.warnings.filter((one) => !before.includes(one)).map(redact);
    if (fresh.length > 0) exchange.setHeader(warningsHeader, headerOf(fresh));
    return stored;
  }
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
      const stored = await changing(exchange, (current) => {
        requireMatch(headers["if-match"], current);
        return body;
      });
      exchange.setHeader("ETag", strongTag(stored));
      return { ...stored };
    },
    async removeFromOverlay({ params }, exchange) {
      await changing(
        exchange,
        (current) =>
          withoutPath(current, params.path) ??
          absent(params.path, leavesOf(current, config.sections)),
      );
    },
  };
}

const checkMs = 10_000;

/** What takes longer is found in `warnings` of the state. */
async function inTime(core: Core): Promise<void> {
  await limited(
    core.checked().catch(() => {}),
    checkMs,
    () => {},
    core.clock,
  );
}

const maxHeaderLength = 4_000;

/** The first ones that have room in a header. */
function headerOf(warnings: readonly string[]): string {
  const written = (many: readonly string[]) => encodeURIComponent(JSON.stringify(many));
  let count = warnings.length;
  while (count > 1 && written(warnings.slice(0, count)).length > maxHeaderLength) count -= 1;
  return written(
    warnings.slice(0, count).map((one) => one.slice(0, maxHeaderLength / 4).toWellFormed()),
  );
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
