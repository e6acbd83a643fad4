import { z } from "zod";
import { secretFault } from "../core/model/secret.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

export const key = {
  rotate: route({
    ...paths.key.rotate,
    ofServer: true,
    role: "admin",
    summary: "Encrypt every secret with a new key; the old key is deleted before the reply",
    body: z.looseObject({}).meta({ example: {} }),
    bodyOptional: true,
    status: 200,
    reply: z
      .object({
        key_id: z.string().meta({ description: "Identifies the key; not the key itself" }),
        previous_key_id: z.string(),
        secrets: z.int().meta({ description: "Number of secrets encrypted again" }),
        rotated_at: Time,
      })
      .meta({ id: "KeyRotation" }),
    errors: ["secret_not_found", "needs_person", "storage_unavailable", "secrets_key_invalid"],
  }),
};

const byKey = z.object({
  key: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "must be a name such as TRACKER_API_KEY")
    .meta({
      description: "The name that the configuration uses after $",
      example: "TRACKER_API_KEY",
    }),
});

export const secrets = {
  list: route({
    ...paths.secrets.list,
    summary: "Names of the secrets; no route returns a value",
    status: 200,
    reply: z.object({ keys: z.array(z.string()) }),
  }),
  put: route({
    ...paths.secrets.put,
    ofServer: true,
    role: "admin",
    summary: "Store a secret, encrypted; the next request or attempt uses it",
    params: byKey,
    body: z
      .strictObject({
        value: z
          .string()
          .min(1, { error: "must not be empty", abort: true })
          .superRefine((value, { addIssue }) => {
            const fault = secretFault(value);
            if (fault !== null) addIssue(fault);
          })
          .describe("1 to 65,536 bytes of UTF-8, without a NUL or a leading byte order mark"),
      })
      .meta({ example: { value: "0123456789abcdef" } }),
    status: 201,
    replacedStatus: 200,
    reply: z.object({ key: z.string(), updated_at: Time }).meta({ id: "StoredSecret" }),
    errors: ["storage_unavailable", "secrets_key_invalid"],
  }),
  remove: route({
    ...paths.secrets.remove,
    ofServer: true,
    role: "admin",
    summary: "Remove a secret",
    params: byKey,
    status: 204,
    errors: ["secret_not_found", "storage_unavailable", "secrets_key_invalid"],
  }),
};
