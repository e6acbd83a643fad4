import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { page, paged, Time } from "./values.ts";

const Actor = z
  .string()
  .min(1)
  .max(63)
  .describe("`cli`, `api`, `webhook`, `tracker`, `orchestrator`, or the name of a token")
  .meta({ id: "AuditActor" });

const When = z.iso.datetime({ offset: true });

export const AuditEntryView = z
  .object({
    seq: z.number().int().describe("1, 2, 3 … without gaps"),
    id: z.string(),
    at: Time,
    actor: Actor,
    action: z.string().describe("A route such as `issues.abort`, or a decision"),
    target: z
      .string()
      .nullable()
      .describe("The issue's identifier, or another target of the action"),
    outcome: z.string().describe("`ok`, an error code, or how an attempt ended"),
    detail: z.record(z.string(), z.unknown()),
    hash: z
      .string()
      .describe(
        "HMAC-SHA256 over this entry and `prev_hash`; plain SHA-256 for entries older than the key",
      ),
    prev_hash: z.string().nullable().describe("`hash` of the entry before it"),
  })
  .meta({ id: "AuditEntry" });

export const audit = {
  list: route({
    ...paths.audit.list,
    summary: "Actions of operators and decisions of symphony, newest first",
    query: z.object({
      ...page,
      actor: Actor.optional().describe("Only by this actor"),
      action: z.string().min(1).max(100).optional().describe("Only this action"),
      issue: z.string().trim().min(1).max(200).optional().describe("Only about this issue"),
      since: When.optional().describe("Only at or after this time"),
      until: When.optional().describe("Only before this time"),
    }),
    status: 200,
    reply: z.object({ entries: z.array(AuditEntryView), ...paged }).meta({ id: "AuditPage" }),
    errors: ["issue_not_found"],
  }),
};
