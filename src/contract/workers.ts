import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

const count = z.number().int();

export const WorkerView = z
  .object({
    name: z.string(),
    host: z.string().nullable().describe("The machine's own name; null: it has not come yet"),
    labels: z.array(z.string()),
    capacity: count.describe("Attempts at the same time"),
    running: count,
    ready: z.boolean().describe("It takes new attempts"),
    why: z.string().nullable().describe("Why it takes none; null: it does"),
    agents: z
      .array(
        z.object({
          agent: z.string(),
          trouble: z.string().nullable().describe("Why it cannot be started there; null: it can"),
        }),
      )
      .nullable()
      .describe("The agents that it has checked; null: its version checks none"),
    version: z.string().nullable(),
    since: Time.describe("Since when it is there, or lost"),
  })
  .meta({ id: "Worker" });

const byName = z.object({
  name: z
    .string()
    .regex(/^[\w.-]{1,63}$/, "must be the name of a worker")
    .meta({ example: "build-1" }),
});

const maxValidS = 30 * 86_400;

export const workers = {
  list: route({
    ...paths.workers.list,
    summary: "The workers of the fleet, and whether they take attempts",
    status: 200,
    reply: z.object({
      fleet: z.boolean().describe("False: attempts run on the machine of the server"),
      workers: z.array(WorkerView),
    }),
  }),
  invite: route({
    ...paths.workers.invite,
    role: "admin",
    summary: "Write a token with which one machine can join the fleet",
    body: z
      .strictObject({
        valid_seconds: count.min(60).max(maxValidS).default(3_600).describe("Until it expires"),
      })
      .meta({ example: { valid_seconds: 3_600 } }),
    bodyOptional: true,
    audited: ["valid_seconds"],
    status: 201,
    reply: z.object({
      token: z.string().describe("Shown once; whoever has it can join, once"),
      expires_at: Time,
    }),
    errors: ["no_fleet"],
  }),
  cordon: route({
    ...paths.workers.cordon,
    role: "admin",
    summary: "Give a worker no new attempts, or give it some again; its attempts continue",
    params: byName,
    body: z
      .strictObject({
        cordoned: z.boolean(),
        drain: z.boolean().default(false).describe("Its process ends when it runs nothing"),
      })
      .meta({ example: { cordoned: true, drain: false } }),
    audited: ["cordoned", "drain"],
    status: 200,
    reply: WorkerView,
    errors: ["worker_not_found", "no_fleet"],
  }),
  remove: route({
    ...paths.workers.remove,
    role: "admin",
    summary: "Remove a worker from the fleet; its attempts end and are tried again elsewhere",
    params: byName,
    status: 204,
    errors: ["worker_not_found", "no_fleet"],
  }),
};
