import { z } from "zod";
import { roles, takenNames } from "../core/model/role.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

const NamedToken = z
  .object({
    name: z.string(),
    role: z.enum(roles),
    created_at: Time,
    expires_at: Time.nullable().describe("null: never"),
    expired: z.boolean(),
  })
  .meta({ id: "NamedToken" });

const name = z.string().regex(/^[A-Za-z0-9][\w.-]{0,62}$/, {
  message: "must be 1 to 63 letters, digits, dots, dashes and underscores",
});

const maxValidS = 3_650 * 86_400;

export const tokens = {
  list: route({
    ...paths.tokens.list,
    summary: "The named tokens, never a value",
    role: "admin",
    status: 200,
    reply: z.object({ tokens: z.array(NamedToken) }),
  }),
  add: route({
    ...paths.tokens.add,
    ofServer: true,
    summary: "Make a token for one person or program; its name is the actor in the audit log",
    role: "admin",
    body: z
      .strictObject({
        name: name.refine((given) => !takenNames.has(given.toLowerCase()), {
          message: "stands for someone else in the audit log",
        }),
        role: z
          .enum(roles)
          .describe("read: look; operate: act on issues; admin: also settings, secrets and tokens"),
        valid_seconds: z
          .number()
          .int()
          .min(60)
          .max(maxValidS)
          .nullable()
          .default(null)
          .describe("Until it expires; null: never"),
      })
      .meta({ example: { name: "ada", role: "operate", valid_seconds: 7_776_000 } }),
    audited: ["name", "role", "valid_seconds"],
    status: 201,
    reply: NamedToken.extend({ token: z.string().describe("Shown once") }),
    errors: ["token_exists", "too_many_tokens"],
  }),
  remove: route({
    ...paths.tokens.remove,
    ofServer: true,
    summary: "Remove a token: it admits no request any more, and the streams that it opened end",
    role: "admin",
    params: z.object({ name: name.meta({ example: "ada" }) }),
    status: 204,
    errors: ["token_not_found"],
  }),
};
