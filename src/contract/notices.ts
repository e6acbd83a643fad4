import { z } from "zod";
import {
  failureCategories,
  noticeDetails,
  occasions,
  receiverKinds,
} from "../core/model/notice.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

const count = z.number().int();
const receiver = z.enum(receiverKinds);
const category = z
  .enum(failureCategories)
  .nullable()
  .describe("Why it did not arrive; null: it did, or that is not known");

const NoticeRule = z
  .object({
    name: z.string(),
    to: receiver,
    when: z.array(z.enum(occasions)),
    detail: z.enum(noticeDetails),
    waiting: count.describe("Occasions that are not reported yet"),
    quiet_until: Time.nullable().describe("null: it is not in its quiet hours"),
    fault: z
      .string()
      .nullable()
      .describe("What keeps its notices waiting, such as a secret that is not set; null: nothing"),
    last: z
      .object({
        outcome: z
          .enum(["sent", "failed", "unknown"])
          .describe("`unknown`: the server ended between sending it and noting that, twice"),
        at: Time,
        id: z.string().describe("The same in every try of this notice"),
        total: count.describe("Occasions in it"),
        tries: count,
        category,
        reason: z.string(),
      })
      .nullable()
      .describe("The last notice of this rule; null: there was none"),
  })
  .meta({ id: "NoticeRule" });

export const notices = {
  list: route({
    ...paths.notices.list,
    summary: "The rules of `notify`, each with what became of its last notice",
    status: 200,
    reply: z.object({ rules: z.array(NoticeRule) }),
  }),
  test: route({
    ...paths.notices.test,
    ofServer: true,
    summary: "Send a test notice through each rule now, with one try, and return what came back",
    body: z
      .strictObject({
        name: z.string().min(1).max(64).optional().describe("Only this rule; default: all"),
      })
      .meta({ example: {} }),
    bodyOptional: true,
    audited: ["name"],
    status: 200,
    reply: z.object({
      results: z.array(
        z.object({
          name: z.string(),
          to: receiver,
          id: z.string(),
          outcome: z.enum(["sent", "failed"]),
          category,
          reason: z.string(),
          duration_ms: count,
        }),
      ),
    }),
    errors: ["not_found"],
  }),
};
