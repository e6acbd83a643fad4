import { z } from "zod";
import { eventTypes } from "../core/model/event.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

const TypeName = z.enum(eventTypes).meta({ id: "EventType" });

/** The `data:` line of every event on the stream. */
export const EventView = z
  .object({
    seq: z.number().int(),
    type: TypeName,
    at: Time,
    issue_id: z.string().nullable(),
    issue_identifier: z.string().nullable(),
    attempt_id: z.string().nullable(),
    session_id: z.string().nullable(),
    message: z.string(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "Event" });

/** The `data:` line of the message `gap`: what came before `oldest_seq` can no longer be replayed. */
export const GapView = z.object({ oldest_seq: z.number().int() }).meta({ id: "Gap" });

const oneOrMany = <T extends z.ZodType>(item: T) =>
  z.union([item, z.array(item)]).transform((value) => (Array.isArray(value) ? value : [value]));

export const events = route({
  ...paths.system.events,
  summary: "Live events (server-sent), replayed from `Last-Event-ID` or `since`",
  query: z.object({
    since: z.coerce.number().int().min(0).optional().describe("Replay events after this seq"),
    issue: oneOrMany(z.string().min(1)).optional().describe("Only this issue; repeatable"),
    type: oneOrMany(TypeName).optional().describe("Only this type; repeatable"),
  }),
  headers: z.object({
    "last-event-id": z.coerce.number().int().min(0).optional().describe("As `since`; wins over it"),
  }),
  status: 200,
  media: "text/event-stream",
});
