import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { At } from "./values.ts";

type Overlay = Record<string, unknown>;

/** Kept unparsed: zod's record would drop a key such as `__proto__`, which has to be refused. */
const OverlayBody = z
  .unknown()
  .refine((value) => typeof value === "object" && value !== null && !Array.isArray(value), {
    message: "must be an object",
  })
  .meta({
    type: "object",
    additionalProperties: {},
    example: { agent: { max_turns: 5 }, polling: { interval_ms: 10_000 } },
  }) as z.ZodType<Overlay, Overlay>;

const OverlayView = z.record(z.string(), z.unknown());

/** The errors a merged configuration can be refused with. */
const refusals = [
  "invalid_config",
  "missing_workflow_file",
  "workflow_parse_error",
  "workflow_front_matter_not_a_map",
  "unsupported_tracker_kind",
  "invalid_tracker_config",
  "missing_tracker_secret",
  "storage_unavailable",
] as const;

export const config = {
  show: route({
    ...paths.config.show,
    summary: "The configuration in force, and where each value comes from",
    query: z.object({ at: At }),
    status: 200,
    errors: ["not_recorded"],
    reply: z
      .object({
        config: z
          .record(z.string(), z.unknown())
          .describe("As it is written in WORKFLOW.md; $NAME is not replaced"),
        origins: z
          .record(z.string(), z.enum(["default", "workflow", "env", "overlay", "flag"]))
          .describe("Source of each value, by dotted path"),
      })
      .meta({ id: "Configuration" }),
  }),
  schema: route({
    ...paths.config.schema,
    summary: "The configuration as a JSON Schema (2020-12) with examples",
    status: 200,
    reply: z.record(z.string(), z.unknown()),
  }),
  overlay: route({
    ...paths.config.overlay,
    summary: "The overlay: values that override WORKFLOW.md and the environment",
    status: 200,
    reply: OverlayView,
    etag: true,
  }),
  replaceOverlay: route({
    ...paths.config.replaceOverlay,
    role: "admin",
    summary: "Replace the whole overlay; it is saved and in force before the reply",
    headers: z.object({
      "if-match": z
        .string()
        .max(1_000)
        .optional()
        .describe("The ETag of the overlay that this one is based on; any other is refused"),
    }),
    body: OverlayBody,
    status: 200,
    reply: OverlayView,
    warns: true,
    errors: ["overlay_changed", ...refusals],
  }),
  removeFromOverlay: route({
    ...paths.config.removeFromOverlay,
    role: "admin",
    summary: "Remove a value, or a map of values, from the overlay",
    params: z.object({
      path: z
        .string()
        .min(1)
        .max(500)
        .meta({ description: "Dotted path", example: "agent.max_turns" }),
    }),
    status: 204,
    warns: true,
    errors: ["overlay_path_not_found", ...refusals],
  }),
};
