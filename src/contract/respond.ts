import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { byIssue } from "./values.ts";

const answerText = z.string().trim().min(1).max(16_384);

/** `POST /api/v1/:id/respond`. */
export const respond = route({
  ...paths.issues.respond,
  summary: "Answer what the issue's agent waits for: an approval or a question",
  params: byIssue,
  body: z
    .strictObject({
      decision: z.enum(["approve", "decline"]).optional().describe("For an approval"),
      answers: z
        .array(answerText)
        .min(1)
        .max(20)
        .optional()
        .describe("For a question: one answer for each that is asked, in order"),
    })
    .refine(({ decision, answers }) => (decision === undefined) !== (answers === undefined), {
      path: ["decision"],
      message: "give either decision or answers",
    })
    .meta({
      oneOf: [{ required: ["decision"] }, { required: ["answers"] }],
      example: { decision: "approve" },
    }),
  audited: ["decision"],
  status: 200,
  reply: z.object({
    issue_identifier: z.string(),
    asked: z.string().nullable().describe("What was asked"),
    applies: z
      .enum(["now", "next_attempt"])
      .describe("A live agent has heard it, or its run has ended and the next one begins with it"),
  }),
  errors: ["issue_not_found", "nothing_asked", "invalid_request"],
});
