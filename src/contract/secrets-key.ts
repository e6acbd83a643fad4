import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

export const key = {
  rotate: route({
    ...paths.key.rotate,
    summary: "Seal every secret with a new key; the old one is gone with the answer",
    body: z.looseObject({}).meta({ example: {} }),
    bodyOptional: true,
    status: 200,
    reply: z
      .object({
        key_id: z.string().meta({ description: "Tells keys apart; not the key" }),
        previous_key_id: z.string(),
        secrets: z.int().meta({ description: "How many were sealed anew" }),
        rotated_at: Time,
      })
      .meta({ id: "KeyRotation" }),
    errors: ["secret_not_found", "needs_person", "storage_unavailable", "secrets_key_invalid"],
  }),
};
