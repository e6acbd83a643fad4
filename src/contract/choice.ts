import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { byIssue } from "./values.ts";

const model = z
  .string()
  .trim()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: not every JSON Schema validator knows classes such as \p{Cc}
  .regex(/^[^\x00-\x1f\x7f-\x9f]+$/, "no control characters")
  .nullable()
  .describe("A model of the provider; null: back to the configured one");

const effort = z
  .string()
  .trim()
  .regex(/^[a-z][a-z0-9_-]{0,39}$/, "one lower-case word, such as high")
  .nullable();

/** `POST /api/v1/:id/model`. */
export const chooseModel = route({
  ...paths.issues.model,
  summary:
    "Choose the model of an issue from its next turn on; the choice outlives attempts and restarts",
  params: byIssue,
  body: z
    .strictObject({
      model,
      reasoning_effort: effort
        .optional()
        .describe("Such as low, medium or high, if the model supports it; default: the agent's"),
      agent: z
        .string()
        .trim()
        .min(1)
        .max(64)
        .nullable()
        .optional()
        .describe(
          "Another agent from the next attempt on: a name in `agents`, or a kind; default: the configured one",
        ),
    })
    .refine(({ model: name, reasoning_effort: word }) => name !== null || word == null, {
      path: ["reasoning_effort"],
      message: "needs a model",
    })
    .meta({ example: { model: "gpt-5.5", reasoning_effort: "high" } }),
  audited: ["model", "reasoning_effort", "agent"],
  status: 200,
  reply: z.object({
    issue_identifier: z.string(),
    model: z.string().nullable(),
    reasoning_effort: z.string().nullable(),
    agent: z.string().nullable(),
    applies: z
      .enum(["next_turn", "next_attempt"])
      .describe("A live thread keeps its settings, so a return to a default needs a new attempt"),
  }),
  errors: ["issue_not_found"],
});

/** `POST /api/v1/:id/move`. */
export const moveIssue = route({
  ...paths.issues.move,
  summary:
    "Run the attempts of an issue on one worker from now on; a live one elsewhere is stopped, and its work and thread go along",
  params: byIssue,
  body: z
    .strictObject({
      worker: z
        .string()
        .regex(/^[\w.-]{1,63}$/, "must be the name of a worker")
        .nullable()
        .describe("null: any worker again"),
    })
    .meta({ example: { worker: "build-2" } }),
  audited: ["worker"],
  status: 200,
  reply: z.object({
    issue_identifier: z.string(),
    worker: z.string().nullable(),
    from: z.string().nullable().describe("The worker of the live attempt; null: none runs"),
    applies: z
      .enum(["now", "next_attempt"])
      .describe("now: the live attempt is stopped, and the next one begins on the worker"),
    bytes: z
      .number()
      .int()
      .nullable()
      .describe("What has to travel, as a git bundle; null: there is no workspace yet"),
  }),
  errors: ["issue_not_found", "no_fleet", "worker_not_found", "workspace_error"],
});
