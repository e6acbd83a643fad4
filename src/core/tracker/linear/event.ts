import { z } from "zod";

/** What Linear posts when something changed, as far as symphony reads it (the rest is left alone). */
export const LinearEvent = z
  .looseObject({
    action: z.string().min(1).max(64).describe("`create`, `update`, `remove` or another word"),
    type: z.string().min(1).max(64).describe("What changed: `Issue`, `Comment` …"),
    webhookTimestamp: z.int().min(0).describe("When it was sent, ms since the epoch"),
    data: z
      .looseObject({
        id: z.string().min(1).max(128).optional(),
        identifier: z.string().max(128).optional(),
      })
      .optional()
      .describe("The record that changed; a hint, never taken for its state"),
  })
  .refine(({ type, data }) => type !== "Issue" || data?.id !== undefined, {
    path: ["data", "id"],
    message: "an Issue event names its issue",
  })
  .meta({
    id: "LinearEvent",
    example: {
      action: "update",
      type: "Issue",
      createdAt: "2026-11-23T10:00:00.123Z",
      data: { id: "7d0e1a52-6f0b-4c39-9d5e-0a1f3c5b7e90", identifier: "ENG-12" },
      webhookTimestamp: 1795428000456,
    },
  });

export type LinearEvent = z.output<typeof LinearEvent>;
